#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Memory from the system that may be refused. Swift's own arrays end the process when memory is short; whatever grows with what a caller
/// passes is allocated here instead.
enum SystemMemory {
    /// Bytes of a large page of the usual processors. Blocks from this size on consist of whole ones.
    static let largePage = 1 << 21
    /// Blocks from this size on are compared with what the system has left: fewer bytes are not worth reading its figures.
    private static let counted = 1 << 25

    /// A block, and how many bytes of whole pages it has; 0 for memory of the heap.
    struct Block {
        let base: UnsafeMutableRawPointer
        let mapped: Int

        func free() {
            if mapped > 0 { munmap(base, mapped) } else { release(base) }
        }
    }

    /// `bytes` of memory on a 64-byte boundary; the content is undefined, but of large blocks 0.
    ///
    /// - Parameter what: what the memory is for, for the message.
    /// - Throws: `CARLError.outOfMemory` when the system refuses, or would end the process once the memory is written to.
    static func allocate(_ bytes: Int, for what: @autoclosure () -> String) throws -> Block {
        let wanted = max(bytes, 1)
        guard wanted < Int.max / 2 else { throw refusal(what()) }
        if wanted >= counted { try MemoryLimit.require(wanted, for: what()) }
        if wanted >= largePage {
            let mapped = (wanted + largePage - 1) & ~(largePage - 1)
            guard let base = map(mapped) else { throw refusal(what()) }
            return Block(base: base, mapped: mapped)
        }
        var base: UnsafeMutableRawPointer?
        guard posix_memalign(&base, 64, (wanted + 63) & ~63) == 0, let base else { throw refusal(what()) }
        return Block(base: base, mapped: 0)
    }

    static func refusal(_ what: String) -> CARLError { .outOfMemory("no memory for \(what)") }

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
}

/// The system's `free`, which a method of that name hides.
private func release(_ base: UnsafeMutableRawPointer) { free(base) }

/// A fixed number of plain values in memory that may be refused, freed with the object.
final class HeapArray<Element: BitwiseCopyable> {
    /// Whoever keeps the pointer keeps the object too.
    let base: UnsafeMutablePointer<Element>
    let count: Int
    private let block: SystemMemory.Block

    /// - Throws: `CARLError.outOfMemory`.
    init(_ count: Int, repeating value: Element, for what: @autoclosure () -> String) throws {
        let bytes = try CheckedSize.product(count, MemoryLayout<Element>.stride, of: what())
        block = try SystemMemory.allocate(bytes, for: what())
        base = block.base.bindMemory(to: Element.self, capacity: max(count, 1))
        self.count = count
        base.initialize(repeating: value, count: count)
    }

    deinit { block.free() }

    @inline(__always)
    subscript(_ index: Int) -> Element {
        get { base[index] }
        set { base[index] = newValue }
    }

    /// Calls `body` with all values.
    func withValues<Result>(_ body: (UnsafeMutableBufferPointer<Element>) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(self) { try body(.init(start: base, count: count)) }
    }
}
