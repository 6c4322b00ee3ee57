#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

public typealias FloatPointer = UnsafeMutablePointer<Float>

/// A fixed number of Float32 values in one 64-byte aligned allocation, freed with the object.
///
/// Kernels take `base` once and work on the pointer: indexing an array through a class property costs many times more.
public final class FloatBuffer {
    public let base: FloatPointer
    public let count: Int
    /// Bytes of a large page of the usual processors.
    private static let largePage = 1 << 21

    /// - Parameter zeroed: values start at 0; otherwise they are whatever the memory held.
    /// - Throws: `CARLError.outOfMemory` when the system has no such amount.
    public init(_ count: Int, zeroed: Bool = true) throws {
        precondition(count >= 0)
        var raw: UnsafeMutableRawPointer?
        let (bytes, overflow) = max(count, 1).multipliedReportingOverflow(by: MemoryLayout<Float>.stride)
        let alignment = bytes >= Self.largePage ? Self.largePage : 64
        guard !overflow, posix_memalign(&raw, alignment, (bytes + 63) & ~63) == 0, let raw else {
            throw CARLError.outOfMemory("no memory for \(count) float32 values")
        }
        #if os(Linux)
        // Kernels walk large buffers with long strides: with small pages that costs many address translations.
        if bytes >= Self.largePage { madvise(raw, bytes & ~(Self.largePage - 1), MADV_HUGEPAGE) }
        #endif
        if zeroed { memset(raw, 0, bytes) }
        base = raw.bindMemory(to: Float.self, capacity: max(count, 1))
        self.count = count
    }

    deinit { free(base) }

    public var values: UnsafeMutableBufferPointer<Float> { .init(start: base, count: count) }

    public func fill(_ value: Float) { base.update(repeating: value, count: count) }

    public func copy(from other: FloatBuffer) {
        precondition(other.count == count)
        base.update(from: other.base, count: count)
    }
}
