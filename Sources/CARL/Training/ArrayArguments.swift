// Calls that take pointers, with arrays in their place: Swift would turn an array of any size into a pointer without a
// word, so these check that there is one element for each image.

extension ImageEmbedding {
    /// `output` of images of bytes, row by row, (B, width(output)): resized to `size` (0: that of training) and
    /// normalised as in training.
    public func embed(_ images: [SourceImage], size: Int = 0, _ output: ModelOutput = .features) throws -> [Float] {
        try rows(images.count, output) { try embed(images, size: size, output, into: $0) }
    }

    /// `output` of normalised images, row by row, (B, width(output)).
    public func embed(_ images: FloatImages, _ output: ModelOutput = .features) throws -> [Float] {
        try rows(images.batch, output) { try embed(images, output, into: $0) }
    }

    private func rows(_ count: Int, _ output: ModelOutput, _ write: (FloatPointer) throws -> Void) throws -> [Float] {
        let memory = try FloatBuffer(try CheckedSize.product(max(count, 0), width(output), of: "features"))
        try write(memory.base)
        return Array(memory.values)
    }
}

extension Trainer {
    /// `step` on images with their numbers in the data set.
    ///
    /// - Throws: `CARLError.invalidArgument` unless there is one for each image.
    public func step(_ images: [SourceImage], indices: [UInt64], epoch: UInt64 = 0) throws -> Metrics {
        try checkCount("indices", indices.count, images.count)
        return try indices.withUnsafeBufferPointer { try step(images, indices: $0.baseAddress, epoch: epoch) }
    }
}

extension Classifier {
    /// - Parameter configuration: its keys that were set, and the defaults for this encoder.
    public convenience init(_ configuration: ClassifierConfiguration, encoder: Evaluator) throws {
        try self.init(configuration.json, encoder: encoder)
    }

    /// `step` on images with their labels and numbers in the data set.
    ///
    /// - Throws: `CARLError.invalidArgument` unless there is one for each image.
    public func step(_ images: [SourceImage], labels: [Int32], indices: [UInt64]? = nil, epoch: UInt64 = 0) throws
        -> Metrics
    {
        try checkCount("labels", labels.count, images.count)
        if let indices { try checkCount("indices", indices.count, images.count) }
        return try labels.withUnsafeBufferPointer { labels in
            guard let base = labels.baseAddress else { throw CARLError.invalidArgument("images: is empty") }
            guard let indices else { return try step(images, labels: base, epoch: epoch) }
            return try indices.withUnsafeBufferPointer {
                try step(images, labels: base, indices: $0.baseAddress, epoch: epoch)
            }
        }
    }

    /// `step` on normalised images with their labels.
    ///
    /// - Throws: `CARLError.invalidArgument` unless there is one for each image.
    public func step(_ images: FloatImages, labels: [Int32]) throws -> Metrics {
        try checkCount("labels", labels.count, images.batch)
        return try labels.withUnsafeBufferPointer { labels in
            guard let base = labels.baseAddress else { throw CARLError.invalidArgument("images: is empty") }
            return try step(images, labels: base)
        }
    }
}

private func checkCount(_ name: String, _ count: Int, _ images: Int) throws {
    guard count == images else {
        throw CARLError.invalidArgument("\(name): got \(count), want one for each of \(images) images")
    }
}
