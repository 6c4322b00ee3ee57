/// A classifier as a file, see `TrainingFile`. Version 2: views as in version 2 of `Checkpoint`.
enum ClassifierFile {
    static let format = TrainingFile.Format(
        name: "carl-classifier", version: 2, what: "classifier",
        reader: "carl_classifier_load, in Python carl.Classifier.load,")

    static func save(_ classifier: Classifier, to path: String, notes: JSONValue) throws {
        try TrainingFile.write(
            format, to: path, states: [classifier.encoderState, classifier.headState],
            configurations: [
                ("config", classifier.configuration.json), ("encoder_config", classifier.encoderConfiguration.json),
            ],
            counters: [("step", classifier.counters.step), ("images", classifier.counters.images)], notes: notes)
    }

    /// - Throws: `CARLError.file` when the file is not a classifier's.
    static func load(_ path: String, overrides: JSONValue?) throws -> Classifier {
        let file = try TrainingFile(format, at: path)
        let (json, encoderJSON) = (try file.configuration("config"), try file.configuration("encoder_config"))
        let encoder = try Configuration(saved: encoderJSON)
        let classifier = try Classifier(
            uninitialized: try configuration(JSONValue.parse(json), overrides, encoder), encoder: encoder)
        for entry in classifier.state + classifier.encoderState.optimizerEntries + classifier.headState.optimizerEntries
        {
            try file.read(entry)
        }
        classifier.counters = try file.trainingCounters(["step", "images"])
        classifier.notes = try file.notes()
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
        // The weights are the file's, whatever they began as; null asks for nothing else.
        let fixed = ClassifierConfiguration.structuralKeys + (changes["from_scratch"] == .null ? [] : ["from_scratch"])
        for key in fixed where changes[key].map({ $0 != standing.json[key] }) ?? false {
            throw CARLError.configuration(
                "\"\(key)\" cannot be changed: the saved classifier has \(standing.json[key]?.serialized() ?? "none")")
        }
        let kept = (standing.json.object?.members ?? []).filter { changes[$0.key] == nil }.map { ($0.key, $0.value) }
        return try ClassifierConfiguration(
            .object(JSONObject(kept + changes.members.map { ($0.key, $0.value) })), encoder: encoder)
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
