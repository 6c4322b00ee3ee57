/// Embeds images with a model in evaluation mode.
public struct Evaluator: ImageEmbedding {
    /// The model with its values; of one made from a weights file, the encoder's alone mean anything.
    public let trained: TrainedModel
    let compute: Compute
    /// Only the encoder has values: there is no projection head and no prototypes.
    var encoderOnly = false

    /// The model's, resolved.
    public var configuration: Configuration { trained.configuration }

    /// Values per image: F features, D of the projection, K probabilities or logits.
    ///
    /// - Throws: `CARLError.state` for anything but features of an evaluator made from a weights file.
    public func width(_ output: ModelOutput) throws -> Int {
        if encoderOnly, output != .features {
            throw CARLError.state(
                "output: only features can be had of a weights file: it has neither projection head nor prototypes")
        }
        return try trained.model.width(output)
    }

    /// Writes `output` of normalised images (B, H, W, C) to `out` (B, width(output)), the caller's memory.
    ///
    /// - Throws: `CARLError.invalidArgument` for images that the model does not take; `CARLError.notFinite` that
    ///   names the first image whose output is not finite; `CARLError.cancelled`, `CARLError.outOfMemory`; as `width`.
    public func embed(_ images: FloatImages, _ output: ModelOutput, into out: FloatPointer) throws {
        try compute.call {
            let width = try width(output)
            try inference.run(images) { try evaluate($0, output, into: out + $1 * width, first: $1) }
        }
    }

    /// Writes `output` of `count` images of bytes to `out` (count, width(output)), the caller's memory.
    ///
    /// - Parameters:
    ///   - size: pixels of a side that images are resized and cropped to, at most 4096; 0: that of the first view.
    ///   - image: gives an image by number, 0 ..< count; its pixels must stay until the call returns.
    /// - Throws: as for normalised images, and what `image` throws.
    public func embed(
        _ count: Int, size: Int, _ output: ModelOutput, into out: FloatPointer,
        image: (_ number: Int) throws -> SourceImage
    ) throws {
        try compute.call {
            let width = try width(output)
            try inference.run(count, size: size, image: image) {
                try evaluate($0, output, into: out + $1 * width, first: $1)
            }
        }
    }

    private var inference: BatchedInference {
        BatchedInference(configuration: configuration, view: configuration.viewSpecs[0], compute: compute)
    }

    private func evaluate(_ x: Activation, _ output: ModelOutput, into out: FloatPointer, first: Int) throws {
        try trained.model.evaluate(x, output, trained.memory, into: out, compute)
        try Cancellation.check()
        try FiniteOutput.check(out, rows: x.batch, width: width(output), first: first)
    }
}

extension Evaluator {
    /// An encoder with the weights of another program's file, see `PretrainedWeights`. Its output is features.
    ///
    /// - Parameters:
    ///   - overrides: configuration keys to change, such as "in_channels" or "views".
    ///   - threads: 0 means all.
    public init(weights path: String, overrides: JSONValue? = nil, threads: Int = 0) throws {
        let weights = try PretrainedWeights(path: path)
        let configuration = try weights.configuration(overrides)
        let model = try Model(configuration)
        // Before memory is taken for a model that is not in the file.
        _ = try weights.fit(model.layout)
        try self.init(
            trained: TrainedModel(
                configuration: configuration, model: model, parameters: FloatBuffer(model.layout.parameterCount),
                statistics: FloatBuffer(model.layout.statisticCount)),
            compute: .forFixedWeights(threads: threads, precision: configuration.precision), encoderOnly: true)
        try weights.load(into: model.layout, [(trained.parameters.base, trained.statistics.base)])
    }

    /// Writes a weights file in one step, see `ExportedPart`.
    public func export(_ part: ExportedPart, to path: String) throws {
        guard part == .encoder || !encoderOnly else {
            throw CARLError.state(
                "part: only the encoder can be had of a weights file: it has neither projection head nor prototypes")
        }
        try trained.export(part, to: path)
    }

    /// An evaluator with memory of its own, so that it outlives what the model came from and does not share its
    /// scratch.
    init(copying source: TrainedModel, threads: Int) throws {
        try MemoryLimit.require(
            4 * (source.parameters.count + source.statistics.count),
            for: "a copy of a model of \(source.parameters.count) parameters")
        try self.init(
            trained: TrainedModel(
                configuration: source.configuration, model: source.model,
                parameters: FloatBuffer(source.parameters.count),
                statistics: FloatBuffer(source.statistics.count)),
            compute: .forFixedWeights(threads: threads, precision: source.configuration.precision))
        trained.parameters.copy(from: source.parameters)
        trained.statistics.copy(from: source.statistics)
    }
}
