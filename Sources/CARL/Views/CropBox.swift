/// Where a view was cut out of its image, as shares of the image's width and height, for objectives that compare
/// places.
public struct CropBox: Equatable, Sendable, BitwiseCopyable {
    public let left: Float
    public let top: Float
    public let right: Float
    public let bottom: Float
    /// The view is mirrored: its left end shows `right`.
    public let flipped: Bool
}
