import CARLHeader

// Structs may grow: a caller compiled against an older header has a shorter one, a caller against a newer one a longer
// one. The first member says how long the caller's is. What both know is copied; the rest keeps its default, or is left
// alone.

/// Checks the size that a caller's struct says it has.
func structSize(_ size: UInt64, _ name: String, whole: Int) throws -> Int {
    guard size >= UInt64(MemoryLayout<UInt64>.size), size <= 1 << 16, size % 8 == 0 else {
        throw InterfaceError(
            CARL_INVALID_ARGUMENT,
            """
            \(name).struct_size: got \(size), want sizeof of the struct, \(whole) in this version; set it before the \
            call
            """
        )
    }
    return min(Int(size), whole)
}

/// The members of `pointee` that the caller has, on top of `standard`.
func read<Struct: BitwiseCopyable>(_ pointer: UnsafePointer<Struct>, size: UInt64, _ name: String, standard: Struct)
    throws -> Struct
{
    let known = try structSize(size, name, whole: MemoryLayout<Struct>.size)
    var result = standard
    withUnsafeMutableBytes(of: &result) { $0.baseAddress?.copyMemory(from: pointer, byteCount: known) }
    return result
}

/// Writes the members that the caller has, but for the first, its size.
func write<Struct: BitwiseCopyable>(
    _ value: Struct, to pointer: UnsafeMutablePointer<Struct>, size: UInt64, _ name: String
) throws {
    let known = try structSize(size, name, whole: MemoryLayout<Struct>.size)
    let first = MemoryLayout<UInt64>.size
    withUnsafeBytes(of: value) {
        (UnsafeMutableRawPointer(pointer) + first).copyMemory(from: $0.baseAddress! + first, byteCount: known - first)
    }
}

/// The first member of a caller's struct, which may be shorter than this version's: nothing else of it is read.
func structSizeMember<Struct>(_ pointer: UnsafePointer<Struct>) -> UInt64 {
    UnsafeRawPointer(pointer).loadUnaligned(as: UInt64.self)
}

func structSizeMember<Struct>(_ pointer: UnsafeMutablePointer<Struct>) -> UInt64 {
    structSizeMember(UnsafePointer(pointer))
}
