/// Float32 values in memory that somebody else owns; how many is said where one is given.
public typealias FloatPointer = UnsafeMutablePointer<Float>

/// Float32 values in one 64-byte aligned allocation, freed with the object.
///
/// Kernels take `base` once and work on the pointer: indexing an array through a class property costs many times more.
public final class FloatBuffer {
    /// The first value; valid as long as the object.
    public let base: FloatPointer
    /// Values in use: as many as were asked for, unless a workspace lends part of a larger block.
    public internal(set) var count: Int
    /// Values there is memory for.
    let capacity: Int
    private let block: SystemMemory.Block

    /// - Parameter zeroed: values start at 0; otherwise they are whatever the memory held.
    /// - Throws: `CARLError.outOfMemory` when the system has no such amount.
    public init(_ count: Int, zeroed: Bool = true) throws {
        let bytes = try CheckedSize.product(count, MemoryLayout<Float>.stride, of: "float32 memory")
        block = try SystemMemory.allocate(bytes, for: "\(count) float32 values")
        base = block.base.bindMemory(to: Float.self, capacity: max(count, 1))
        self.count = count
        capacity = count
        // Pages fresh from the system are 0.
        if zeroed, block.mapped == 0 { base.update(repeating: 0, count: count) }
    }

    deinit { block.free() }

    /// The `count` values in use; valid as long as the object.
    public var values: UnsafeMutableBufferPointer<Float> { .init(start: base, count: count) }

    /// Sets all `count` values.
    public func fill(_ value: Float) { base.update(repeating: value, count: count) }

    /// Overwrites all values with those of a buffer of the same `count`; another count ends the process.
    public func copy(from other: FloatBuffer) {
        precondition(other.count == count)
        base.update(from: other.base, count: count)
    }
}
