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

    /// Bytes from the system in whole pages, or 0 for memory of the heap.
    private let mapped: Int

    /// - Parameter zeroed: values start at 0; otherwise they are whatever the memory held.
    /// - Throws: `CARLError.outOfMemory` when the system has no such amount.
    public init(_ count: Int, zeroed: Bool = true) throws {
        precondition(count >= 0)
        let (bytes, overflow) = max(count, 1).multipliedReportingOverflow(by: MemoryLayout<Float>.stride)
        guard !overflow, bytes < Int.max / 2 else { throw Self.noMemory(count) }
        var raw: UnsafeMutableRawPointer?
        if bytes >= Self.largePage {
            mapped = (bytes + Self.largePage - 1) & ~(Self.largePage - 1)
            raw = Self.map(mapped)
        } else {
            mapped = 0
            if posix_memalign(&raw, 64, (bytes + 63) & ~63) != 0 { raw = nil }
            if zeroed, let raw { memset(raw, 0, bytes) }
        }
        guard let raw else { throw Self.noMemory(count) }
        base = raw.bindMemory(to: Float.self, capacity: max(count, 1))
        self.count = count
    }

    deinit {
        if mapped > 0 { munmap(base, mapped) } else { free(base) }
    }

    private static func noMemory(_ count: Int) -> CARLError { .outOfMemory("no memory for \(count) float32 values") }

    /// Fresh pages of zeros, aligned to large pages, of which they consist where the system has some. The heap would hand out memory whose small
    /// pages are there already; kernels walk large buffers with long strides, which costs many address translations.
    private static func map(_ bytes: Int) -> UnsafeMutableRawPointer? {
        #if os(Linux)
            let flags = MAP_PRIVATE | MAP_ANONYMOUS
        #else
            let flags = MAP_PRIVATE | MAP_ANON
        #endif
        guard let start = mmap(nil, bytes + largePage, PROT_READ | PROT_WRITE, flags, -1, 0), start != MAP_FAILED else { return nil }
        let skipped = -Int(bitPattern: start) & (largePage - 1)
        let aligned = start + skipped
        if skipped > 0 { munmap(start, skipped) }
        if skipped < largePage { munmap(aligned + bytes, largePage - skipped) }
        #if os(Linux)
            madvise(aligned, bytes, MADV_HUGEPAGE)
        #endif
        return aligned
    }

    public var values: UnsafeMutableBufferPointer<Float> { .init(start: base, count: count) }

    public func fill(_ value: Float) { base.update(repeating: value, count: count) }

    public func copy(from other: FloatBuffer) {
        precondition(other.count == count)
        base.update(from: other.base, count: count)
    }
}
