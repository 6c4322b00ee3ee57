import CARL
import CARLHeader

/// Strings that C may keep for ever.
private func permanent(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

// A copy of what the file VERSION says, written by python/generate.py.
private let version: StaticString = "0.1.0"

@c @implementation
public func carl_abi_version() -> Int32 { CARL_ABI_VERSION }

@c @implementation
public func carl_version_string() -> UnsafePointer<CChar>? { permanent(version) }

@c @implementation
public func carl_status_name(_ status: carl_status) -> UnsafePointer<CChar>? {
    switch Int(status) {
    case Int(CARL_OK): permanent("CARL_OK")
    case Int(CARL_INVALID_ARGUMENT): permanent("CARL_INVALID_ARGUMENT")
    case Int(CARL_INVALID_HANDLE): permanent("CARL_INVALID_HANDLE")
    case Int(CARL_INVALID_CONFIG): permanent("CARL_INVALID_CONFIG")
    case Int(CARL_BUSY): permanent("CARL_BUSY")
    case Int(CARL_OUT_OF_MEMORY): permanent("CARL_OUT_OF_MEMORY")
    case Int(CARL_FILE_ERROR): permanent("CARL_FILE_ERROR")
    case Int(CARL_NOT_FINITE): permanent("CARL_NOT_FINITE")
    case Int(CARL_INVALID_STATE): permanent("CARL_INVALID_STATE")
    case Int(CARL_UNSUPPORTED_CPU): permanent("CARL_UNSUPPORTED_CPU")
    case Int(CARL_CANCELLED): permanent("CARL_CANCELLED")
    case Int(CARL_INTERNAL_ERROR): permanent("CARL_INTERNAL_ERROR")
    default: permanent("unknown status")
    }
}

/// A string made once and never freed.
struct PermanentBuildInfo: @unchecked Sendable {
    let pointer: UnsafePointer<CChar>

    init() {
        let info = CARL.BuildInfo.json(version: version.description, abi: Int(CARL_ABI_VERSION))
        let bytes = Array(info.serialized().utf8CString)
        let memory = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
        memory.update(from: bytes, count: bytes.count)
        pointer = UnsafePointer(memory)
    }
}

let buildInfo = PermanentBuildInfo()

@c @implementation
public func carl_build_info() -> UnsafePointer<CChar>? { prepared { buildInfo.pointer } }

@c @implementation
public func carl_config_schema(
    _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    guarded { try copy(ConfigurationSchema.json.serialized(), buffer, capacity, needed) }
}

@c @implementation
public func carl_default_threads() -> Int32 { prepared { Int32(ThreadCount.available) } }

@c @implementation
public func carl_peak_rate(_ threads: Int32, _ operations_per_second: UnsafeMutablePointer<Double>?) -> carl_status {
    guarded {
        let out = try required(operations_per_second, "operations_per_second")
        out.pointee = try IdleCompute.call(threads: size(threads, "threads", 0...1024)) { try PeakRate.measure($0) }
    }
}

@c @implementation
public func carl_live_objects() -> Int64 { prepared { Int64(Handles.count) } }

@c @implementation
public func carl_cancel() { Cancellation.cancelEverything() }
