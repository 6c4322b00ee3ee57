/// A classifier as a safetensors file: tensors by torch's names and layouts, momenta under "optimizer.", counters and both configurations in the
/// metadata. Training goes on exactly.
enum ClassifierFile {
    static let format = "carl-classifier"
    static let version = 1

    static func save(_ classifier: Classifier, to path: String, notes: JSONValue) throws {
        let counters: JSONValue = [
            "step": .number(Double(classifier.counters.step)), "images": .number(Double(classifier.counters.images)),
        ]
        try Safetensors.write(
            path: path,
            entries: (classifier.state + momenta(classifier)).map { entry in
                Safetensors.Entry(name: entry.name, shape: entry.shape) { entry.read(into: $0) }
            },
            metadata: [
                ("format", format), ("format_version", "\(version)"), ("config", classifier.configuration.json.serialized()),
                ("encoder_config", classifier.encoderConfiguration.json.serialized()), ("counters", counters.serialized()),
                ("notes", notes.serialized()),
            ])
    }

    /// - Throws: `CARLError.file` when the file is not a classifier's.
    static func load(_ path: String, overrides: JSONValue?) throws -> Classifier {
        let file = try SafetensorsFile(path: path)
        func text(_ key: String) -> String? { file.metadata.first { $0.key == key }?.value }
        guard text("format") == format, let json = text("config"), let encoderJSON = text("encoder_config") else {
            throw CARLError.file("\(path) is a safetensors file, but not a classifier written by this library")
        }
        guard let written = text("format_version").flatMap({ Int($0) }), written <= version else {
            throw CARLError.file(
                "\(path) has classifier format \(text("format_version") ?? "none"); this library reads up to \(version)")
        }
        let encoder = try Configuration(json: encoderJSON)
        let classifier = try Classifier(
            uninitialized: try configuration(JSONValue.parse(json), overrides, encoder), encoder: encoder)
        for entry in classifier.state + momenta(classifier) { try Checkpoint.read(entry, from: file) }
        let counters = try JSONValue.parse(text("counters") ?? "{}")
        guard let step = counters["step"]?.integer, let images = counters["images"]?.integer, step >= 0, images >= 0 else {
            throw CARLError.file("\(path): the counters \"step\" and \"images\" are missing or not whole numbers")
        }
        classifier.counters = .init(step: step, images: images)
        classifier.notes = try JSONValue.parse(text("notes") ?? "{}")
        return classifier
    }

    private static func configuration(_ saved: JSONValue, _ overrides: JSONValue?, _ encoder: Configuration) throws
        -> ClassifierConfiguration
    {
        let standing = try ClassifierConfiguration(saved, encoder: encoder)
        guard let overrides else { return standing }
        guard let changes = overrides.object else {
            throw CARLError.configuration("overrides must be a JSON object, got \(overrides.kind)")
        }
        for key in ClassifierConfiguration.structuralKeys where changes[key].map({ $0 != standing.json[key] }) ?? false {
            throw CARLError.configuration("\"\(key)\" cannot be changed: the saved classifier has \(standing.json[key]?.serialized() ?? "none")")
        }
        let kept = (standing.json.object?.members ?? []).filter { changes[$0.key] == nil }.map { ($0.key, $0.value) }
        return try ClassifierConfiguration(.object(JSONObject(kept + changes.members.map { ($0.key, $0.value) })), encoder: encoder)
    }

    private static func momenta(_ classifier: Classifier) -> [StateEntry] {
        [classifier.encoderPart, classifier.headPart].flatMap { part in
            part.momenta.map { part.layout.entries(parameters: $0.base, prefix: Checkpoint.firstMoment, trained: false) } ?? []
        }
    }
}

extension Classifier {
    /// Writes everything needed to predict and to train on exactly. `notes` are the caller's own, kept in the file.
    public func save(to path: String, notes: JSONValue? = nil) throws {
        try ClassifierFile.save(self, to: path, notes: notes ?? self.notes)
    }

    /// A classifier whose next step is what the saved one's would have been.
    public static func load(from path: String, overrides: JSONValue? = nil) throws -> Classifier {
        try ClassifierFile.load(path, overrides: overrides)
    }
}
