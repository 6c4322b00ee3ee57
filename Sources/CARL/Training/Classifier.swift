/// An encoder and a linear layer from its features to classes, trained on labelled images: the linear probe (frozen
/// encoder), fine-tuning, and the same network from scratch.
///
/// The objective is `ClassificationObjective`, the update SGD with one learning rate for the encoder and one for the
/// linear layer. A frozen encoder is in evaluation mode: neither its parameters nor its running statistics change. Not
/// for use by several threads at once.
public final class Classifier {
    /// With the defaults for the encoder filled in.
    public let configuration: ClassifierConfiguration
    /// Configuration of the model the encoder came from.
    public let encoderConfiguration: Configuration
    let encoder: any Encoder
    let objective: ClassificationObjective
    let training: any ObjectiveTraining
    let encoderState: TrainingState
    let headState: TrainingState
    /// For steps: the linear layer always, the encoder when it trains.
    let compute: Compute
    /// For the encoder in evaluation mode, whose batches have other sizes than a step's. Keeps what it derives from the
    /// weights of a frozen encoder.
    let evaluationCompute: Compute
    /// Shape of the last step's batch; memory planned for another one is let go.
    private var plannedShape: [Int] = []
    private var hasGradients = false
    var counters = TrainingCounters()
    /// What the caller saved beside the classifier.
    public internal(set) var notes: JSONValue = .object(JSONObject())

    /// What a step reports.
    public struct Metrics: Equatable, Sendable {
        /// Steps taken, this one included.
        public var step = 0
        /// Mean cross-entropy, in nats.
        public var loss = 0.0
        /// Share of the batch whose largest logit is the label's, before the update.
        public var accuracy = 0.0
        /// The encoder's in this step; 0 when it is frozen.
        public var learningRate = 0.0
        /// The linear layer's in this step.
        public var headLearningRate = 0.0
        /// l2 norm of the gradient over all trained parameters, before weight decay.
        public var gradientNorm = 0.0
        /// Wall-clock time of the whole call, making views included.
        public var seconds = 0.0
        /// Bytes of activations, gradients of activations and scratch held by the classifier.
        public var memoryBytes = 0
    }

    /// A classifier around a copy of a model's encoder.
    public convenience init(_ json: JSONValue, encoder evaluator: Evaluator) throws {
        let source = evaluator.trained
        try self.init(
            uninitialized: ClassifierConfiguration(json, encoder: source.configuration), encoder: source.configuration)
        let seed = configuration.seed
        if configuration.fromScratch {
            try encoderState.layout.initialize(encoderState.parameters.base, encoderState.statistics.base, seed: seed)
        } else {
            try encoderState.copy(from: source)
        }
        try headState.layout.initialize(
            headState.parameters.base, headState.statistics.base, seed: seed,
            firstSlot: encoderState.layout.parameters.count)
    }

    /// Memory for a classifier whose values are set afterwards.
    init(uninitialized configuration: ClassifierConfiguration, encoder model: Configuration) throws {
        self.configuration = configuration
        encoderConfiguration = model
        var layout = ParameterLayout()
        encoder = model.encoder.make(&layout, prefix: "encoder.", model.encoderOptions)
        var headLayout = ParameterLayout()
        objective = ClassificationObjective(
            &headLayout, features: encoder.features, classes: configuration.classCount,
            labelSmoothing: configuration.labelSmoothing)
        training = try objective.training()
        guard headLayout.parameterCount <= 1 << 32 else {
            throw CARLError.configuration(
                "\"classes\": the linear layer would have \(headLayout.parameterCount) parameters, more than 2^32")
        }
        let parts = TrainingState.Parts(optimizer: .sgd)
        let encoderParts = configuration.freezeEncoder ? TrainingState.Parts() : parts
        // Pages are written to only later, so the sum is compared, not each part.
        let values = try CheckedSize.product(encoderParts.copies, layout.parameterCount, of: "the encoder")
        try MemoryLimit.require(
            MemoryLayout<Float>.stride * (values + parts.copies * headLayout.parameterCount),
            for: "a classifier of \(layout.parameterCount + headLayout.parameterCount) parameters")
        encoderState = try TrainingState(layout, encoderParts)
        headState = try TrainingState(headLayout, parts)
        let (threads, precision) = (configuration.threads, configuration.precision ?? model.precision)
        compute = try Compute(threads: threads, precision: precision)
        evaluationCompute =
            configuration.freezeEncoder
            ? try .forFixedWeights(threads: threads, precision: precision)
            : try Compute(threads: threads, precision: precision)
    }

    /// Steps taken.
    public var stepCount: Int { counters.step }

    // MARK: Steps

    /// One step on images of bytes: makes the configured view of each.
    ///
    /// - Parameters:
    ///   - labels: a class in 0 ..< classes for each image.
    ///   - indices: places of the images in the caller's data set, below 2^40; nil numbers images as they come.
    ///   - epoch: views depend on (seed, epoch, index) alone; 0 when `indices` is nil.
    public func step(
        _ images: [SourceImage], labels: UnsafePointer<Int32>, indices: UnsafePointer<UInt64>? = nil, epoch: UInt64 = 0
    ) throws -> Metrics {
        try images.withUnsafeBufferPointer { try step($0, labels: labels, indices: indices, epoch: epoch) }
    }

    /// The same on images in the caller's memory.
    public func step(
        _ images: UnsafeBufferPointer<SourceImage>, labels: UnsafePointer<Int32>, indices: UnsafePointer<UInt64>? = nil,
        epoch: UInt64 = 0
    ) throws -> Metrics {
        try call(whole: true) {
            let start = monotonicSeconds()
            try check(batch: images.count, labels)
            try encoderConfiguration.checkChannels(images)
            let spec = configuration.view
            let x = try takeBatch(images.count, spec.size, spec.size)
            defer { compute.workspace.give(x) }
            try ViewMaker.make(
                images, views: [spec], seed: configuration.seed, epoch: indices == nil ? 0 : epoch, indices: indices,
                firstIndex: UInt64(counters.images), into: [x.base], compute)
            let metrics = try takeStep(x, labels, start: start)
            counters.images += images.count
            return metrics
        }
    }

    /// One step on normalised images made by the caller.
    public func step(_ images: FloatImages, labels: UnsafePointer<Int32>) throws -> Metrics {
        try call(whole: true) {
            let start = monotonicSeconds()
            try images.check("images", channels: encoderConfiguration.inChannels, compute)
            try check(batch: images.batch, labels)
            let x = try takeBatch(images.batch, images.height, images.width)
            defer { compute.workspace.give(x) }
            x.base.update(from: images.values, count: x.count)
            return try takeStep(x, labels, start: start)
        }
    }

    /// Checks a number of images of a step, and that their views fit in memory, before anything of that size is
    /// allocated.
    public func checkBatch(_ count: Int) throws {
        try checkSize(count)
        let (size, channels) = (configuration.view.size, encoderConfiguration.inChannels)
        let bytes = try CheckedSize.product(
            count, size, size, channels, MemoryLayout<Float>.stride, of: "views (images, size, size, channels, bytes)")
        try MemoryLimit.require(bytes, for: "the views of \(count) images")
    }

    private func checkSize(_ batch: Int) throws {
        let least = configuration.freezeEncoder ? 1 : 2
        guard batch >= least else {
            let why = least == 2 ? " (BatchNorm takes statistics over the batch)" : ""
            throw CARLError.invalidArgument("images: got \(batch), need at least \(least)\(why)")
        }
    }

    private func check(batch: Int, _ labels: UnsafePointer<Int32>) throws {
        try checkSize(batch)
        for i in 0..<batch where labels[i] < 0 || Int(labels[i]) >= configuration.classCount {
            throw CARLError.invalidArgument(
                """
                labels[\(i)]: got \(labels[i]), want 0 to \(configuration.classCount - 1) (\"classes\" is \
                \(configuration.classCount))
                """
            )
        }
    }

    private func takeBatch(_ batch: Int, _ height: Int, _ width: Int) throws -> Activation {
        if [batch, height, width] != plannedShape {
            compute.workspace.trim()
            plannedShape = [batch, height, width]
        }
        return try compute.workspace.takeActivation(batch, height, width, encoderConfiguration.inChannels)
    }

    /// A call that uses both memories: an error leaves nothing half done in either.
    func call<Result>(whole: Bool = false, _ body: () throws -> Result) throws -> Result {
        try compute.call(whole: whole) { try evaluationCompute.call(whole: whole, body) }
    }

    private func takeStep(_ x: Activation, _ labels: UnsafePointer<Int32>, start: Double) throws -> Metrics {
        let factor = configuration.rateFactor(step: counters.step)
        var metrics = Metrics()
        metrics.step = counters.step + 1
        metrics.learningRate = factor * configuration.learningRate
        metrics.headLearningRate = factor * configuration.headLearningRate

        hasGradients = false
        let outcome = try StepTransaction.attempt([encoderState, headState], compute) {
            try passForwardAndBack(x, labels)
        } loss: {
            $0.loss
        } notFinite: { what, _ in
            .notFinite(
                """
                \(what) is not finite in step \(metrics.step) (learning rates \(metrics.learningRate) and \
                \(metrics.headLearningRate)); the classifier was not changed. Try a smaller \"learning_rate\" or \
                \"head_learning_rate\", or a longer warm-up
                """
            )
        }
        hasGradients = true
        metrics.loss = outcome.pass.loss
        metrics.accuracy = outcome.pass.terms["accuracy"] ?? 0
        metrics.gradientNorm = outcome.gradientNorm
        // From here on the step is taken, whole.
        try Cancellation.shielded {
            let optimizer = Optimizer(
                kind: .sgd, momentum: configuration.momentum, weightDecay: configuration.weightDecay)
            for (state, rate) in [(encoderState, metrics.learningRate), (headState, metrics.headLearningRate)] {
                try state.update(optimizer, learningRate: rate, compute)
            }
            counters.step += 1
        }
        metrics.memoryBytes = compute.bytes + evaluationCompute.bytes
        metrics.seconds = monotonicSeconds() - start
        return metrics
    }

    /// Loss and gradients of one batch; gradients are added to those of the states.
    private func passForwardAndBack(_ x: Activation, _ labels: UnsafePointer<Int32>) throws -> ObjectiveResult {
        let workspace = compute.workspace
        var pass: EncoderPass?
        let features: Activation
        if configuration.freezeEncoder {
            features = try workspace.takeActivation(x.batch, 1, 1, encoder.features)
            let pixels = x.height * x.width * x.channels
            try inference.inBatches(x.batch, x.height, x.width) { part, first in
                part.base.update(from: x.base + first * pixels, count: part.count)
                let computed = try encoder.evaluate(part, encoderState.memory, evaluationCompute)
                defer { evaluationCompute.workspace.give(computed) }
                (features.base + first * encoder.features).update(from: computed.base, count: computed.count)
            }
        } else {
            var memory = encoderState.memory
            memory.draws = PassDraws(seed: configuration.seed, step: counters.step)
            let forward = try encoder.forward(x, memory, compute)
            (pass, features) = (forward, forward.features)
        }
        let gradient = try workspace.takeActivation(like: features)
        let result = try training.evaluate(
            ObjectiveBatch(
                step: counters.step, batch: x.batch, dimension: encoder.features,
                embeddings: [UnsafePointer(features.base)],
                gradients: [gradient.base], globalViews: 1, memory: headState.memory, labels: labels),
            compute)
        workspace.give(features)
        if let pass { try pass.backward(gradient, nil) } else { workspace.give(gradient) }
        return result
    }

    /// The encoder in evaluation mode, over batches.
    var inference: BatchedInference {
        BatchedInference(configuration: encoderConfiguration, view: configuration.view, compute: evaluationCompute)
    }

    // MARK: State

    /// All named tensors: the encoder's parameters and running statistics, then the linear layer's. Listed once: the
    /// memories they point into stay where they are.
    private(set) lazy var state: [StateEntry] = encoderState.entries + headState.entries

    /// What `readTensor` and `writeTensor` know by name.
    public var tensors: [StateTensor] { state.map(\.description) }

    /// Copies a tensor of the state in torch's layout; `count` must be its size.
    public func readTensor(_ name: String, into target: FloatPointer, count: Int) throws {
        try state.named(name, count: count).read(into: target)
    }

    /// Overwrites a tensor of the state. Values must be finite.
    public func writeTensor(_ name: String, from source: UnsafePointer<Float>, count: Int) throws {
        try state.named(name, count: count).write(checked: source)
        // What was derived from a frozen encoder's weights is out of date.
        evaluationCompute.prepackedFilters?.clear()
    }

    /// Copies the gradient of the last step's loss, before weight decay, in torch's layout. A frozen encoder has none.
    public func readGradient(_ name: String, into target: FloatPointer, count: Int) throws {
        guard hasGradients else {
            throw CARLError.state("there are no gradients before the first step, or of one that failed")
        }
        let entries = encoderState.gradientEntries + headState.gradientEntries
        try entries.trained(name, count: count, of: state).read(into: target)
    }
}
