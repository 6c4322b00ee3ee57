/// An encoder and a linear layer from its features to classes, trained on labelled images: the linear probe (frozen encoder), fine-tuning, and the
/// same network from scratch.
///
/// The linear layer is "classifier.weight" (classes, F) and "classifier.bias" (classes) of the state. The loss is `CrossEntropy`, the update SGD with
/// one learning rate for the encoder and one for the linear layer. In front of the linear layer features can be standardised by fixed numbers
/// (`standardize`): that makes its learning rate mean the same for every encoder. A frozen encoder is in evaluation mode: neither its parameters nor its running
/// statistics change. Not for use by several threads at once.
public final class Classifier {
    public let configuration: ClassifierConfiguration
    /// Configuration of the model the encoder came from.
    public let encoderConfiguration: Configuration
    let encoder: ResNet
    let head: Linear
    let standardization: FeatureStandardization
    let encoderPart: TrainedPart
    let headPart: TrainedPart
    /// For steps: the linear layer always, the encoder when it trains.
    let compute: Compute
    /// For the encoder in evaluation mode, whose batches have other sizes than a step's. Keeps what it derives from the weights of a frozen encoder.
    let evaluationCompute: Compute
    /// Shape of the last step's batch; memory planned for another one is let go.
    private var plannedShape: [Int] = []
    private var hasGradients = false
    var counters = Counters()
    /// What the caller saved beside the classifier.
    public internal(set) var notes: JSONValue = .object(JSONObject())

    /// Whole numbers that training is resumed with.
    struct Counters: Equatable {
        var step = 0
        /// Images seen by `step` without indices.
        var images = 0
    }

    /// What a step reports.
    public struct Metrics: Equatable, Sendable {
        /// Steps taken, this one included.
        public var step = 0
        /// Mean cross-entropy, in nats.
        public var loss = 0.0
        /// Share of the batch whose largest logit is the label's, before the update.
        public var accuracy = 0.0
        public var learningRate = 0.0
        public var headLearningRate = 0.0
        /// l2 norm of the gradient over all trained parameters, before weight decay.
        public var gradientNorm = 0.0
        public var seconds = 0.0
        public var memoryBytes = 0
    }

    /// A classifier around a copy of an evaluator's encoder.
    public convenience init(_ json: JSONValue, encoder source: Evaluator) throws {
        try self.init(
            uninitialized: ClassifierConfiguration(json, encoder: source.configuration), encoder: source.configuration)
        let (seed, tensors) = (configuration.seed, encoderPart.layout.parameters.count)
        if configuration.fromScratch {
            try encoderPart.layout.initialize(encoderPart.parameters.base, encoderPart.statistics.base, seed: seed)
        } else {
            try encoderPart.copy(from: source.model.layout, parameters: source.parameters, statistics: source.statistics)
        }
        try headPart.layout.initialize(headPart.parameters.base, headPart.statistics.base, seed: seed, firstSlot: tensors)
    }

    /// Memory for a classifier whose values are set afterwards.
    init(uninitialized configuration: ClassifierConfiguration, encoder model: Configuration) throws {
        self.configuration = configuration
        encoderConfiguration = model
        var layout = ParameterLayout()
        encoder = ResNet(
            &layout, prefix: "encoder.", model.encoder, stem: model.stem, width: model.width, inChannels: model.inChannels,
            zeroInitResidual: model.zeroInitResidual)
        var headLayout = ParameterLayout()
        head = Linear(&headLayout, "classifier", encoder.features, configuration.classes)
        standardization = FeatureStandardization(&headLayout, encoder.features)
        guard headLayout.parameterCount <= 1 << 32 else {
            throw CARLError.configuration(
                "\"classes\": the linear layer would have \(headLayout.parameterCount) parameters, more than 2^32")
        }
        // Pages are written to only later, so the sum is compared, not each part.
        let values = try CheckedSize.product(configuration.freezeEncoder ? 1 : 3, layout.parameterCount, of: "the encoder")
        try MemoryLimit.require(
            MemoryLayout<Float>.stride * (values + 3 * headLayout.parameterCount),
            for: "a classifier of \(layout.parameterCount + headLayout.parameterCount) parameters")
        encoderPart = try TrainedPart(layout, frozen: configuration.freezeEncoder)
        headPart = try TrainedPart(headLayout, frozen: false)
        compute = try Compute(threads: configuration.threads)
        evaluationCompute =
            configuration.freezeEncoder
            ? try .forFixedWeights(threads: configuration.threads) : try Compute(threads: configuration.threads)
    }

    /// Steps taken.
    public var stepCount: Int { counters.step }

    // MARK: Steps

    /// One step on images of bytes: makes the configured view of each.
    ///
    /// - Parameters:
    ///   - labels: a class in 0 ..< classes for each image.
    ///   - indices: places of the images in the caller's data set; nil numbers images as they come.
    ///   - epoch: views depend on (seed, epoch, index) alone; 0 when `indices` is nil.
    public func step(
        _ images: [SourceImage], labels: UnsafePointer<Int32>, indices: UnsafePointer<UInt64>? = nil, epoch: UInt64 = 0
    ) throws -> Metrics {
        try images.withUnsafeBufferPointer { try step($0, labels: labels, indices: indices, epoch: epoch) }
    }

    /// The same on images in the caller's memory.
    public func step(
        _ images: UnsafeBufferPointer<SourceImage>, labels: UnsafePointer<Int32>, indices: UnsafePointer<UInt64>? = nil, epoch: UInt64 = 0
    ) throws -> Metrics {
        try compute.call {
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
        try compute.call {
            let start = monotonicSeconds()
            try images.check("images", channels: encoderConfiguration.inChannels, compute)
            try check(batch: images.batch, labels)
            let x = try takeBatch(images.batch, images.height, images.width)
            defer { compute.workspace.give(x) }
            x.base.update(from: images.values, count: x.count)
            return try takeStep(x, labels, start: start)
        }
    }

    /// Checks a number of images of a step, and that their views fit in memory, before anything of that size is allocated.
    public func checkBatch(_ count: Int) throws {
        try checkSize(count)
        let (size, channels) = (configuration.view.size, encoderConfiguration.inChannels)
        let bytes = try CheckedSize.product(count, size, size, channels, MemoryLayout<Float>.stride, of: "views (images, size, size, channels, bytes)")
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
        for i in 0..<batch where labels[i] < 0 || Int(labels[i]) >= configuration.classes {
            throw CARLError.invalidArgument(
                "labels[\(i)]: got \(labels[i]), want 0 to \(configuration.classes - 1) (\"classes\" is \(configuration.classes))")
        }
    }

    private func takeBatch(_ batch: Int, _ height: Int, _ width: Int) throws -> Activation {
        if [batch, height, width] != plannedShape {
            compute.workspace.trim()
            plannedShape = [batch, height, width]
        }
        return try compute.workspace.takeActivation(batch, height, width, encoderConfiguration.inChannels)
    }

    private func takeStep(_ x: Activation, _ labels: UnsafePointer<Int32>, start: Double) throws -> Metrics {
        let factor = configuration.rateFactor(step: counters.step)
        var metrics = Metrics()
        metrics.step = counters.step + 1
        metrics.learningRate = factor * configuration.learningRate
        metrics.headLearningRate = factor * configuration.headLearningRate

        // Running statistics move in forward; they go back when the step turns out not to be finite.
        let before = try compute.workspace.take(encoderPart.statistics.count)
        defer { compute.workspace.give(before) }
        before.copy(from: encoderPart.statistics)
        encoderPart.gradients?.fill(0)
        headPart.gradients?.fill(0)
        hasGradients = true
        func rollBack() { if !configuration.freezeEncoder { encoderPart.statistics.copy(from: before) } }
        let result: CrossEntropy.Result
        let norms: (Double, Double)
        do {
            result = try passForwardAndBack(x, labels)
            norms = (try encoderPart.gradientNorm(compute), try headPart.gradientNorm(compute))
            try Cancellation.check()
        } catch {
            rollBack()
            throw error
        }
        metrics.loss = result.loss
        metrics.accuracy = Double(result.correct) / Double(x.batch)
        metrics.gradientNorm = (norms.0 * norms.0 + norms.1 * norms.1).squareRoot()
        guard metrics.loss.isFinite, metrics.gradientNorm.isFinite else {
            rollBack()
            throw CARLError.notFinite(
                "\(metrics.loss.isFinite ? "the gradient" : "the loss") is not finite in step \(metrics.step) (learning rates \(metrics.learningRate) and \(metrics.headLearningRate)); the classifier was not changed. Try a smaller \"learning_rate\" or \"head_learning_rate\", or a longer warm-up")
        }
        // From here on the step is taken, whole.
        try Cancellation.shielded {
            for (part, rate) in [(encoderPart, metrics.learningRate), (headPart, metrics.headLearningRate)] {
                try part.update(
                    momentum: configuration.momentum, weightDecay: configuration.weightDecay, learningRate: rate, step: counters.step, compute)
            }
            counters.step += 1
        }
        metrics.memoryBytes = compute.bytes + evaluationCompute.bytes
        metrics.seconds = monotonicSeconds() - start
        return metrics
    }

    /// Loss and gradients of one batch; gradients are added to those of the parts.
    private func passForwardAndBack(_ x: Activation, _ labels: UnsafePointer<Int32>) throws -> CrossEntropy.Result {
        let workspace = compute.workspace
        let features: Activation
        var tape: ResNet.Tape?
        if configuration.freezeEncoder {
            features = try workspace.takeActivation(x.batch, 1, 1, encoder.features)
            let pixels = x.height * x.width * x.channels
            try evaluateFeatures(x.batch, x.height, x.width) { part, first in
                part.base.update(from: x.base + first * pixels, count: part.count)
            } receive: { part, first in
                (features.base + first * encoder.features).update(from: part.base, count: part.count)
            }
        } else {
            let pass = try encoder.forward(x, encoderPart.memory, compute)
            (features, tape) = (pass.features, pass.tape)
        }
        try standardization.apply(features, headPart.memory, compute)
        let logits = try head.forward(features, headPart.memory, compute)
        let result = try CrossEntropy.evaluate(
            logits.base, x.batch, configuration.classes, labels: labels, smoothing: configuration.labelSmoothing,
            gradient: logits.base, compute)
        let below = try head.backward(features, logits, headPart.memory, compute)
        workspace.give(logits)
        workspace.give(features)
        if let tape {
            try standardization.backward(below, headPart.memory, compute)
            try encoder.backward(below, tape, encoderPart.memory, compute)
        } else {
            workspace.give(below)
        }
        return result
    }

    // MARK: State

    /// All named tensors: the encoder's parameters and running statistics, then the linear layer's. Listed once: the memories they point into
    /// stay where they are.
    private(set) lazy var state: [StateEntry] = encoderPart.state + headPart.state

    public var tensors: [StateTensor] { state.map(\.description) }

    /// Copies a tensor of the state in torch's layout; `count` must be its size.
    public func readTensor(_ name: String, into target: FloatPointer, count: Int) throws {
        try state.named(name, count: count).read(into: target)
    }

    /// Overwrites a tensor of the state. Values must be finite.
    public func writeTensor(_ name: String, from source: UnsafePointer<Float>, count: Int) throws {
        try state.named(name, count: count).write(checked: source)
        // What was derived from a frozen encoder's weights is out of date.
        evaluationCompute.keptFilters?.clear()
    }

    /// Copies the gradient of the last step's loss, before weight decay, in torch's layout. A frozen encoder has none.
    public func readGradient(_ name: String, into target: FloatPointer, count: Int) throws {
        guard hasGradients else { throw CARLError.state("there are no gradients before the first step") }
        let entries = [encoderPart, headPart].flatMap { part in
            part.gradients.map { part.layout.entries(parameters: $0.base, trained: true) } ?? []
        }
        try entries.named(name, count: count).read(into: target)
    }
}
