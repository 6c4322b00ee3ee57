// Checks of images against what a model takes.

extension Configuration {
    /// - Throws: `CARLError.invalidArgument` naming the first image that has not the model's number of channels.
    func checkChannels(_ images: UnsafeBufferPointer<SourceImage>) throws {
        for (number, image) in images.enumerated() { try checkChannels(image, number) }
    }

    private func checkChannels(_ image: SourceImage, _ number: Int) throws {
        guard image.channels == inChannels else {
            throw CARLError.invalidArgument(
                "images[\(number)]: got \(image.channels) channels, the model takes \(inChannels) (\"in_channels\")")
        }
    }

    /// Calls `body` with the images of some numbers, checked likewise.
    func collect(
        _ numbers: Range<Int>, _ image: (_ number: Int) throws -> SourceImage, _ body: (UnsafeBufferPointer<SourceImage>) throws -> Void
    ) throws {
        try SourceImage.collect(numbers.count) { place in
            let number = numbers.lowerBound + place
            let result = try image(number)
            try checkChannels(result, number)
            return result
        } _: { try body($0) }
    }
}
