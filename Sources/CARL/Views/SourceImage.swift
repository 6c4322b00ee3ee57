/// One image of bytes that the caller owns: the byte of channel c in row y, column x is `pixels[y * rowStride + x *
/// channels + c]`.
public struct SourceImage {
    /// The first byte of the first row, which is the last one in memory where `rowStride` is negative.
    public let pixels: UnsafePointer<UInt8>
    /// Rows, 1 ... 65,535.
    public let height: Int
    /// Pixels of a row, 1 ... 65,535.
    public let width: Int
    /// Bytes of a pixel, 1 ... 1024.
    public let channels: Int
    /// Bytes from a row to the next; negative for images stored from the bottom up.
    public let rowStride: Int

    /// - Parameter pixels: memory that outlives this value: not an array, which Swift would make a pointer of for this
    ///   call alone.
    public init(@_nonEphemeral pixels: UnsafePointer<UInt8>, height: Int, width: Int, channels: Int, rowStride: Int) {
        self.pixels = pixels
        self.height = height
        self.width = width
        self.channels = channels
        self.rowStride = rowStride
    }
}

extension SourceImage {
    /// Pixels of a side that an image may have.
    public static let longestSide = 65_535
    /// Bytes of a pixel that an image may have.
    public static let mostChannels = 1024
    /// Bytes from a row to the next that an image may have.
    public static let longestStride = 1 << 40

    /// - Parameter number: of the image, for the message.
    /// - Throws: `CARLError.invalidArgument` for sizes that no image may have, and rows that overlap.
    public func check(_ number: Int) throws {
        func check(_ what: String, _ value: Int, _ most: Int) throws {
            guard value >= 1, value <= most else {
                throw CARLError.invalidArgument("images[\(number)].\(what): got \(value), want 1 to \(most)")
            }
        }
        try check("height", height, Self.longestSide)
        try check("width", width, Self.longestSide)
        try check("channels", channels, Self.mostChannels)
        guard rowStride.magnitude >= UInt(width * channels), rowStride.magnitude <= UInt(Self.longestStride) else {
            throw CARLError.invalidArgument(
                """
                images[\(number)].rowStride: got \(rowStride), want at least width * channels = \(width * channels) \
                bytes (or its negative)
                """)
        }
    }

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
