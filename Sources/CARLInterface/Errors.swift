import CARL
import CARLHeader
import CMachine
#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// An error with the status that C gets for it.
struct InterfaceError: Error {
    let status: carl_status
    let message: String

    init(_ status: Int, _ message: String) {
        self.status = carl_status(status)
        self.message = message
    }
}

extension InterfaceError {
    init(_ status: some BinaryInteger, _ message: String) { self.init(Int(status), message) }
}

/// Runs a call's body; an error becomes its status, and its message the thread's last error.
///
/// - Parameter always: the body runs though the thread's calls were asked to end, as what frees memory has to.
func guarded(always: Bool = false, _ body: () throws -> Void) -> carl_status {
    let unsupported = carl_check_cpu()
    if unsupported != carl_status(CARL_OK) { return unsupported }
    let flag = shim_cancel_flag()
    var failure: InterfaceError?
    if shim_thread_was_forked() == 0 {
        failure = outcome(flag, always, body)
    } else {
        withoutActuallyEscaping(body) { body in
            let call = ForkedCall(flag, always, body)
            shim_run_in_new_thread(
                { Unmanaged<ForkedCall>.fromOpaque($0!).takeUnretainedValue().run() },
                Unmanaged.passUnretained(call).toOpaque())
            failure = call.failure
            call.body = {}
        }
    }
    guard let failure else { return carl_status(CARL_OK) }
    withoutZeros(failure.message).withCString { shim_set_last_error($0) }
    return failure.status
}

/// A text of the caller's that is quoted may hold the character that ends C's. By bytes: characters of accents without
/// end take their time.
func withoutZeros(_ message: String) -> String {
    let parts = message.utf8.split(separator: 0, omittingEmptySubsequences: false)
    return parts.count == 1 ? message : parts.map { String(Substring($0)) }.joined(separator: "\\0")
}

/// A call that a forked child's first thread makes, for the thread that runs it instead.
private final class ForkedCall {
    private let flag: UnsafePointer<Int32>?
    private let always: Bool
    var body: () throws -> Void
    private(set) var failure: InterfaceError?

    init(_ flag: UnsafePointer<Int32>?, _ always: Bool, _ body: @escaping () throws -> Void) {
        (self.flag, self.always) = (flag, always)
        self.body = body
    }

    func run() { failure = outcome(flag, always, body) }
}

/// What went wrong in a call's body, nil for nothing.
private func outcome(_ flag: UnsafePointer<Int32>?, _ always: Bool, _ body: () throws -> Void) -> InterfaceError? {
    prepared {
        failure {
            try Cancellation.with(flag) {
                if !always { try Cancellation.check() }
                try body()
            }
        }
    }
}

/// Runs `body` in a process where what is made once has been made, and in the floating-point environment that the
/// kernels count on. The caller's, with what it traps, is there again afterwards, its flags as they were.
func prepared<Result>(_ body: () -> Result) -> Result {
    let outer = shim_host_environment()
    shim_set_host_environment(carl_get_float_environment())
    carl_set_standard_float_environment()
    defer {
        carl_set_float_environment(shim_host_environment())
        shim_set_host_environment(outer)
    }
    WarmUp.once()
    return body()
}

/// The error that `body` throws, with the status that C gets for it; nil for none.
func failure(_ body: () throws -> Void) -> InterfaceError? {
    do {
        try body()
        return nil
    } catch let error as InterfaceError {
        return error
    } catch let error as CARLError {
        switch error {
        case .invalidArgument(let text): return InterfaceError(CARL_INVALID_ARGUMENT, text)
        case .configuration(let text): return InterfaceError(CARL_INVALID_CONFIG, text)
        case .state(let text): return InterfaceError(CARL_INVALID_STATE, text)
        case .outOfMemory(let text): return InterfaceError(CARL_OUT_OF_MEMORY, text)
        case .file(let text): return InterfaceError(CARL_FILE_ERROR, text)
        case .notFinite(let text): return InterfaceError(CARL_NOT_FINITE, text)
        case .cancelled(let text): return InterfaceError(CARL_CANCELLED, text)
        }
    } catch {
        return InterfaceError(CARL_INTERNAL_ERROR, "\(error)")
    }
}

/// The pointer, or an error that names the argument when it is NULL.
func required<Pointer>(_ pointer: Pointer?, _ name: @autoclosure () -> String) throws -> Pointer {
    guard let pointer else { throw InterfaceError(CARL_INVALID_ARGUMENT, "\(name()) is NULL") }
    return pointer
}

/// The longest text that a caller may pass, in bytes: a configuration takes some thousand. Parsing takes many times a
/// text's size.
private let longestText = 1 << 20

/// A C string, checked to be UTF-8 and no longer than `longestText`, for which there is room as JSON.
func text(_ pointer: UnsafePointer<CChar>?, _ name: String) throws -> String {
    let pointer = try required(pointer, name)
    let length = strnlen(pointer, longestText + 1)
    guard length <= longestText else {
        throw InterfaceError(CARL_INVALID_ARGUMENT, "\(name) is longer than \(longestText) bytes")
    }
    try JSONValue.checkRoom(forText: length)
    guard let result = String(validatingCString: pointer) else {
        throw InterfaceError(CARL_INVALID_ARGUMENT, "\(name) is not valid UTF-8")
    }
    return result
}

/// A JSON argument that may be NULL.
func optionalJSON(_ pointer: UnsafePointer<CChar>?, _ name: String) throws -> JSONValue? {
    try pointer.map { try JSONValue.parse(try text($0, name)) }
}

/// A truth value of C's: 0 or 1.
func flag(_ value: Int32, _ name: @autoclosure () -> String) throws -> Bool { try size(value, name(), 0...1) == 1 }

/// A count that a caller passed, checked to fit what follows.
func size<Number: BinaryInteger>(_ value: Number, _ name: @autoclosure () -> String, _ range: ClosedRange<Int>) throws
    -> Int
{
    guard let result = Int(exactly: value), range.contains(result) else {
        let got = (value as? Int).map { String(shown($0)) } ?? String(value)
        throw InterfaceError(
            CARL_INVALID_ARGUMENT, "\(name()): got \(got), want \(range.lowerBound) to \(range.upperBound)")
    }
    return result
}

/// A `size_t` as its caller wrote it. Swift has it as an `Int`, where 2^63 and more are negative.
func shown(_ size: Int) -> UInt { UInt(bitPattern: size) }
