/// The values that training changes, each one memory of one layout: parameters, running statistics and, unless they are
/// frozen, gradients, the optimizer's moments, gradients that accumulate, and a teacher. A trainer has one, a
/// classifier one for the encoder and one for the linear layer.
final class TrainingState {
    let layout: ParameterLayout
    let parameters: FloatBuffer
    let statistics: FloatBuffer
    let gradients: FloatBuffer?
    let firstMoment: FloatBuffer?
    let secondMoment: FloatBuffer?
    /// How many updates each tensor has had, where the optimizer wants to know.
    let updates: HeapArray<Int64>?
    /// Gradients of the steps since the last update, when several steps make one.
    let accumulated: FloatBuffer?
    let teacherParameters: FloatBuffer?
    let teacherStatistics: FloatBuffer?
    /// How fast each parameter learns, and which do not.
    let rates: LayerRates
    /// The parts of the memory that learn.
    private let trained: [Range<Int>]

    /// What a state holds besides parameters and statistics.
    struct Parts {
        /// Gradients and the optimizer's moments; without, the parameters stay as they are.
        var optimizer: OptimizerKind?
        var accumulates = false
        var teacher = false

        /// Memories of the parameters' size.
        var copies: Int {
            1 + (optimizer == nil ? 0 : 2) + (optimizer?.hasSecondMoment == true ? 1 : 0) + (accumulates ? 1 : 0)
                + (teacher ? 1 : 0)
        }
    }

    /// Memory whose values are set afterwards.
    init(_ layout: ParameterLayout, _ parts: Parts, _ rates: LayerRates = LayerRates()) throws {
        self.layout = layout
        self.rates = rates
        trained = rates.extents(layout)
        let count = layout.parameterCount
        parameters = try FloatBuffer(count)
        statistics = try FloatBuffer(layout.statisticCount)
        gradients = parts.optimizer == nil ? nil : try FloatBuffer(count)
        firstMoment = parts.optimizer == nil ? nil : try FloatBuffer(count)
        secondMoment = parts.optimizer?.hasSecondMoment == true ? try FloatBuffer(count) : nil
        updates =
            parts.optimizer?.hasSecondMoment == true
            ? try HeapArray(layout.parameters.count, repeating: 0, for: "the updates of each tensor") : nil
        accumulated = parts.accumulates ? try FloatBuffer(count) : nil
        teacherParameters = parts.teacher ? try FloatBuffer(count) : nil
        teacherStatistics = parts.teacher ? try FloatBuffer(layout.statisticCount) : nil
    }

    var isFrozen: Bool { gradients == nil }

    var memory: ModelMemory {
        ModelMemory(
            parameters: parameters.base, statistics: statistics.base, gradients: gradients?.base,
            trainedFrom: rates.trainedFrom)
    }

    var teacher: ModelMemory? {
        guard let teacherParameters, let teacherStatistics else { return nil }
        return ModelMemory(
            parameters: teacherParameters.base, statistics: teacherStatistics.base, gradients: nil,
            trainedFrom: rates.trainedFrom)
    }

    /// The teacher begins as a copy.
    func copyToTeacher() {
        teacherParameters?.copy(from: parameters)
        teacherStatistics?.copy(from: statistics)
    }

    /// Before a pass adds its gradients. Those of what is frozen are 0 from the beginning.
    func clearGradients() {
        guard let gradients else { return }
        for part in trained { (gradients.base + part.lowerBound).update(repeating: 0, count: part.count) }
    }

    /// l2 norm of the gradient; 0 where there is none.
    func gradientNorm(_ compute: Compute) throws -> Double {
        try gradients.map { try Optimizer.norm($0.base, trained, compute) } ?? 0
    }

    /// Adds a share of the gradients to those that accumulate.
    func accumulate(share: Float, _ compute: Compute) {
        guard let accumulated, let gradients else { return }
        let (sum, new) = (accumulated.base, gradients.base)
        for part in trained {
            compute.parallelRanges(part.count, grain: 1 << 14) { _, range in
                for i in range { sum[part.lowerBound &+ i] += new[part.lowerBound &+ i] * share }
            }
        }
    }

    /// One step of the optimizer, on the accumulated gradients where there are any; nothing for a frozen state.
    ///
    /// - Parameters:
    ///   - clipNorm: largest l2 norm of the gradient of what is not frozen; nil for no limit.
    ///   - norm: that norm if it is known.
    ///   - frozen: groups that do not change and do not count in the norm.
    func update(
        _ optimizer: Optimizer, learningRate: Double, clipNorm: Double? = nil, norm: Double? = nil,
        teacherMomentum: Double = 0, frozen: [ParameterGroup] = [], _ compute: Compute
    ) throws {
        guard let gradients, let firstMoment else { return }
        let source = accumulated ?? gradients
        var scale = 1.0
        if let clipNorm {
            let known = accumulated == nil && frozen.isEmpty ? norm : nil
            scale = try min(
                1, clipNorm / ((known ?? Optimizer.norm(layout, source.base, without: frozen, compute)) + 1e-6))
        }
        try compute.measured("optimizer", .update, values: 5 * parameters.count) {
            try optimizer.step(
                layout,
                .init(
                    parameters: parameters.base, gradients: source.base, first: firstMoment.base,
                    second: secondMoment?.base,
                    teacher: teacherParameters?.base, updates: updates?.base),
                learningRate: learningRate, gradientScale: scale, teacherMomentum: teacherMomentum,
                frozen: frozen, rates: rates,
                compute)
        }
        accumulated?.fill(0)
    }

    // MARK: Named tensors

    /// Parameters, running statistics, and the teacher's under "teacher.".
    var entries: [StateEntry] {
        var entries = parameterEntries(parameters.base)
        entries += layout.entries(statistics: statistics.base)
        if let teacherParameters, let teacherStatistics {
            entries += layout.entries(parameters: teacherParameters.base, prefix: "teacher.", trained: false)
            entries += layout.entries(statistics: teacherStatistics.base, prefix: "teacher.")
        }
        return entries
    }

    /// Entries of the parameters' shapes, of which those that are frozen say so.
    private func parameterEntries(_ values: FloatPointer) -> [StateEntry] {
        var entries = layout.entries(parameters: values, trained: !isFrozen)
        for slot in entries.indices where rates.isFrozen(slot) { entries[slot].trained = false }
        return entries
    }

    /// What is saved beside the entries.
    var tensors: [SavedTensor] {
        guard let updates else { return [] }
        return [
            SavedTensor(
                name: "optimizer.updates", shape: [updates.count], type: .int64,
                bytes: UnsafeMutableRawBufferPointer(
                    UnsafeMutableBufferPointer(start: updates.base, count: updates.count)))
        ]
    }

    /// The optimizer's moments and the accumulated gradients, under "optimizer.".
    var optimizerEntries: [StateEntry] {
        var entries: [StateEntry] = []
        func add(_ buffer: FloatBuffer?, _ prefix: String, lowest: Float = -.infinity) {
            guard let buffer else { return }
            entries += layout.entries(parameters: buffer.base, prefix: prefix, trained: false, lowest: lowest)
        }
        add(firstMoment, "optimizer.first_moment.")
        add(secondMoment, "optimizer.second_moment.", lowest: 0)
        add(accumulated, Self.accumulatedPrefix)
        return entries
    }

    static let accumulatedPrefix = "optimizer.accumulated."

    /// Of what learns.
    var gradientEntries: [StateEntry] { gradients.map { parameterEntries($0.base).filter(\.trained) } ?? [] }

    /// Copies the tensors of this layout from another model's memory, found by their names.
    func copy(from other: TrainedModel) throws {
        func place<Slot>(_ name: String, _ slots: [Slot], _ key: KeyPath<Slot, String>) throws -> Slot {
            guard let slot = slots.first(where: { $0[keyPath: key] == name }) else {
                throw CARLError.state("the model has no tensor \"\(name)\"")
            }
            return slot
        }
        for slot in layout.parameters {
            let from = try place(slot.name, other.model.layout.parameters, \.name)
            (parameters.base + slot.offset).update(from: other.parameters.base + from.offset, count: slot.count)
        }
        for slot in layout.statistics {
            let from = try place(slot.name, other.model.layout.statistics, \.name)
            (statistics.base + slot.offset).update(from: other.statistics.base + from.offset, count: slot.count)
        }
    }
}

/// Whole numbers that training is resumed with.
struct TrainingCounters: Equatable {
    var step = 0
    /// Steps of the optimizer.
    var updates = 0
    /// Steps since the last update, whose gradients have accumulated.
    var sinceUpdate = 0
    /// Images seen by steps without indices.
    var images = 0
}
