/// Where a view was cut out of its image, as shares of the image's width and height, for objectives that compare
/// places.
public struct CropBox: Equatable, Sendable, BitwiseCopyable {
    /// Left edge, 0 ... 1.
    public let left: Float
    /// Upper edge, counted from the top, 0 ... 1.
    public let top: Float
    /// Right edge, greater than `left`.
    public let right: Float
    /// Lower edge, greater than `top`.
    public let bottom: Float
    /// The view is mirrored: its left end shows `right`.
    public let flipped: Bool
}
