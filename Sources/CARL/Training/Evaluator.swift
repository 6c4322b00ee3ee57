/// Embeds images with a model in evaluation mode.
public struct Evaluator {
    public let configuration: Configuration
    let model: Model
    let parameters: FloatBuffer
    let statistics: FloatBuffer
    let compute: Compute

    /// Images embedded at a time: enough to keep all cores busy, few enough to keep memory small.
    public static let batch = 128

    /// Values per image of an output.
    public func width(_ output: Model.Output) -> Int { model.width(output) }

    /// Writes `output` of normalised images to `out` (B, width(output)).
    public func embed(_ images: FloatImages, _ output: Model.Output, into out: FloatPointer) throws {
        try compute.call {
            try images.check("images", channels: configuration.inChannels, compute)
            let pixels = images.height * images.width * images.channels
            try inBatches(images.batch, images.height, images.width, output, into: out) { x, first in
                x.base.update(from: images.values + first * pixels, count: x.count)
            }
        }
    }

    /// Writes `output` of images of bytes, resized to `size` and normalised as the first view is.
    public func embed(_ images: [SourceImage], size: Int, _ output: Model.Output, into out: FloatPointer) throws {
        try embed(images.count, size: size, output, into: out) { images[$0] }
    }

    /// The same on `count` images that `image` gives by number, some at a time.
    public func embed(
        _ count: Int, size: Int, _ output: Model.Output, into out: FloatPointer, image: (_ number: Int) throws -> SourceImage
    ) throws {
        try compute.call {
            let spec = configuration.views[0]
            let size = size == 0 ? spec.size : size
            try inBatches(count, size, size, output, into: out) { x, first in
                try configuration.collect(first..<first + x.batch, image) {
                    try ViewMaker.evaluation($0, size: size, mean: spec.mean, std: spec.std, into: x.base, compute)
                }
            }
        }
    }

    private func inBatches(
        _ count: Int, _ height: Int, _ width: Int, _ output: Model.Output, into out: FloatPointer,
        fill: (_ x: Activation, _ first: Int) throws -> Void
    ) throws {
        let memory = ModelMemory(parameters: parameters.base, statistics: statistics.base, gradients: nil)
        let outputWidth = model.width(output)
        compute.workspace.plan(try CheckedSize.product(min(Self.batch, count), height, width, of: "a batch"))
        for first in stride(from: 0, to: count, by: Self.batch) {
            let x = try compute.workspace.takeActivation(
                min(Self.batch, count - first), height, width, configuration.inChannels)
            defer { compute.workspace.give(x) }
            try fill(x, first)
            let target = out + first * outputWidth
            try model.evaluate(x, output, configuration.assignment, memory, into: target, compute)
            try Cancellation.check()
            try FiniteOutput.check(target, rows: x.batch, width: outputWidth, first: first)
        }
    }
}

extension Evaluator {
    /// An evaluator with memory of its own, so that it outlives the trainer and does not share its scratch.
    public init(copying trainer: Trainer, teacher: Bool) throws {
        try MemoryLimit.require(
            4 * (trainer.parameters.count + trainer.statistics.count), for: "a copy of a model of \(trainer.parameters.count) parameters")
        let (parameters, statistics): (FloatBuffer, FloatBuffer)
        if teacher, let p = trainer.teacherParameters, let s = trainer.teacherStatistics {
            (parameters, statistics) = (p, s)
        } else {
            (parameters, statistics) = (trainer.parameters, trainer.statistics)
        }
        self.init(
            configuration: trainer.configuration, model: trainer.model, parameters: try FloatBuffer(parameters.count),
            statistics: try FloatBuffer(statistics.count), compute: try .forFixedWeights(threads: trainer.configuration.threads))
        self.parameters.copy(from: parameters)
        self.statistics.copy(from: statistics)
    }
}
