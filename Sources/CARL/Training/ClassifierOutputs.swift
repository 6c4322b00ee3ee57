extension Classifier: ImageEmbedding {
    /// Values per image of an output: F features, or one for each class.
    public func width(_ output: ModelOutput) throws -> Int {
        output == .features ? encoder.features : try objective.width(output)
    }

    /// Writes `output` of normalised images (B, H, W, C) to `out` (B, width(output)), the caller's memory.
    ///
    /// - Throws: `CARLError.invalidArgument` for a projection, which there is not, and for images that the encoder does
    ///   not take; `CARLError.notFinite` that names the first image whose output is not finite; `CARLError.cancelled`,
    ///   `CARLError.outOfMemory`.
    public func embed(_ images: FloatImages, _ output: ModelOutput, into out: FloatPointer) throws {
        try call {
            let width = try width(output)
            try inference.run(images) { try evaluate($0, output, into: out + $1 * width, first: $1) }
        }
    }

    /// Writes `output` of `count` images of bytes to `out` (count, width(output)), the caller's memory.
    ///
    /// - Parameters:
    ///   - size: pixels of a side that images are resized and cropped to, at most 4096; 0: that of the configured view.
    ///   - image: gives an image by number, 0 ..< count; its pixels must stay until the call returns.
    /// - Throws: as for normalised images, and what `image` throws.
    public func embed(
        _ count: Int, size: Int, _ output: ModelOutput, into out: FloatPointer,
        image: (_ number: Int) throws -> SourceImage
    ) throws {
        try call {
            let width = try width(output)
            try inference.run(count, size: size, image: image) {
                try evaluate($0, output, into: out + $1 * width, first: $1)
            }
        }
    }

    private func evaluate(_ x: Activation, _ output: ModelOutput, into out: FloatPointer, first: Int) throws {
        let features = try encoder.evaluate(x, encoderState.memory, evaluationCompute)
        defer { evaluationCompute.workspace.give(features) }
        try Cancellation.check()
        if output == .features {
            out.update(from: features.base, count: features.count)
        } else {
            // The linear layer's weights change: they must not meet the memory that keeps what it derives from weights.
            try objective.evaluate(features, output, headState.memory, into: out, compute)
        }
        try FiniteOutput.check(out, rows: x.batch, width: width(output), first: first)
    }

    /// Sets what features are standardised with to their mean and standard deviation over these images, in evaluation
    /// mode.
    public func standardize(_ images: [SourceImage]) throws {
        try standardize(images.count) { images[$0] }
    }

    /// The same on `count` images that `image` gives by number, some at a time.
    public func standardize(_ count: Int, image: (_ number: Int) throws -> SourceImage) throws {
        guard count >= 2 else {
            throw CARLError.invalidArgument("images: got \(count), need at least 2 to take a standard deviation")
        }
        let features = try FloatBuffer(CheckedSize.product(count, encoder.features, of: "features"), zeroed: false)
        try embed(count, size: 0, .features, into: features.base, image: image)
        objective.standardization.fit(features.base, rows: count, headState.memory)
    }
}
