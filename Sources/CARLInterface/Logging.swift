import CARL
import CARLHeader
#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The caller's log function. It is called under a lock, so that it is never called again once another one, or none,
/// has been set. The lock may be taken by its own thread again: the function may set another one.
private final class LogSink: @unchecked Sendable {
    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private var callback: carl_log_callback?
    private var context: UnsafeMutableRawPointer?

    init() {
        var attributes = pthread_mutexattr_t()
        pthread_mutexattr_init(&attributes)
        pthread_mutexattr_settype(&attributes, Int32(PTHREAD_MUTEX_RECURSIVE))
        pthread_mutex_init(lock, &attributes)
        pthread_mutexattr_destroy(&attributes)
    }

    func set(_ callback: carl_log_callback?, _ context: UnsafeMutableRawPointer?) {
        pthread_mutex_lock(lock)
        (self.callback, self.context) = (callback, context)
        pthread_mutex_unlock(lock)
    }

    func send(_ level: carl_log_level, _ message: UnsafePointer<CChar>) {
        pthread_mutex_lock(lock)
        let (callback, context) = (callback, context)
        callback?(level, message, context)
        pthread_mutex_unlock(lock)
    }
}

private let logSink = LogSink()

@c @implementation
public func carl_set_log_callback(_ callback: carl_log_callback?, _ context: UnsafeMutableRawPointer?) -> carl_status {
    logSink.set(callback, context)
    return carl_status(CARL_OK)
}

func log(_ level: carl_log_level, _ message: String) { message.withCString { logSink.send(level, $0) } }
