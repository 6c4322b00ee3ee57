import CARL
import CARLHeader
import CMachine

/// The caller's log function. It is called under a lock, so that it is never called again once another one, or none,
/// has been set. The lock may be taken by its own thread again: the function may set another one.
private final class LogSink: @unchecked Sendable {
    private var callback: carl_log_callback?
    private var context: UnsafeMutableRawPointer?

    func set(_ callback: carl_log_callback?, _ context: UnsafeMutableRawPointer?) {
        shim_lock_log()
        // No process is copied between the two.
        shim_lock_table()
        (self.callback, self.context) = (callback, context)
        shim_unlock_table()
        shim_unlock_log()
    }

    /// Calls the function in the floating-point environment of the call's caller, who may change it there.
    func send(_ level: carl_log_level, _ message: UnsafePointer<CChar>) {
        shim_lock_log()
        let (callback, context) = (callback, context)
        let own = carl_get_float_environment()
        carl_set_float_environment(shim_host_environment())
        callback?(level, message, context)
        shim_set_host_environment(carl_get_float_environment())
        carl_set_float_environment(own)
        shim_unlock_log()
    }
}

private let logSink = LogSink()

/// No process is forked while the first of these calls makes it: see `WarmUp`.
private func madeLogSink() -> LogSink {
    shim_lock_first_uses()
    defer { shim_unlock_first_uses() }
    return logSink
}

@c @implementation
public func carl_set_log_callback(_ callback: carl_log_callback?, _ context: UnsafeMutableRawPointer?) -> carl_status {
    madeLogSink().set(callback, context)
    return carl_status(CARL_OK)
}

func log(_ level: carl_log_level, _ message: String) { message.withCString { logSink.send(level, $0) } }
