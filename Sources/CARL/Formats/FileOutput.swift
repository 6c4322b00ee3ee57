#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif
import Synchronization

/// A file being written beside its final place, which it takes only when it is complete.
///
/// Whoever reads the path sees the old content or the new, never a part: the bytes go to a temporary file in the same
/// directory, reach the disk (`fsync`), and `rename` puts them in place in one step.
public final class FileOutput {
    private let descriptor: Int32
    private let path: String

    private init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    /// Replaces the file at `path` with what `body` writes. On any error the old file stays and the temporary one is
    /// removed.
    ///
    /// A symbolic link is followed and its target replaced. The new file has the old one's permissions, or those of any
    /// new file.
    /// - Throws: `CARLError.file` with the path and the system's reason, or what `body` throws.
    public static func replace(_ path: String, _ body: (FileOutput) throws -> Void) throws {
        try checkPath(path)
        if let descriptor = MemoryFile.emptied(path) {
            return try withoutSizeSignal { try body(FileOutput(descriptor: descriptor, path: path)) }
        }
        // Bytes: a folder above, or what a link leads to, need not be UTF-8.
        let target: [CChar]
        var permissions: mode_t?
        if let resolved = realpath(path, nil) {
            target = Array(UnsafeBufferPointer(start: resolved, count: strlen(resolved) + 1))
            free(resolved)
            var status = stat()
            if stat(target, &status) == 0 {
                guard status.st_mode & S_IFMT == S_IFREG else {
                    throw CARLError.file("cannot write '\(path)': it is not a regular file")
                }
                permissions = status.st_mode & 0o777
            }
        } else {
            target = destination(path)
        }
        let slash = CChar(bitPattern: UInt8(ascii: "/"))
        let directory = target.lastIndex(of: slash).map { Array(target[...$0]) } ?? Array("./".utf8CString.dropLast())
        let (temporary, descriptor) = try createTemporary(in: directory, for: path)
        var isOpen = true
        do {
            if let permissions { fchmod(descriptor, permissions) }
            try withoutSizeSignal { try body(FileOutput(descriptor: descriptor, path: path)) }
            // Some file systems cannot sync and say so; a full disk or a broken one is another matter.
            if fsync(descriptor) != 0, errno != EINVAL, errno != ENOTSUP { throw failure("write", path) }
            isOpen = false
            if close(descriptor) != 0, errno != EINTR { throw failure("write", path) }
            if rename(temporary, target) != 0 { throw failure("write", path) }
        } catch {
            if isOpen { close(descriptor) }
            unlink(temporary)
            throw error
        }
        // The new name survives a power failure once the directory is on disk too; where that is not possible, nothing
        // is lost.
        let folder = open(directory + [0], O_RDONLY | O_CLOEXEC)
        if folder >= 0 {
            fsync(folder)
            close(folder)
        }
    }

    /// Where a symbolic link to a file that is not there yet leads; `path` itself if it is none.
    private static func destination(_ path: String) -> [CChar] {
        var path = Array(path.utf8CString)
        let slash = CChar(bitPattern: UInt8(ascii: "/"))
        var target = [CChar](repeating: 0, count: Int(PATH_MAX))
        for _ in 0..<40 {  // links of links, as many as the system follows
            let length = readlink(path, &target, target.count)
            guard length > 0, length < target.count else { break }
            let link = target[..<length] + [0]
            let folder = link.first == slash ? nil : path.lastIndex(of: slash)
            path = (folder.map { Array(path[...$0]) } ?? []) + link
        }
        return path
    }

    /// Replaces the file at `path` with a text.
    public static func replace(_ path: String, with text: String) throws {
        var text = text
        try text.withUTF8 { bytes in try replace(path) { try $0.write(UnsafeRawBufferPointer(bytes)) } }
    }

    /// Appends bytes.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard let base = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            try Cancellation.check()
            let written = Self.systemWrite(descriptor, base + done, min(bytes.count - done, Self.part))
            if written > 0 {
                done += written
            } else if errno != EINTR || written == 0 {
                throw Self.failure("write", path)
            }
        }
    }

    private static func systemWrite(_ descriptor: Int32, _ base: UnsafeRawPointer, _ count: Int) -> Int {
        #if canImport(Glibc)
            Glibc.write(descriptor, base, count)
        #else
            Darwin.write(descriptor, base, count)
        #endif
    }

    /// Bytes read or written at a time: between parts a call can be cancelled.
    static let part = 1 << 24

    private static let created = Atomic<Int>(0)

    /// Runs `body` with the signal blocked in this thread that a write beyond the limit of a file's size
    /// (`RLIMIT_FSIZE`) raises, whose default is to end the process. The write fails as well, which is what is
    /// reported.
    private static func withoutSizeSignal<Result>(_ body: () throws -> Result) rethrows -> Result {
        var blocked = sigset_t()
        var before = sigset_t()
        sigemptyset(&blocked)
        sigaddset(&blocked, SIGXFSZ)
        var pending = sigset_t()
        sigpending(&pending)
        let waiting = sigismember(&pending, SIGXFSZ) == 1
        pthread_sigmask(SIG_BLOCK, &blocked, &before)
        defer {
            #if os(Linux)
                // The signal that a write has raised meanwhile is taken; one that was waiting before is not ours.
                var none = timespec()
                if !waiting { while sigtimedwait(&blocked, nil, &none) > 0 {} }
            #endif
            pthread_sigmask(SIG_SETMASK, &before, nil)
        }
        return try body()
    }

    /// A new file of a name nobody uses, with the permissions of any new file (the umask applies).
    private static func createTemporary(in directory: [CChar], for path: String) throws -> (
        name: [CChar], descriptor: Int32
    ) {
        for _ in 0..<1000 {
            let number = created.wrappingAdd(1, ordering: .relaxed).oldValue
            let name = directory + ".carl-\(getpid())-\(number).tmp".utf8CString
            let descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            if descriptor >= 0 { return (name, descriptor) }
            if errno != EEXIST { break }
        }
        throw failure("write", path)
    }

    static func checkPath(_ path: String) throws {
        if path.isEmpty { throw CARLError.file("the path of a file is empty") }
        if path.utf8.contains(0) { throw CARLError.file("a path must not contain a zero byte") }
    }

    /// The error of the system call that just failed.
    static func failure(_ verb: String, _ path: String) -> CARLError {
        .file("cannot \(verb) '\(path)': \(String(cString: strerror(errno)))")
    }
}
