extension Classifier {
    /// Values per image of an output: F features, or one for each class.
    public func width(_ output: Model.Output) throws -> Int {
        switch output {
        case .features: encoder.features
        case .logits, .probabilities: configuration.classes
        case .projection:
            throw CARLError.invalidArgument("output: a classifier has no projection, want features, probabilities or logits")
        }
    }

    /// Writes `output` of normalised images to `out` (B, width(output)), in evaluation mode.
    public func embed(_ images: FloatImages, _ output: Model.Output, into out: FloatPointer) throws {
        try call {
            try images.check("images", channels: encoderConfiguration.inChannels, compute)
            let pixels = images.height * images.width * images.channels
            try inBatches(images.batch, images.height, images.width, output, into: out) { x, first in
                x.base.update(from: images.values + first * pixels, count: x.count)
            }
        }
    }

    /// Writes `output` of images of bytes, resized to `size` (0: the view's), centre-cropped and normalised as the view is.
    public func embed(_ images: [SourceImage], size: Int, _ output: Model.Output, into out: FloatPointer) throws {
        try embed(images.count, size: size, output, into: out) { images[$0] }
    }

    /// The same on `count` images that `image` gives by number, some at a time.
    public func embed(
        _ count: Int, size: Int, _ output: Model.Output, into out: FloatPointer, image: (_ number: Int) throws -> SourceImage
    ) throws {
        try call {
            let spec = configuration.view
            let size = size == 0 ? spec.size : size
            try inBatches(count, size, size, output, into: out) { x, first in
                try encoderConfiguration.collect(first..<first + x.batch, image) {
                    try ViewMaker.evaluation($0, size: size, mean: spec.mean, std: spec.std, into: x.base, evaluationCompute)
                }
            }
        }
    }

    /// A call that uses both memories.
    private func call<Result>(_ body: () throws -> Result) throws -> Result { try compute.call { try evaluationCompute.call(body) } }

    private func inBatches(
        _ count: Int, _ height: Int, _ width: Int, _ output: Model.Output, into out: FloatPointer,
        fill: (_ x: Activation, _ first: Int) throws -> Void
    ) throws {
        let classes = configuration.classes
        let outputWidth = try self.width(output)
        try evaluateFeatures(count, height, width, fill: fill) { features, first in
            let target = out + first * outputWidth
            if output == .features {
                target.update(from: features.base, count: features.count)
                return try FiniteOutput.check(target, rows: features.batch, width: outputWidth, first: first)
            }
            try standardization.apply(features, headPart.memory, compute)
            // The linear layer's weights change: they must not meet the memory that keeps what it derives from weights.
            let logits = try head.forward(features, headPart.memory, compute)
            defer { compute.workspace.give(logits) }
            target.update(from: logits.base, count: logits.count)
            if output == .probabilities {
                compute.parallelRanges(features.batch, grain: max(1, (1 << 12) / classes)) { _, range in
                    for row in range { AssignmentRows.softmax(target + row * classes, classes) }
                }
            }
            try FiniteOutput.check(target, rows: features.batch, width: outputWidth, first: first)
        }
    }

    /// Features in evaluation mode, some images at a time: `fill` writes a part's images, `receive` gets its features; both learn the part's first image.
    func evaluateFeatures(
        _ count: Int, _ height: Int, _ width: Int, fill: (_ x: Activation, _ first: Int) throws -> Void,
        receive: (_ features: Activation, _ first: Int) throws -> Void
    ) throws {
        let workspace = evaluationCompute.workspace
        let memory = ModelMemory(
            parameters: encoderPart.parameters.base, statistics: encoderPart.statistics.base, gradients: nil)
        workspace.plan(try CheckedSize.product(min(Evaluator.batch, count), height, width, of: "a batch"))
        for first in stride(from: 0, to: count, by: Evaluator.batch) {
            let x = try workspace.takeActivation(
                min(Evaluator.batch, count - first), height, width, encoderConfiguration.inChannels)
            defer { workspace.give(x) }
            try fill(x, first)
            let features = try encoder.evaluate(x, memory, evaluationCompute)
            defer { workspace.give(features) }
            try Cancellation.check()
            try receive(features, first)
        }
    }

    /// Sets what features are standardised with to their mean and standard deviation over these images, in evaluation mode.
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
        standardization.fit(features.base, rows: count, headPart.memory)
    }
}
