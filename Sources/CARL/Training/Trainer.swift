/// A model in training: takes steps, embeds, saves, resumes.
///
/// Not for use by several threads at once; different trainers may run in different threads.
public final class Trainer {
    /// Resolved.
    public let configuration: Configuration
    /// Threads and memory of steps: a `profile` set here measures them.
    public let compute: Compute
    let model: Model
    let training: TrainingState
    let objective: any ObjectiveTraining
    /// Evaluation's batches have other sizes than training's: memory of its own keeps both planned.
    private let evaluationCompute: Compute
    /// Shapes of the last step's views; memory planned for other shapes is let go.
    private var plannedShapes: [[Int]] = []
    private var hasGradients = false
    var counters = TrainingCounters()
    /// What the caller saved beside the model.
    public internal(set) var notes: JSONValue = .object(JSONObject())
    /// The objective's numbers in the last step.
    public private(set) var lastTerms = Terms()
    /// Receives warnings, such as that of a collapse.
    public var warn: ((String) -> Void)?

    /// A new model, its weights drawn from the seed; throws `CARLError.configuration` and `CARLError.outOfMemory`.
    public convenience init(_ configuration: Configuration) throws {
        try self.init(uninitialized: configuration)
        try model.layout.initialize(training.parameters.base, training.statistics.base, seed: self.configuration.seed)
        training.copyToTeacher()
    }

    /// Memory for a model whose values are set afterwards. `objective` as of `Model`.
    init(
        uninitialized given: Configuration,
        objective makeObjective: ((inout ParameterLayout, _ dimension: Int) -> any Objective)? = nil
    ) throws {
        configuration = try given.resolved()
        model = try Model(configuration, objective: makeObjective)
        let count = model.layout.parameterCount
        let parts = TrainingState.Parts(
            optimizer: configuration.optimizer, accumulates: configuration.accumulate > 1,
            teacher: configuration.teacherMomentum > 0)
        // Pages are written to only later, so the sum is compared, not each part.
        try MemoryLimit.require(
            CheckedSize.product(parts.copies, count, MemoryLayout<Float>.stride, of: "the model"),
            for:
                """
                a model of \(count) parameters (\"width\", \"projector\", \"prototypes\"), \(parts.copies) values \
                for each,
                """
        )
        compute = try Compute(threads: configuration.threads, precision: configuration.precision)
        evaluationCompute = try Compute(threads: configuration.threads, precision: configuration.precision)
        if case .last(let blocks) = configuration.trainEncoder, blocks > model.encoder.blockCount {
            throw CARLError.configuration(
                """
                \"train_encoder\" must be \"all\", \"none\" or a number of the encoder's last blocks, 1 to \
                \(model.encoder.blockCount), got \(blocks)
                """)
        }
        training = try TrainingState(
            model.layout, parts,
            LayerRates(
                model.layout, configuration.trainEncoder, decay: configuration.layerDecay,
                blocks: model.encoder.blockCount))
        objective = try model.objective.training()
    }

    /// Steps taken.
    public var stepCount: Int { counters.step }

    // MARK: Steps

    /// One step on images: makes the configured views, then `step(views:)`.
    ///
    /// - Parameters:
    ///   - indices: places of the images in the caller's data set, below 2^40; nil numbers images as they come.
    ///   - epoch: views depend on (seed, epoch, index, view) alone; 0 when `indices` is nil.
    public func step(_ images: [SourceImage], indices: UnsafePointer<UInt64>? = nil, epoch: UInt64 = 0) throws
        -> Metrics
    {
        try images.withUnsafeBufferPointer { try step($0, indices: indices, epoch: epoch) }
    }

    /// The same on images in the caller's memory.
    public func step(
        _ images: UnsafeBufferPointer<SourceImage>, indices: UnsafePointer<UInt64>? = nil, epoch: UInt64 = 0
    ) throws -> Metrics {
        try compute.call(whole: true) {
            let start = monotonicSeconds()
            try checkBatch(images.count)
            try configuration.checkChannels(images)
            let specs = ViewSpec.views(configuration.viewSpecs(step: counters.step))
            let sizes = specs.map { (height: $0.size, width: $0.size) }
            let memory = try ViewRuns(
                sizes, globalViews: configuration.globalViews, batch: images.count, channels: configuration.inChannels,
                compute.workspace)
            defer { memory.release(compute.workspace) }
            let nowhere = CropBox(left: 0, top: 0, right: 1, bottom: 1, flipped: false)
            let crops = try HeapArray(
                specs.count * images.count, repeating: nowhere, for: "the places of \(images.count) images' views")
            try ViewMaker.make(
                images, views: specs, seed: configuration.seed, epoch: indices == nil ? 0 : epoch, indices: indices,
                firstIndex: UInt64(counters.images), into: memory.views, crops: crops.base, compute)
            let viewSeconds = monotonicSeconds() - start
            var metrics = try withExtendedLifetime(crops) { try takeStep(memory, crops: crops.base, start: start) }
            counters.images += images.count
            metrics.viewSeconds = viewSeconds
            return metrics
        }
    }

    /// Checks a number of images of a step, and that the values of their views fit in memory, before anything of that
    /// size is allocated. Small first views count with their later size: a run that cannot end does not begin.
    public func checkBatch(_ count: Int) throws {
        guard count >= 2 else {
            throw CARLError.invalidArgument(
                "images: got \(count), need at least 2 (BatchNorm and the prior are statistics over the batch)")
        }
        let pixels = configuration.viewSpecs.reduce(0) { $0 + $1.count * $1.size * $1.size }
        let bytes = try CheckedSize.product(
            count, pixels, configuration.inChannels, MemoryLayout<Float>.stride,
            of: "views (images, pixels of all views, channels, bytes)")
        try MemoryLimit.require(bytes, for: "the views of \(count) images")
    }

    /// One step on normalised views made by the caller: V batches of the same images in the same order. Views as large
    /// as the first, at the front, are the global ones, which may be targets; smaller ones behind them are only
    /// students (Caron et al., arXiv 2006.09882).
    public func step(views: [FloatImages]) throws -> Metrics {
        try compute.call(whole: true) {
            let start = monotonicSeconds()
            try Self.check(views: views.count, batch: views.first?.batch ?? 0)
            for (i, view) in views.enumerated() {
                guard view.batch == views[0].batch else {
                    throw CARLError.invalidArgument(
                        """
                        views[\(i)]: got a batch of \(view.batch), views[0] has \(views[0].batch): all views show \
                        the same images
                        """
                    )
                }
                try view.check("views[\(i)]", channels: configuration.inChannels, compute)
            }
            let memory = try ViewRuns(
                views.map { ($0.height, $0.width) }, batch: views[0].batch, channels: configuration.inChannels,
                compute.workspace)
            defer { memory.release(compute.workspace) }
            for (view, copy) in zip(views, memory.views) {
                copy.update(from: view.values, count: view.batch * view.height * view.width * view.channels)
            }
            return try takeStep(memory, crops: nil, start: start)
        }
    }

    static func check(views: Int, batch: Int) throws {
        guard views >= 2 else { throw CARLError.invalidArgument("views: got \(views), need at least 2") }
        guard views <= 256 else { throw CARLError.invalidArgument("views: got \(views), at most 256 are possible") }
        guard batch >= 2 else {
            throw CARLError.invalidArgument(
                """
                views: got batches of \(batch), need at least 2 images (BatchNorm and the prior are statistics over \
                the batch)
                """
            )
        }
    }

    /// - Parameter encoder: what the views pass through, nil for the model's encoder.
    func takeStep(
        _ views: ViewRuns, through encoder: (any Encoder)? = nil, crops: UnsafePointer<CropBox>?, start: Double
    ) throws -> Metrics {
        let shapes = views.runs.map { [$0.batch, $0.groups, $0.height, $0.width] }
        if shapes != plannedShapes {
            compute.workspace.trim()
            plannedShapes = shapes
        }
        var metrics = Metrics()
        metrics.step = counters.step + 1
        metrics.learningRate = configuration.learningRate(step: counters.step)
        hasGradients = false
        let outcome = try StepTransaction.attempt([training], compute) {
            try passForwardAndBack(views, through: encoder ?? model.encoder, crops)
        } loss: {
            $0.loss
        } notFinite: { what, result in
            .notFinite(
                """
                \(what) is not finite in step \(metrics.step) (\(result.terms.description), learning rate \
                \(metrics.learningRate)); the model was not changed. Try a smaller \"learning_rate\", a longer \
                warm-up or \"clip_norm\"
                """)
        }
        hasGradients = true
        var result = outcome.pass
        metrics.gradientNorm = outcome.gradientNorm

        // From here on the step is taken, whole.
        try Cancellation.shielded {
            counters.step += 1
            metrics.collapse = objective.stepTaken(counters.step, images: views.batch, &result)
            metrics.updated = try update(&metrics)
            if let warning = objective.warning(metrics.collapse, result) { warn?("collapse: " + warning) }
            if let total = configuration.totalSteps, metrics.step == total + 1, metrics.learningRate == 0 {
                warn?(
                    """
                    schedule: step \(metrics.step) is past \"total_steps\" (\(total)), the learning rate is 0, and \
                    nothing is learnt from here on. Set \"total_steps\" to more steps, or \"schedule\" to \
                    \"constant\" without it
                    """)
            }
        }
        (metrics.loss, metrics.terms) = (result.loss, result.terms)
        lastTerms = result.terms
        metrics.memoryBytes = compute.bytes
        metrics.seconds = monotonicSeconds() - start
        metrics.viewsPerSecond = Double(views.views.count * views.batch) / max(metrics.seconds, 1e-9)
        return metrics
    }

    /// Lets the optimizer act, unless gradients still accumulate. Returns whether it did.
    private func update(_ metrics: inout Metrics) throws -> Bool {
        training.accumulate(share: 1 / Float(configuration.accumulate), compute)
        counters.sinceUpdate += 1
        if counters.sinceUpdate < configuration.accumulate { return false }
        counters.sinceUpdate = 0
        let step = counters.step - 1
        metrics.teacherMomentum = training.teacher == nil ? 0 : configuration.teacherMomentum(step: step)
        let optimizer = Optimizer(
            kind: configuration.optimizer, momentum: configuration.momentum,
            weightDecay: configuration.weightDecay.value(step: step), trustCoefficient: configuration.trustCoefficient)
        try training.update(
            optimizer, learningRate: metrics.learningRate, clipNorm: configuration.clipNorm, norm: metrics.gradientNorm,
            teacherMomentum: metrics.teacherMomentum,
            frozen: counters.step <= configuration.freezePrototypes ? [.objective] : [], compute)
        counters.updates += 1
        return true
    }

    // MARK: Evaluation and state

    /// The student.
    public var trained: TrainedModel {
        TrainedModel(
            configuration: configuration, model: model, parameters: training.parameters, statistics: training.statistics
        )
    }

    /// The teacher; the student where there is none.
    public var trainedTeacher: TrainedModel {
        guard let parameters = training.teacherParameters, let statistics = training.teacherStatistics else {
            return trained
        }
        return TrainedModel(configuration: configuration, model: model, parameters: parameters, statistics: statistics)
    }

    /// The student in evaluation mode, on the trainer's own memory.
    public var evaluator: Evaluator { Evaluator(trained: trained, compute: evaluationCompute) }

    /// All named tensors: parameters, running statistics, and the teacher's under "teacher.". Listed once: the memories
    /// they point into stay where they are.
    private(set) lazy var state: [StateEntry] = training.entries

    /// What `readTensor` and `writeTensor` know by name.
    public var tensors: [StateTensor] { state.map(\.description) }

    /// Copies a tensor of the state in torch's layout; `count` must be its size.
    public func readTensor(_ name: String, into target: FloatPointer, count: Int) throws {
        try state.named(name, count: count).read(into: target)
    }

    /// Overwrites a tensor of the state. Values must be finite, those of a variance not negative.
    public func writeTensor(_ name: String, from source: UnsafePointer<Float>, count: Int) throws {
        try state.named(name, count: count).write(checked: source)
    }

    /// Replaces the encoder's weights, the teacher's too, by those of another program's file, see `PretrainedWeights`;
    /// all of them, or none when an error is thrown.
    public func loadWeights(from path: String) throws {
        var memories = [(training.parameters.base, training.statistics.base)]
        if let teacher = training.teacher { memories.append((teacher.parameters, teacher.statistics)) }
        try PretrainedWeights(path: path).load(into: model.layout, memories)
    }

    /// Copies the gradient of the last step's loss, before weight decay and clipping, in torch's layout.
    public func readGradient(_ name: String, into target: FloatPointer, count: Int) throws {
        guard hasGradients else {
            throw CARLError.state("there are no gradients before the first step, or of one that failed")
        }
        try training.gradientEntries.trained(name, count: count, of: state).read(into: target)
    }
}

extension Evaluator {
    /// An evaluator with a copy of a trainer's model, the teacher's if there is one and `teacher` asks for it.
    public init(copying trainer: Trainer, teacher: Bool) throws {
        try self.init(
            copying: teacher ? trainer.trainedTeacher : trainer.trained, threads: trainer.configuration.threads)
    }
}
