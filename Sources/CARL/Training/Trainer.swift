/// A model in training: parameters, running statistics, moments, teacher, counters. Takes steps, embeds, saves, resumes.
///
/// Not for use by several threads at once; different trainers may run in different threads.
public final class Trainer {
    public let configuration: Configuration
    public let compute: Compute
    let model: Model
    let parameters: FloatBuffer
    let statistics: FloatBuffer
    let gradients: FloatBuffer
    /// Gradients of the steps since the last update, when `accumulate` > 1.
    let accumulated: FloatBuffer?
    let firstMoment: FloatBuffer
    let secondMoment: FloatBuffer?
    let teacherParameters: FloatBuffer?
    let teacherStatistics: FloatBuffer?
    /// Evaluation's batches have other sizes than training's: memory of its own keeps both planned.
    private let evaluationCompute: Compute
    /// Shapes of the last step's views; memory planned for other shapes is let go.
    private var plannedShapes: [[Int]] = []
    private var hasGradients = false
    var counters = Counters()
    let usage: PrototypeUsage
    /// What the caller saved beside the model.
    public internal(set) var notes: JSONValue = .object(JSONObject())
    /// Receives warnings, such as that of a collapse.
    public var warn: ((String) -> Void)?

    /// Whole numbers that a run is resumed with.
    struct Counters: Equatable {
        var step = 0
        var updates = 0
        /// Images seen by `step` without indices.
        var images = 0
        var collapse = Collapse.none
        var collapseSteps = 0
    }

    /// Steps in a row that must look collapsed before the trainer says so.
    static let collapsePatience = 30

    public convenience init(_ configuration: Configuration) throws {
        try self.init(uninitialized: configuration)
        try model.initialize(parameters.base, statistics.base, seed: configuration.seed)
        copyToTeacher()
    }

    /// Memory for a model whose values are set afterwards.
    init(uninitialized configuration: Configuration) throws {
        self.configuration = configuration
        model = try Model(configuration)
        let count = model.layout.parameterCount
        let hasTeacher = configuration.teacherMomentum > 0
        // Parameters, gradients, one moment; pages are written to only later, so the sum is compared, not each part.
        let copies = 3 + (configuration.accumulate > 1 ? 1 : 0) + (configuration.optimizer.hasSecondMoment ? 1 : 0) + (hasTeacher ? 1 : 0)
        try MemoryLimit.require(
            CheckedSize.product(copies, count, MemoryLayout<Float>.stride, of: "the model"),
            for: "a model of \(count) parameters (\"width\", \"projector\", \"prototypes\"), \(copies) values for each,")
        compute = try Compute(threads: configuration.threads)
        evaluationCompute = try Compute(threads: configuration.threads)
        parameters = try FloatBuffer(count)
        statistics = try FloatBuffer(model.layout.statisticCount)
        gradients = try FloatBuffer(count)
        accumulated = configuration.accumulate > 1 ? try FloatBuffer(count) : nil
        firstMoment = try FloatBuffer(count)
        secondMoment = configuration.optimizer.hasSecondMoment ? try FloatBuffer(count) : nil
        teacherParameters = hasTeacher ? try FloatBuffer(count) : nil
        teacherStatistics = hasTeacher ? try FloatBuffer(model.layout.statisticCount) : nil
        usage = try PrototypeUsage(configuration.prototypes)
    }

    func copyToTeacher() {
        teacherParameters?.copy(from: parameters)
        teacherStatistics?.copy(from: statistics)
    }

    /// Steps taken.
    public var stepCount: Int { counters.step }

    // MARK: Steps

    /// One step on images: makes the configured views, then `step(views:)`.
    ///
    /// - Parameters:
    ///   - indices: places of the images in the caller's data set; nil numbers images as they come.
    ///   - epoch: views depend on (seed, epoch, index, view) alone; 0 when `indices` is nil.
    public func step(_ images: [SourceImage], indices: UnsafePointer<UInt64>? = nil, epoch: UInt64 = 0) throws -> Metrics {
        try images.withUnsafeBufferPointer { try step($0, indices: indices, epoch: epoch) }
    }

    /// Checks a number of images of a step, and that the values of their views fit in memory, before anything of that size is allocated.
    public func checkBatch(_ count: Int) throws {
        guard count >= 2 else {
            throw CARLError.invalidArgument("images: got \(count), need at least 2 (BatchNorm and the prior are statistics over the batch)")
        }
        let pixels = configuration.views.reduce(0) { $0 + $1.count * $1.size * $1.size }
        let bytes = try CheckedSize.product(
            count, pixels, configuration.inChannels, MemoryLayout<Float>.stride, of: "views (images, pixels of all views, channels, bytes)")
        try MemoryLimit.require(bytes, for: "the views of \(count) images")
    }

    /// The same on images in the caller's memory.
    public func step(
        _ images: UnsafeBufferPointer<SourceImage>, indices: UnsafePointer<UInt64>? = nil, epoch: UInt64 = 0
    ) throws -> Metrics {
        try compute.call {
            let start = monotonicSeconds()
            try checkBatch(images.count)
            try configuration.checkChannels(images)
            let sizes = configuration.views.flatMap { Array(repeating: (height: $0.size, width: $0.size), count: $0.count) }
            let memory = try ViewRuns(sizes, batch: images.count, channels: configuration.inChannels, compute.workspace)
            defer { memory.release(compute.workspace) }
            try ViewMaker.make(
                images, views: ViewSpec.views(configuration.views), seed: configuration.seed, epoch: indices == nil ? 0 : epoch,
                indices: indices, firstIndex: UInt64(counters.images), into: memory.views, compute)
            let viewSeconds = monotonicSeconds() - start
            var metrics = try takeStep(memory, start: start)
            counters.images += images.count
            metrics.viewSeconds = viewSeconds
            return metrics
        }
    }

    /// One step on normalised views made by the caller: V batches of the same images in the same order. Views as large as the first, at the front,
    /// are the global ones, which may be targets; smaller ones behind them are only students (Caron et al., arXiv 2006.09882).
    public func step(views: [FloatImages]) throws -> Metrics {
        try compute.call {
            let start = monotonicSeconds()
            guard views.count >= 2 else { throw CARLError.invalidArgument("views: got \(views.count), need at least 2") }
            guard views.count <= 256 else { throw CARLError.invalidArgument("views: got \(views.count), at most 256 are possible") }
            guard views[0].batch >= 2 else {
                throw CARLError.invalidArgument(
                    "views: got batches of \(views[0].batch), need at least 2 images (BatchNorm and the prior are statistics over the batch)")
            }
            for (i, view) in views.enumerated() {
                guard view.batch == views[0].batch else {
                    throw CARLError.invalidArgument(
                        "views[\(i)]: got a batch of \(view.batch), views[0] has \(views[0].batch): all views show the same images")
                }
                try view.check("views[\(i)]", channels: configuration.inChannels, compute)
            }
            let memory = try ViewRuns(
                views.map { ($0.height, $0.width) }, batch: views[0].batch, channels: configuration.inChannels, compute.workspace)
            defer { memory.release(compute.workspace) }
            for (view, copy) in zip(views, memory.views) {
                copy.update(from: view.values, count: view.batch * view.height * view.width * view.channels)
            }
            return try takeStep(memory, start: start)
        }
    }

    private func takeStep(_ views: ViewRuns, start: Double) throws -> Metrics {
        let shapes = views.runs.map { [$0.batch, $0.groups, $0.height, $0.width] }
        if shapes != plannedShapes {
            compute.workspace.trim()
            plannedShapes = shapes
        }
        let step = counters.step
        var options = configuration.assignment
        options.priorWeight = configuration.priorWeight.value(step: step)
        options.temperature = configuration.temperature.value(step: step)
        var metrics = Metrics()
        metrics.step = step + 1
        metrics.priorWeight = options.priorWeight
        metrics.contrastWeight = configuration.contrastWeight.value(step: step)
        metrics.temperature = options.temperature
        metrics.learningRate = configuration.learningRate(step: step)
        metrics.logPrototypes = logarithm(Double(configuration.softmaxSize))

        // Running statistics move in forward; they go back when the step turns out not to be finite.
        let before = try compute.workspace.take(statistics.count)
        let teacherBefore = try teacherStatistics.map { try compute.workspace.take($0.count) }
        defer {
            compute.workspace.give(before)
            if let teacherBefore { compute.workspace.give(teacherBefore) }
        }
        before.copy(from: statistics)
        if let teacherStatistics { teacherBefore?.copy(from: teacherStatistics) }

        gradients.fill(0)
        hasGradients = true
        usage.clear()
        func rollBack() {
            statistics.copy(from: before)
            if let teacherBefore { teacherStatistics?.copy(from: teacherBefore) }
        }
        do {
            metrics.result = try passForwardAndBack(views, options, contrastWeight: metrics.contrastWeight)
            metrics.gradientNorm = try Optimizer.norm(gradients.base, gradients.count, compute)
            try Cancellation.check()
        } catch {
            rollBack()
            throw error
        }
        guard metrics.result.loss.isFinite, metrics.gradientNorm.isFinite else {
            rollBack()
            let what = metrics.result.loss.isFinite ? "the gradient" : "the loss"
            throw CARLError.notFinite(
                "\(what) is not finite in step \(step + 1) (consistency \(metrics.result.consistency), prior \(metrics.result.prior), learning rate \(metrics.learningRate)); the model was not changed. Try a smaller \"learning_rate\", a longer warm-up or \"clip_norm\"")
        }

        // From here on the step is taken, whole.
        try Cancellation.shielded {
            metrics.assignedPrototypes = usage.spread(blocks: configuration.assignment.partitionSize > 0 ? model.prototypeCount / configuration.softmaxSize : 1)
            (metrics.usedPrototypes, metrics.deadPrototypes) = usage.record(step: step + 1, window: configuration.usedWindow)
            counters.step += 1
            metrics.updated = try update(metrics: &metrics)
            watchForCollapse(&metrics, images: views.batch)
        }
        metrics.memoryBytes = compute.bytes
        metrics.seconds = monotonicSeconds() - start
        metrics.viewsPerSecond = Double(views.views.count * views.batch) / max(metrics.seconds, 1e-9)
        return metrics
    }

    /// Lets the optimizer act, unless gradients still accumulate. Returns whether it did.
    private func update(metrics: inout Metrics) throws -> Bool {
        // Frozen prototypes take no part: neither in the update nor in the norm that is clipped. They are last in memory.
        let frozen = counters.step <= configuration.freezePrototypes
        let count = frozen ? model.prototypes : gradients.count
        var source = gradients
        if let accumulated {
            let share = 1 / Float(configuration.accumulate)
            let (sum, new) = (accumulated.base, gradients.base)
            compute.parallelRanges(accumulated.count, grain: 1 << 14) { _, range in for i in range { sum[i] += new[i] * share } }
            if counters.step % configuration.accumulate != 0 { return false }
            source = accumulated
        }
        let scale = try configuration.clipNorm.map { limit in
            let known = accumulated == nil && !frozen ? metrics.gradientNorm : nil
            return try min(1, limit / ((known ?? Optimizer.norm(source.base, count, compute)) + 1e-6))
        } ?? 1
        metrics.teacherMomentum = teacherParameters == nil ? 0 : configuration.teacherMomentum(step: counters.step - 1)
        let optimizer = Optimizer(
            kind: configuration.optimizer, momentum: configuration.momentum, weightDecay: configuration.weightDecay,
            trustCoefficient: configuration.trustCoefficient)
        try compute.measured("optimizer", .update, values: 5 * parameters.count) {
            try optimizer.step(
                model.layout,
                .init(
                    parameters: parameters.base, gradients: source.base, first: firstMoment.base, second: secondMoment?.base,
                    teacher: teacherParameters?.base),
                learningRate: metrics.learningRate, update: counters.updates, gradientScale: scale,
                teacherMomentum: metrics.teacherMomentum, frozen: frozen ? [.prototypes] : [], compute)
        }
        accumulated?.fill(0)
        counters.updates += 1
        return true
    }

    /// Names a collapse that has lasted, and warns once when it begins.
    private func watchForCollapse(_ metrics: inout Metrics, images: Int) {
        let (count, dimension) = (configuration.softmaxSize, model.head.outputs)
        let seen = Collapse.judge(
            metrics.result, assigned: metrics.assignedPrototypes, count: count, dimension: dimension, images: images)
        // One kind may follow on another; a step or two without any do not end a collapse.
        counters.collapseSteps = seen == .none ? max(0, counters.collapseSteps - 3) : counters.collapseSteps + 1
        counters.collapse = seen
        guard seen != .none, counters.collapseSteps >= Self.collapsePatience else { return }
        metrics.collapse = seen
        if counters.collapseSteps == Self.collapsePatience,
            let advice = seen.advice(metrics, count: count, dimension: dimension, steps: counters.collapseSteps)
        {
            warn?("collapse: " + advice)
        }
    }

    // MARK: Evaluation and state

    /// The student in evaluation mode, on the trainer's own memory.
    public var evaluator: Evaluator {
        Evaluator(
            configuration: configuration, model: model, parameters: parameters, statistics: statistics,
            compute: evaluationCompute)
    }

    /// All named tensors: parameters, running statistics, and the teacher's under "teacher.". Listed once: the memories they
    /// point into stay where they are.
    private(set) lazy var state: [StateEntry] = {
        var entries = model.layout.entries(parameters: parameters.base, trained: true)
        entries += model.layout.entries(statistics: statistics.base)
        if let teacherParameters, let teacherStatistics {
            entries += model.layout.entries(parameters: teacherParameters.base, prefix: "teacher.", trained: false)
            entries += model.layout.entries(statistics: teacherStatistics.base, prefix: "teacher.")
        }
        return entries
    }()

    public var tensors: [StateTensor] { state.map(\.description) }

    /// Copies a tensor of the state in torch's layout; `count` must be its size.
    public func readTensor(_ name: String, into target: FloatPointer, count: Int) throws {
        try state.named(name, count: count).read(into: target)
    }

    /// Overwrites a tensor of the state. Values must be finite, those of a variance not negative.
    public func writeTensor(_ name: String, from source: UnsafePointer<Float>, count: Int) throws {
        try state.named(name, count: count).write(checked: source)
    }

    /// Copies the gradient of the last step's loss, before weight decay and clipping, in torch's layout.
    public func readGradient(_ name: String, into target: FloatPointer, count: Int) throws {
        guard hasGradients else { throw CARLError.state("there are no gradients before the first step") }
        try model.layout.entries(parameters: gradients.base, trained: true).named(name, count: count).read(into: target)
    }
}
