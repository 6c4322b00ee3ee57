#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif
import CMachine
import Synchronization

/// A file that lies in memory, in no folder: for writing and reading that leaves nothing behind.
public enum MemoryFile {
    /// The descriptor of the one that is there, -1 for none.
    private static let present = Atomic<Int32>(-1)

    /// Calls `body` with a path by which this process can write and read such a file, as any other. By one thread at a
    /// time, and not within itself.
    ///
    /// - Throws: `CARLError.file` where the system has none, and what `body` throws.
    public static func with<Result>(_ body: (_ path: String) throws -> Result) throws -> Result {
        let descriptor = carl_memory_file()
        guard descriptor >= 0 else { throw FileOutput.failure("make", "a file in memory") }
        present.store(descriptor, ordering: .relaxed)
        defer {
            present.store(-1, ordering: .relaxed)
            close(descriptor)
        }
        return try body(path(descriptor))
    }

    private static func path(_ descriptor: Int32) -> String { "/proc/self/fd/\(descriptor)" }

    /// The descriptor to write to when the path is that of the file which is there; it is empty then.
    static func emptied(_ path: String) -> Int32? {
        let descriptor = present.load(ordering: .relaxed)
        guard descriptor >= 0, path == Self.path(descriptor), ftruncate(descriptor, 0) == 0,
            lseek(descriptor, 0, SEEK_SET) == 0
        else { return nil }
        return descriptor
    }
}
