#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif
import Synchronization

/// Asks calls that are running to end early.
///
/// A call is given what to look at by the thread that makes it, and the threads that work for the call look at the
/// same. Loops leave out the items they have not begun; what they were to compute is then undefined, so whoever uses it
/// checks first, and before anything of it serves as an index. Every request for workspace memory checks, hence every
/// layer. Once a thread has seen that the call should end, it stays so for the whole call, whatever becomes of the
/// caller's flag: what was left out can never pass for computed.
public enum Cancellation {
    /// What a call looks at. Lives on the stack of the thread that makes the call, as long as the call.
    struct Request: ~Copyable {
        /// The caller's flag: not 0 means stop.
        let flag: UnsafePointer<Int32>?
        /// `everyone` when the call began.
        let generation: UInt
        /// Whether a thread has seen that the call should end.
        let seen = Atomic<Bool>(false)
    }

    /// Grows when all calls of the process are asked to end.
    private static let everyone = Atomic<UInt>(0)

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        // Without a key, which a process can run out of, calls just cannot be cancelled.
        return pthread_key_create(&key, nil) == 0 ? key : pthread_key_t.max
    }()

    /// The present thread's request, for the threads that work for it.
    static var current: UnsafeMutableRawPointer? {
        get { key == pthread_key_t.max ? nil : pthread_getspecific(key) }
        set { if key != pthread_key_t.max { pthread_setspecific(key, newValue) } }
    }

    /// Whether the call that this thread works for should end.
    @inline(__always)
    public static var isRequested: Bool {
        guard let request = current?.assumingMemoryBound(to: Request.self) else { return false }
        if request.pointee.seen.load(ordering: .relaxed) { return true }
        guard
            request.pointee.generation != everyone.load(ordering: .relaxed)
                || (request.pointee.flag?.pointee ?? 0) != 0
        else { return false }
        request.pointee.seen.store(true, ordering: .relaxed)
        return true
    }

    /// - Throws: `CARLError.cancelled` when the call that this thread works for should end.
    public static func check() throws {
        if isRequested { throw CARLError.cancelled("the call was cancelled") }
    }

    /// Runs `body` to its end whatever is asked meanwhile: for changes that must be whole.
    static func shielded<Result>(_ body: () throws -> Result) rethrows -> Result {
        let outer = current
        defer { current = outer }
        current = nil
        return try body()
    }

    /// Asks all calls that are running in the process to end: those of the C interface, and those within `with`. Others
    /// have nothing to look at. May be called from a signal handler.
    public static func cancelEverything() { everyone.wrappingAdd(1, ordering: .relaxed) }

    /// Runs `body` as a call that ends early when `*flag` is not 0, or all calls are asked to end; nil for these alone.
    /// What it runs throws `CARLError.cancelled` then.
    public static func with<Result>(_ flag: UnsafePointer<Int32>?, _ body: () throws -> Result) rethrows -> Result {
        let outer = current
        defer { current = outer }
        var request = Request(flag: flag, generation: everyone.load(ordering: .relaxed))
        return try withUnsafeMutablePointer(to: &request) {
            current = UnsafeMutableRawPointer($0)
            return try body()
        }
    }
}
