/// One image of bytes that the caller owns: the byte of channel c in row y, column x is `pixels[y * rowStride + x * channels + c]`.
public struct SourceImage {
    public let pixels: UnsafePointer<UInt8>
    public let height: Int
    public let width: Int
    public let channels: Int
    /// Bytes from a row to the next; negative for images stored from the bottom up.
    public let rowStride: Int

    public init(pixels: UnsafePointer<UInt8>, height: Int, width: Int, channels: Int, rowStride: Int) {
        self.pixels = pixels
        self.height = height
        self.width = width
        self.channels = channels
        self.rowStride = rowStride
    }
}
