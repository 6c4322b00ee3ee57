/// What training files have in common: tensors by torch's names and layouts, so that other tools can read the weights;
/// the optimizer's moments under "optimizer."; counters, configurations and the caller's notes in the metadata.
struct TrainingFile {
    /// The format's name and newest version.
    struct Format {
        let name: String
        let version: Int
        /// For messages, such as "checkpoint".
        let what: String
        /// What reads it, by its names in C and in Python.
        let reader: String
    }

    static let formats = [Checkpoint.format, ClassifierFile.format]

    let file: SafetensorsFile
    let format: Format

    /// Writes a file in one step.
    static func write(
        _ format: Format, to path: String, states: [TrainingState], more tensors: [SavedTensor] = [],
        configurations: [(String, JSONValue)], counters: [(String, Int)], notes: JSONValue
    ) throws {
        guard !notes.isNested(deeperThan: JSONValue.deepest) else {
            throw CARLError.invalidArgument(
                "notes: nested deeper than \(JSONValue.deepest) levels, which could not be read again")
        }
        var entries = (states.flatMap(\.entries) + states.flatMap(\.optimizerEntries)).map { entry in
            Safetensors.Entry(name: entry.name, shape: entry.shape) { entry.read(into: $0) }
        }
        entries += tensors.map {
            Safetensors.Entry(name: $0.name, shape: $0.shape, type: $0.type, bytes: UnsafeRawBufferPointer($0.bytes))
        }
        let numbers = JSONValue.object(JSONObject(counters.map { ($0.0, .number(Double($0.1))) }))
        try Safetensors.write(
            path: path, entries: entries,
            metadata: [("format", format.name), ("format_version", "\(format.version)")]
                + configurations.map { ($0.0, $0.1.serialized()) }
                + [("counters", numbers.serialized()), ("notes", notes.serialized())])
    }

    /// - Throws: `CARLError.file` when the file is not of this format, or of a later version.
    init(_ format: Format, at path: String) throws {
        self.format = format
        file = try SafetensorsFile(path: path)
        guard text("format") == format.name else {
            if let other = Self.formats.first(where: { $0.name == text("format") }) {
                throw CARLError.file(
                    "\(path) holds a \(other.what), want a \(format.what): \(other.reader) reads it")
            }
            if let naming = WeightsNaming.recognise(file.names), text("format")?.hasPrefix("carl-") != true {
                throw CARLError.file(
                    """
                    '\(path)' is a weights file (\(naming.family.title)), not a \(format.what): \
                    carl_encoder_from_weights and carl_trainer_load_weights read it
                    """)
            }
            throw CARLError.file("\(path) is a safetensors file, but not a \(format.what) written by this library")
        }
        guard let written = text("format_version").flatMap({ Int($0) }), written <= format.version else {
            let version = text("format_version") ?? "none"
            throw CARLError.file(
                "\(path) has \(format.what) format \(version); this library reads up to \(format.version)")
        }
    }

    private func text(_ key: String) -> String? { file.metadata.first { $0.key == key }?.value }

    /// A configuration's JSON text.
    func configuration(_ key: String) throws -> String {
        guard let json = text(key) else {
            throw CARLError.file("\(file.path) is a safetensors file, but not a \(format.what) written by this library")
        }
        return json
    }

    func notes() throws -> JSONValue { try parsed("notes") }

    /// - Throws: `CARLError.file` for what is not JSON.
    private func parsed(_ key: String) throws -> JSONValue {
        do { return try JSONValue.parse(text(key) ?? "{}") } catch let error as CARLError {
            throw CARLError.file("\(file.path): its metadata \"\(key)\" is damaged: \(error)")
        }
    }

    /// A counter; nil when it is not there.
    func counters() throws -> (String) -> Int? {
        let value = try parsed("counters")
        return { value[$0]?.integer }
    }

    /// Those that every training file must have, 0 or above.
    func trainingCounters(_ names: [String]) throws -> TrainingCounters {
        let known = try counters()
        var result = TrainingCounters()
        for name in names {
            // So that those of the steps which follow can be written and read again.
            guard let number = known(name), number >= 0, number < 1 << 52 else {
                throw CARLError.file(
                    "\(file.path): the counter \"\(name)\" is missing or no whole number from 0 to 2^52 - 1")
            }
            switch name {
            case "step": result.step = number
            case "updates": result.updates = number
            default: result.images = number
            }
        }
        return result
    }

    /// Compares what a configuration says with the file's tensors, before memory is taken for a model that is not in
    /// the file.
    func check(_ layout: ParameterLayout) throws {
        for slot in layout.parameters { _ = try tensor(slot.name, slot.shape) }
    }

    /// Reads a tensor into its place.
    func read(_ entry: StateEntry) throws {
        let bytes = try tensor(entry.name, entry.shape)
        guard let base = bytes.baseAddress else { return }
        try Cancellation.check()
        // Another program's file may have its tensors anywhere.
        let isAligned = UInt(bitPattern: base) % UInt(MemoryLayout<Float>.alignment) == 0
        let copy = isAligned ? nil : try FloatBuffer(bytes.count / MemoryLayout<Float>.stride, zeroed: false)
        copy.map { UnsafeMutableRawPointer($0.base).copyMemory(from: base, byteCount: bytes.count) }
        defer { withExtendedLifetime(copy) {} }
        let values = copy.map { UnsafePointer($0.base) } ?? base.assumingMemoryBound(to: Float.self)
        if let fault = entry.fault(in: values) {
            throw CARLError.file("\(file.path): tensor \"\(entry.name)\": \(fault)")
        }
        entry.write(from: values)
    }

    /// Reads a tensor of an objective's state; one that is missing or of another size stays as it is.
    func read(_ tensor: SavedTensor) {
        guard let (type, shape, bytes) = file.tensor(tensor.name), type == tensor.type, shape == tensor.shape,
            bytes.count == tensor.bytes.count
        else { return }
        tensor.bytes.copyMemory(from: bytes)
    }

    private func tensor(_ name: String, _ wanted: [Int]) throws -> UnsafeRawBufferPointer {
        guard let (type, shape, bytes) = file.tensor(name) else {
            throw CARLError.file("\(file.path) has no tensor \"\(name)\"")
        }
        guard type == .float32, shape == wanted else {
            throw CARLError.file(
                "\(file.path): tensor \"\(name)\" is \(type.rawValue) \(shape), the model needs F32 \(wanted)")
        }
        return bytes
    }
}
