import Synchronization

/// A batch of normalised float images that the caller owns: (B, H, W, C), dense.
public struct FloatImages {
    /// The first value; there are batch * height * width * channels.
    public let values: UnsafePointer<Float>
    /// B, at least 1.
    public let batch: Int
    /// H, 1 ... 65,535.
    public let height: Int
    /// W, 1 ... 65,535.
    public let width: Int
    /// C, that of the model ("in_channels").
    public let channels: Int

    /// - Parameter values: memory that outlives this value: not an array, which Swift would make a pointer of for this
    ///   call alone.
    public init(@_nonEphemeral _ values: UnsafePointer<Float>, batch: Int, height: Int, width: Int, channels: Int) {
        self.values = values
        self.batch = batch
        self.height = height
        self.width = width
        self.channels = channels
    }

    /// - Throws: `CARLError.invalidArgument` naming `argument` when sizes are out of range, channels are not
    ///   `channels`, or a value is not finite.
    func check(_ argument: String, channels wanted: Int, _ compute: Compute) throws {
        guard batch >= 1, (1...65_535).contains(height), (1...65_535).contains(width) else {
            throw CARLError.invalidArgument(
                """
                \(argument): got shape (\(batch), \(height), \(width), \(channels)); batch must be at least 1, height \
                and width 1 to 65535
                """
            )
        }
        guard channels == wanted else {
            throw CARLError.invalidArgument(
                """
                \(argument): got \(channels) channels, the model takes \(wanted) (\"in_channels\"); images are \
                (batch, height, width, channels)
                """
            )
        }
        let pixels = height * width * channels
        guard batch <= (1 << 40) / pixels else {
            throw CARLError.invalidArgument(
                "\(argument): got \(batch) images of \(pixels) values, more than 2^40 in all")
        }
        let firstBad = Atomic<Int>(batch)
        compute.parallel(batch) { image, _ in
            if !FiniteValues.all(values + image * pixels, pixels) { firstBad.min(image, ordering: .relaxed) }
        }
        try Cancellation.check()
        let image = firstBad.load(ordering: .relaxed)
        if image < batch {
            throw CARLError.invalidArgument("\(argument): image \(image) has a value that is NaN or infinite")
        }
    }
}
