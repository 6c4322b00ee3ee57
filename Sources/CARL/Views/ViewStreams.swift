/// The random streams of one view, one for each operation.
struct ViewStreams {
    let seed: UInt64
    let epoch: UInt64
    /// The image's number in its data set.
    let image: UInt64
    let view: Int

    /// Names of the streams. The numbers are part of what a seed means: a new operation takes a new one.
    enum Operation: UInt64 { case crop = 0, flip, jitter, gray, blur, solarize }

    subscript(_ operation: Operation) -> RandomStream {
        RandomStream(
            seed: seed, purpose: .views, major: epoch, minor: image, lane: operation.rawValue << 8 | UInt64(view & 0xff))
    }
}

/// Where a view was cut out of its image, as shares of the image's width and height, for objectives that compare places.
public struct CropBox: Equatable, Sendable, BitwiseCopyable {
    public let left: Float
    public let top: Float
    public let right: Float
    public let bottom: Float
    /// The view is mirrored: its left end shows `right`.
    public let flipped: Bool
}
