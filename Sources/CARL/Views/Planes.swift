/// A view between its operations: `channels` square planes of Float32 in 0 ... 255.
///
/// Rows and planes are padded to whole vectors with zeros, so that kernels have no remainders. No operation before the
/// mean of the contrast is taken makes anything else of a zero: sums over whole planes are sums over the view.
struct Planes {
    let base: FloatPointer
    let size: Int
    let channels: Int
    /// Values from a row to the next; also the rows of a plane.
    let pitch: Int

    /// Rows that the stages of a view handle together, small enough to stay in the first-level cache.
    static let rowGroup = 8

    init(_ base: FloatPointer, size: Int, channels: Int) {
        self.base = base
        self.size = size
        self.channels = channels
        pitch = Self.padded(size)
    }

    /// Rounds up to whole vectors.
    static func padded(_ count: Int) -> Int { (count + 7) & ~7 }

    static func count(size: Int, channels: Int) -> Int { channels * padded(size) * padded(size) }

    /// Values from a plane to the next.
    var planeStride: Int { pitch * pitch }

    /// Values of a group of rows in each plane.
    var groupCount: Int { Self.rowGroup * pitch }

    /// Where the group of rows that starts with row `y` begins in the first plane.
    func group(_ y: Int) -> FloatPointer { base + y * pitch }
}
