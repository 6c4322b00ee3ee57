/// Some of a classifier's parameters, with a learning rate of their own: values, running statistics and, unless they are frozen, gradients
/// and momenta, each one memory of one layout.
struct TrainedPart {
    let layout: ParameterLayout
    let parameters: FloatBuffer
    let statistics: FloatBuffer
    let gradients: FloatBuffer?
    let momenta: FloatBuffer?

    init(_ layout: ParameterLayout, frozen: Bool) throws {
        self.layout = layout
        parameters = try FloatBuffer(layout.parameterCount)
        statistics = try FloatBuffer(layout.statisticCount)
        gradients = frozen ? nil : try FloatBuffer(layout.parameterCount)
        momenta = frozen ? nil : try FloatBuffer(layout.parameterCount)
    }

    var memory: ModelMemory {
        ModelMemory(parameters: parameters.base, statistics: statistics.base, gradients: gradients?.base)
    }

    /// l2 norm of the gradient; 0 for a frozen part.
    func gradientNorm(_ compute: Compute) throws -> Double {
        try gradients.map { try Optimizer.norm($0.base, $0.count, compute) } ?? 0
    }

    /// One step of SGD; nothing for a frozen part.
    func update(momentum: Double, weightDecay: Double, learningRate: Double, step: Int, _ compute: Compute) throws {
        guard let gradients, let momenta else { return }
        try Optimizer(kind: .sgd, momentum: momentum, weightDecay: weightDecay).step(
            layout, .init(parameters: parameters.base, gradients: gradients.base, first: momenta.base, second: nil, teacher: nil),
            learningRate: learningRate, update: step, gradientScale: 1, teacherMomentum: 0, compute)
    }

    /// Copies the tensors of this layout from another model's memory, found by their names.
    func copy(from other: ParameterLayout, parameters source: FloatBuffer, statistics sourceStatistics: FloatBuffer) throws {
        func place<Slot>(_ name: String, _ slots: [Slot], _ key: KeyPath<Slot, String>) throws -> Slot {
            guard let slot = slots.first(where: { $0[keyPath: key] == name }) else {
                throw CARLError.state("the model has no tensor \"\(name)\"")
            }
            return slot
        }
        for slot in layout.parameters {
            let from = try place(slot.name, other.parameters, \.name)
            (parameters.base + slot.offset).update(from: source.base + from.offset, count: slot.count)
        }
        for slot in layout.statistics {
            let from = try place(slot.name, other.statistics, \.name)
            (statistics.base + slot.offset).update(from: sourceStatistics.base + from.offset, count: slot.count)
        }
    }

    /// Named tensors: parameters, then running statistics.
    var state: [StateEntry] {
        layout.entries(parameters: parameters.base, trained: gradients != nil) + layout.entries(statistics: statistics.base)
    }
}
