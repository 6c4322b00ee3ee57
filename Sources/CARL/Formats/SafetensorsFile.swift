#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A safetensors file read into memory, every claim of its header checked (format: see `Safetensors`).
///
/// The file is read, not mapped: a mapped file that another process truncates ends this one by SIGBUS.
public final class SafetensorsFile {
    /// What the header says of a tensor.
    public struct Tensor: Sendable {
        /// As in the header, where it is there once.
        public let name: String
        /// Type of the elements.
        public let type: Safetensors.ElementType
        /// Sizes of the dimensions, the slowest first; empty for a single value.
        public let shape: [Int]
        /// Place of the bytes in the file's data section.
        let range: Range<Int>
    }

    /// As the caller gave it; the file is read by `init` alone.
    public let path: String
    /// The `__metadata__` map, in the file's order.
    public let metadata: [(key: String, value: String)]
    /// All tensors, in the order of the header.
    public let tensors: [Tensor]
    private let positions: [ByteString: Int]
    private let data: UnsafeMutableRawBufferPointer
    private let block: SystemMemory.Block

    /// Names of all tensors, in the order of the header.
    public var names: [String] { tensors.map(\.name) }

    /// - Throws: `CARLError.file` that says what is wrong with which tensor, `CARLError.outOfMemory`.
    public init(path: String) throws {
        try FileOutput.checkPath(path)
        // without O_NONBLOCK, opening a named pipe would wait for a writer
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        if descriptor < 0 { throw FileOutput.failure("read", path) }
        defer { close(descriptor) }
        var status = stat()
        if fstat(descriptor, &status) != 0 { throw FileOutput.failure("read", path) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw CARLError.file("cannot read '\(path)': it is not a regular file")
        }
        let fileSize = Int(status.st_size)

        guard fileSize >= 8 else {
            throw Self.malformed(path, "it has \(fileSize) bytes, less than the 8 of the header's length")
        }
        var length: UInt64 = 0
        try withUnsafeMutableBytes(of: &length) { try Self.read(descriptor, $0, path) }
        length = UInt64(littleEndian: length)
        guard length <= UInt64(min(Safetensors.longestHeader, fileSize - 8)) else {
            let start = withUnsafeBytes(of: length.littleEndian) { Array($0) }
            if let refusal = ForeignFile.refusal(path, beginsWith: start) { throw refusal }
            throw Self.malformed(
                path,
                """
                the header would have \(length) bytes, but the file has \(fileSize) and a header at most \
                \(Safetensors.longestHeader)
                """
            )
        }
        try JSONValue.checkRoom(forText: Int(length))
        var header = [UInt8](repeating: 0, count: Int(length))
        try header.withUnsafeMutableBytes { try Self.read(descriptor, $0, path) }
        let dataCount = fileSize - 8 - header.count
        let contents: (metadata: [(key: String, value: String)], tensors: [Tensor])
        do {
            contents = try Self.describe(header, dataCount: dataCount)
        } catch let error as CARLError {
            throw Self.malformed(path, error.description)
        }
        let block = try SystemMemory.allocate(dataCount, for: "the \(dataCount) bytes of '\(path)'")
        do {
            try Self.read(descriptor, UnsafeMutableRawBufferPointer(start: block.base, count: dataCount), path)
        } catch {
            block.free()
            throw error
        }
        self.block = block
        data = UnsafeMutableRawBufferPointer(start: block.base, count: dataCount)
        (metadata, tensors) = contents
        // the parser refuses a name that is there twice
        var positions: [ByteString: Int] = [:]
        for (position, tensor) in contents.tensors.enumerated() { positions[ByteString(tensor.name)] = position }
        self.positions = positions
        self.path = path
    }

    deinit { block.free() }

    /// A tensor's type, shape and bytes, nil if there is none of this name. The bytes are valid as long as this object,
    /// and begin at a multiple of the element's size in files that `Safetensors.write` made, but not in every file.
    public func tensor(_ name: String) -> (type: Safetensors.ElementType, shape: [Int], bytes: UnsafeRawBufferPointer)?
    {
        guard let tensor = positions[ByteString(name)].map({ tensors[$0] }) else { return nil }
        return (tensor.type, tensor.shape, UnsafeRawBufferPointer(rebasing: data[tensor.range]))
    }

    /// Copies a tensor of F32, F64, F16 or BF16 to `count` values of Float32.
    /// - Throws: `CARLError.file` when there is no such tensor, it has another number of elements or no floating-point
    ///   type.
    public func copyFloats(_ name: String, to target: FloatPointer, count: Int) throws {
        guard let (type, shape, bytes) = tensor(name) else {
            throw CARLError.file("'\(path)' has no tensor '\(name)'")
        }
        guard bytes.count / type.size == count else {
            throw CARLError.file("tensor '\(name)' of '\(path)' has shape \(shape); \(count) values are wanted")
        }
        switch type {
        case .float32:
            if count > 0 { memcpy(target, bytes.baseAddress!, bytes.count) }
        case .float64:
            for i in 0..<count { target[i] = Float(bytes.loadUnaligned(fromByteOffset: 8 * i, as: Double.self)) }
        case .bfloat16:
            for i in 0..<count {
                target[i] = Float(bitPattern: UInt32(bytes.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) << 16)
            }
        case .float16:
            for i in 0..<count {
                target[i] = Self.float(half: bytes.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
            }
        default:
            throw CARLError.file(
                "tensor '\(name)' of '\(path)' has type \(type.rawValue); F32, F64, F16 or BF16 is wanted")
        }
    }

    /// The value of an IEEE binary16 bit pattern (Swift has no Float16 on every platform).
    static func float(half bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16
        let rest = UInt32(bits & 0x7fff)
        if rest >= 0x7c00 { return Float(bitPattern: sign | 0x7f80_0000 | (rest & 0x3ff) << 13) }
        // The exponent is moved to Float's bias by a multiplication, which is right for subnormal numbers too.
        let magnitude = Float(bitPattern: rest << 13) * 0x1p112
        return Float(bitPattern: sign | magnitude.bitPattern)
    }

    // MARK: Checks

    /// What a header describes, or an error that says why it cannot be true of a data section of `dataCount` bytes.
    static func describe(_ header: [UInt8], dataCount: Int) throws -> (
        metadata: [(key: String, value: String)], tensors: [Tensor]
    ) {
        guard header.first == UInt8(ascii: "{"), let members = try JSONValue.parse(header).object?.members else {
            throw CARLError.file("the header is no JSON object that starts with '{'")
        }
        var metadata: [(key: String, value: String)] = []
        var tensors: [Tensor] = []
        for (name, value) in members {
            if name == Safetensors.metadataKey {
                guard let map = value.object else {
                    throw CARLError.file("\(name) is \(value.kind); an object is wanted")
                }
                for (key, text) in map.members {
                    guard let text = text.string else {
                        throw CARLError.file("\(name) has \(text.kind) at '\(key)'; a string is wanted")
                    }
                    metadata.append((key, text))
                }
            } else {
                guard tensors.count < Safetensors.mostTensors else {
                    throw CARLError.file("the header describes more than \(Safetensors.mostTensors) tensors")
                }
                tensors.append(try describe(name, value, dataCount: dataCount))
            }
        }
        // Empty tensors lie between others: by beginning, then by end, each has to begin where the one before ends.
        var end = 0
        let inOrder = tensors.sorted {
            ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
        }
        for tensor in inOrder {
            guard tensor.range.lowerBound == end else {
                throw CARLError.file(
                    """
                    tensor '\(tensor.name)' begins at byte \(tensor.range.lowerBound) of the data, the one before \
                    ends at \(end)
                    """
                )
            }
            end = tensor.range.upperBound
        }
        guard end == dataCount else {
            throw CARLError.file("the tensors take \(end) bytes, the file holds \(dataCount) of data")
        }
        return (metadata, tensors)
    }

    private static func describe(_ name: String, _ value: JSONValue, dataCount: Int) throws -> Tensor {
        func wrong(_ what: String) -> CARLError { .file("tensor '\(name)': \(what)") }
        guard let description = value.object else {
            throw wrong("it is described by \(value.kind); an object is wanted")
        }
        guard let typeName = description["dtype"]?.string else { throw wrong("there is no text 'dtype'") }
        guard let type = Safetensors.ElementType(rawValue: typeName) else { throw wrong("unknown dtype '\(typeName)'") }
        guard let sizes = description["shape"]?.array else { throw wrong("there is no array 'shape'") }
        let shape = sizes.compactMap { $0.integer }
        guard shape.count == sizes.count, let bytes = Safetensors.byteCount(shape, type) else {
            throw wrong("the shape is not made of whole numbers from 0 whose product fits in memory")
        }
        guard let offsets = description["data_offsets"]?.array?.compactMap({ $0.integer }), offsets.count == 2,
            description["data_offsets"]?.array?.count == 2
        else { throw wrong("'data_offsets' is not a pair of whole numbers") }
        guard 0 <= offsets[0], offsets[0] <= offsets[1], offsets[1] <= dataCount else {
            throw wrong("data_offsets \(offsets) are outside the \(dataCount) bytes of data")
        }
        guard offsets[1] - offsets[0] == bytes else {
            throw wrong(
                """
                shape \(shape) of \(typeName) needs \(bytes) bytes, data_offsets \(offsets) give \
                \(offsets[1] - offsets[0])
                """
            )
        }
        return Tensor(name: name, type: type, shape: shape, range: offsets[0]..<offsets[1])
    }

    private static func malformed(_ path: String, _ what: String) -> CARLError {
        .file("'\(path)' is not a valid safetensors file: \(what)")
    }

    /// Fills `target` from where the file stands.
    private static func read(_ descriptor: Int32, _ target: UnsafeMutableRawBufferPointer, _ path: String) throws {
        var done = 0
        while done < target.count, let base = target.baseAddress {
            try Cancellation.check()
            let part = min(target.count - done, FileOutput.part)
            #if canImport(Glibc)
                let count = Glibc.read(descriptor, base + done, part)
            #else
                let count = Darwin.read(descriptor, base + done, part)
            #endif
            if count > 0 {
                done += count
            } else if count == 0 {
                throw CARLError.file("cannot read '\(path)': it became shorter while it was read")
            } else if errno != EINTR {
                throw FileOutput.failure("read", path)
            }
        }
    }
}
