/// One image of bytes that the caller owns: the byte of channel c in row y, column x is `pixels[y * rowStride + x *
/// channels + c]`.
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

extension SourceImage {
    /// Calls `body` with `count` images that `make` gives by number, in memory that may be refused.
    ///
    /// - Throws: `CARLError.outOfMemory`, and what `make` and `body` throw.
    public static func collect<Result>(
        _ count: Int, _ make: (_ number: Int) throws -> SourceImage,
        _ body: (UnsafeBufferPointer<SourceImage>) throws -> Result
    ) throws -> Result {
        let bytes = try CheckedSize.product(count, MemoryLayout<SourceImage>.stride, of: "descriptions of images")
        let block = try SystemMemory.allocate(bytes, for: "descriptions of \(count) images")
        defer { block.free() }
        let images = block.base.bindMemory(to: SourceImage.self, capacity: max(count, 1))
        for number in 0..<count { (images + number).initialize(to: try make(number)) }
        return try body(UnsafeBufferPointer(start: images, count: count))
    }
}
