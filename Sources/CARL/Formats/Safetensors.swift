/// The safetensors file format: eight bytes with the little-endian length of a JSON header, the header, then the
/// tensors' bytes.
///
/// The header maps a name to `{"dtype", "shape", "data_offsets": [begin, end]}`, offsets counted from the end of the
/// header, and `__metadata__` to a map of strings. Tensors are row-major, little-endian, without holes between them.
/// Source: the format description of the safetensors project.
public enum Safetensors {
    /// Longest header that is read or written, in bytes, and most tensors. Readers of the format accept 100 MB, for
    /// which a parser needs a gigabyte; a large model's names and shapes take some hundred kilobytes.
    static let longestHeader = 4 << 20
    static let mostTensors = 1 << 15
    static let metadataKey = "__metadata__"

    /// The type of a tensor's elements, by the name it has in the file.
    public enum ElementType: String, Sendable, CaseIterable {
        /// One byte an element.
        case bool = "BOOL"
        /// Integers of one byte.
        case uint8 = "U8", int8 = "I8"
        /// Two bytes: integers, IEEE binary16, and bfloat16, the upper half of a Float32.
        case uint16 = "U16", int16 = "I16", float16 = "F16", bfloat16 = "BF16"
        /// Four bytes: integers and Float32.
        case uint32 = "U32", int32 = "I32", float32 = "F32"
        /// Eight bytes: integers and Float64.
        case uint64 = "U64", int64 = "I64", float64 = "F64"

        var isFloatingPoint: Bool { [.float16, .bfloat16, .float32, .float64].contains(self) }

        /// Bytes of an element.
        public var size: Int {
            switch self {
            case .bool, .uint8, .int8: 1
            case .uint16, .int16, .float16, .bfloat16: 2
            case .uint32, .int32, .float32: 4
            case .uint64, .int64, .float64: 8
            }
        }
    }

    /// A tensor to be written.
    public struct Entry {
        /// Used once in a file; not "__metadata__".
        public let name: String
        /// Sizes of the dimensions, the slowest first; empty for a single value.
        public let shape: [Int]
        /// Type of the elements; `.float32` for a tensor that is made when its turn comes.
        public let type: ElementType
        let content: Content

        enum Content {
            case bytes(UnsafeRawBufferPointer)
            case floats((FloatPointer) throws -> Void)
        }

        /// A tensor whose bytes lie in memory; they must stay there until `write` returns.
        public init(name: String, shape: [Int], type: ElementType, bytes: UnsafeRawBufferPointer) {
            (self.name, self.shape, self.type, content) = (name, shape, type, .bytes(bytes))
        }

        /// A Float32 tensor that is made when its turn comes, so that a whole model need not be copied before it is
        /// written: `fill` gets memory for the product of `shape` and must set every value.
        public init(name: String, shape: [Int], fill: @escaping (FloatPointer) throws -> Void) {
            (self.name, self.shape, type, content) = (name, shape, .float32, .floats(fill))
        }
    }

    /// Number of bytes of a tensor; nil when a size is negative or the product does not fit.
    static func byteCount(_ shape: [Int], _ type: ElementType) -> Int? {
        var bytes = type.size
        for size in shape {
            let (product, overflow) = bytes.multipliedReportingOverflow(by: size)
            if size < 0 || overflow { return nil }
            bytes = product
        }
        return bytes
    }

    /// Writes a file in one step: `path` holds the old content or all of the new (see `FileOutput`).
    ///
    /// Tensors are stored by falling element size, otherwise in the given order, and the header is padded with spaces
    /// to a multiple of 8 bytes: every tensor is aligned to its element in a file mapped into memory.
    /// - Throws: `CARLError.invalidArgument` for names used twice, shapes that do not match their bytes;
    ///   `CARLError.file`.
    public static func write(path: String, entries: [Entry], metadata: [(String, String)] = []) throws {
        var header = JSONObject()
        if !metadata.isEmpty {
            var map = JSONObject()
            for (key, text) in metadata where !map.append(key, .string(text)) {
                throw CARLError.invalidArgument("the metadata key '\(key)' is there twice")
            }
            header[metadataKey] = .object(map)
        }
        var ordered: [Entry] = []
        for size in [8, 4, 2, 1] { ordered += entries.filter { $0.type.size == size } }
        var end = 0
        var largest = 0
        for entry in ordered {
            guard entry.name != metadataKey else {
                throw CARLError.invalidArgument("no tensor may be called '\(metadataKey)'")
            }
            guard let count = byteCount(entry.shape, entry.type) else {
                throw CARLError.invalidArgument("tensor '\(entry.name)' has the impossible shape \(entry.shape)")
            }
            switch entry.content {
            case .bytes(let bytes) where bytes.count != count:
                throw CARLError.invalidArgument(
                    """
                    tensor '\(entry.name)' has \(bytes.count) bytes; shape \(entry.shape) of \(entry.type.rawValue) \
                    needs \(count)
                    """
                )
            case .bytes: break
            case .floats: largest = max(largest, count / 4)
            }
            let begin = end
            let (sum, overflow) = end.addingReportingOverflow(count)
            // offsets are JSON numbers, exact only up to here
            guard !overflow, sum < 1 << 53 else {
                throw CARLError.invalidArgument("the tensors are too large for one file")
            }
            end = sum
            let description: JSONValue = [
                "dtype": .string(entry.type.rawValue), "shape": .array(entry.shape.map { .number(Double($0)) }),
                "data_offsets": [.number(Double(begin)), .number(Double(end))],
            ]
            guard header.append(entry.name, description) else {
                throw CARLError.invalidArgument("two tensors are called '\(entry.name)'")
            }
        }
        var bytes = Array(JSONValue.object(header).serialized().utf8)
        bytes += repeatElement(0x20, count: -bytes.count & 7)
        guard bytes.count <= longestHeader else {
            throw CARLError.invalidArgument(
                """
                the names and metadata (the configuration, notes) take \(bytes.count) bytes; at most \(longestHeader) \
                are possible
                """
            )
        }
        let scratch = largest > 0 ? try FloatBuffer(largest, zeroed: false) : nil
        try FileOutput.replace(path) { file in
            try withUnsafeBytes(of: UInt64(bytes.count).littleEndian) { try file.write($0) }
            try bytes.withUnsafeBytes { try file.write($0) }
            for entry in ordered {
                switch entry.content {
                case .bytes(let bytes): try file.write(bytes)
                case .floats(let fill):
                    guard let scratch, let count = byteCount(entry.shape, entry.type), count > 0 else { continue }
                    try fill(scratch.base)
                    try file.write(UnsafeRawBufferPointer(start: scratch.base, count: count))
                }
            }
        }
    }
}
