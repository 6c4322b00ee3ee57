/// Runs a network in evaluation mode over any number of images, some at a time.
struct BatchedInference {
    /// Images at a time: enough to keep all cores busy, few enough to keep memory small.
    static let batch = 128

    let configuration: Configuration
    /// Size and normalisation of images of bytes.
    let view: ViewSpec
    let compute: Compute

    /// Calls `receive` with normalised images, batch by batch, and the number of a batch's first image.
    func run(_ images: FloatImages, _ receive: (_ x: Activation, _ first: Int) throws -> Void) throws {
        try images.check("images", channels: configuration.inChannels, compute)
        let pixels = images.height * images.width * images.channels
        try inBatches(images.batch, images.height, images.width) { x, first in
            x.base.update(from: images.values + first * pixels, count: x.count)
            try receive(x, first)
        }
    }

    /// The same with `count` images of bytes that `image` gives by number, resized and centre-cropped to `size` (0: the
    /// view's) as the configuration says, and normalised as the view is.
    func run(
        _ count: Int, size: Int, image: (_ number: Int) throws -> SourceImage,
        _ receive: (_ x: Activation, _ first: Int) throws -> Void
    ) throws {
        guard (0...ViewSpec.largestSize).contains(size) else {
            throw CARLError.invalidArgument("size: got \(size), want 0 to \(ViewSpec.largestSize)")
        }
        guard count >= 0 else { throw CARLError.invalidArgument("count: got \(count), want at least 0") }
        let size = size == 0 ? view.size : size
        try inBatches(count, size, size) { x, first in
            try configuration.collect(first..<first + x.batch, image) {
                try ViewMaker.evaluation(
                    $0, size: size, crop: configuration.evaluationCrop,
                    interpolation: configuration.evaluationInterpolation, mean: view.mean, std: view.std, into: x.base,
                    compute)
            }
            try receive(x, first)
        }
    }

    /// Memory for one batch after another. The cancellation of the call is looked at between two.
    func inBatches(_ count: Int, _ height: Int, _ width: Int, _ body: (_ x: Activation, _ first: Int) throws -> Void)
        throws
    {
        compute.workspace.plan(try CheckedSize.product(min(Self.batch, count), height, width, of: "a batch"))
        for first in stride(from: 0, to: count, by: Self.batch) {
            let x = try compute.workspace.takeActivation(
                min(Self.batch, count - first), height, width, configuration.inChannels)
            defer { compute.workspace.give(x) }
            try body(x, first)
            try Cancellation.check()
        }
    }
}

/// What embeds images: a model, a trainer's model, a classifier.
public protocol ImageEmbedding {
    /// Values per image of an output.
    func width(_ output: ModelOutput) throws -> Int
    /// Writes `output` of normalised images to `out` (B, width(output)).
    func embed(_ images: FloatImages, _ output: ModelOutput, into out: FloatPointer) throws
    /// Writes `output` of `count` images of bytes, which `image` gives by number, resized to `size` (0: that of
    /// training) and normalised as in training.
    func embed(
        _ count: Int, size: Int, _ output: ModelOutput, into out: FloatPointer,
        image: (_ number: Int) throws -> SourceImage
    ) throws
}

extension ImageEmbedding {
    /// The same with the images themselves.
    public func embed(_ images: [SourceImage], size: Int, _ output: ModelOutput, into out: FloatPointer) throws {
        try embed(images.count, size: size, output, into: out) { images[$0] }
    }
}
