import CARL
import Glibc

/// What libFuzzer calls with every input: CARL_FUZZ_READER says which reader gets it.
///
/// An input may be refused by a `CARLError` only. A trap, a report of AddressSanitizer, another error, a broken
/// property (`precondition`), an input that takes seconds and memory out of proportion are findings.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = UnsafeRawBufferPointer(start: data, count: count)
    do {
        try reader(bytes)
    } catch is CARLError {
        return 0
    } catch {
        fatalError("an error of another kind: \(error)")
    }
    return 0
}

private let reader: (UnsafeRawBufferPointer) throws -> Void = {
    let name = getenv("CARL_FUZZ_READER").map { String(cString: $0) } ?? ""
    switch name {
    case "json": return readJSON
    case "configuration": return readConfiguration
    case "safetensors": return readSafetensors
    case "header": return readHeader
    default: fatalError("CARL_FUZZ_READER is '\(name)'; json, configuration, safetensors or header is wanted")
    }
}()

/// The parser; what it accepts has to survive being written and read again.
private func readJSON(_ bytes: UnsafeRawBufferPointer) throws {
    let value = try JSONValue.parse(bytes)
    let again = try? JSONValue.parse(value.serialized())
    precondition(again == value, "written and read again, the value is another")
}

/// The configurations of a trainer and of a classifier, and the specifications of views. No model is made.
private func readConfiguration(_ bytes: UnsafeRawBufferPointer) throws {
    let value = try JSONValue.parse(bytes)
    _ = try? ViewSpec.list(value, channels: 3)
    if let encoder = try? Configuration(.object(JSONObject())) {
        _ = try? ClassifierConfiguration(value, encoder: encoder)
    }
    let configuration = try Configuration(value)
    guard let again = try? Configuration(configuration.json) else {
        fatalError("a configuration's own JSON is refused: \(configuration.json.serialized())")
    }
    precondition(again.json == configuration.json, "written and read again, the configuration is another")
}

/// A file in memory, so that no disk is worn out.
private let file: (descriptor: Int32, path: String) = {
    var template = Array("/dev/shm/carl-fuzz-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    precondition(descriptor >= 0, "no file in /dev/shm: errno \(errno)")
    unlink(template)
    return (descriptor, "/proc/self/fd/\(descriptor)")
}()

private func read(file parts: [UnsafeRawBufferPointer]) throws {
    precondition(ftruncate(file.descriptor, 0) == 0)
    var end = 0
    for part in parts where part.count > 0 {
        precondition(pwrite(file.descriptor, part.baseAddress, part.count, off_t(end)) == part.count)
        end += part.count
    }
    let tensors = try SafetensorsFile(path: file.path)
    var sum: UInt8 = 0
    for name in tensors.names {
        guard let tensor = tensors.tensor(name) else { fatalError("the tensor '\(name)' is named, but not there") }
        let elements = tensor.shape.reduce(1, *)
        precondition(
            tensor.bytes.count == elements * tensor.type.size, "the shape of '\(name)' does not match its bytes")
        for byte in tensor.bytes { sum &+= byte }
        let values = UnsafeMutablePointer<Float>.allocate(capacity: max(elements, 1))
        defer { values.deallocate() }
        do { try tensors.copyFloats(name, to: values, count: elements) } catch is CARLError {}
    }
    checksum = sum
}

/// Keeps the reads above from being optimised away.
nonisolated(unsafe) public var checksum: UInt8 = 0

/// A whole file.
private func readSafetensors(_ bytes: UnsafeRawBufferPointer) throws { try read(file: [bytes]) }

/// A header, with the length before it that a mutated file hardly ever has, and as many bytes of data as the input's
/// first byte says.
private func readHeader(_ bytes: UnsafeRawBufferPointer) throws {
    guard let first = bytes.first else { return }
    let header = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
    let data = [UInt8](repeating: 0x3f, count: Int(first))
    try withUnsafeBytes(of: UInt64(header.count).littleEndian) { length in
        try data.withUnsafeBytes { try read(file: [length, header, $0]) }
    }
}
