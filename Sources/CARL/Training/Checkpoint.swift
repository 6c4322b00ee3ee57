/// A trainer as a safetensors file. Tensors have torch's names and layouts, so that other tools can read the weights; the
/// optimizer's moments follow under "optimizer.", counters and configuration are in the metadata.
enum Checkpoint {
    static let format = "carl-checkpoint"
    static let version = 1
    static let firstMoment = "optimizer.first_moment."
    private static let secondMoment = "optimizer.second_moment."
    private static let accumulated = "optimizer.accumulated."
    private static let lastUsedName = "diagnostics.last_used"

    static func save(_ trainer: Trainer, to path: String, notes: JSONValue) throws {
        try trainer.usage.lastUsed.withValues { lastUsed in
            let lastUsedBytes = UnsafeRawBufferPointer(lastUsed)
            var entries = (trainer.state + optimizerState(trainer)).map { entry in
                Safetensors.Entry(name: entry.name, shape: entry.shape) { entry.read(into: $0) }
            }
            entries.append(
                Safetensors.Entry(name: lastUsedName, shape: [lastUsed.count], type: .int64, bytes: lastUsedBytes))
            let counters = trainer.counters
            try Safetensors.write(
                path: path, entries: entries,
                metadata: [
                    ("format", format), ("format_version", "\(version)"),
                    ("config", trainer.configuration.json.serialized()),
                    (
                        "counters",
                        JSONValue.object(
                            JSONObject([
                                ("step", .number(Double(counters.step))), ("updates", .number(Double(counters.updates))),
                                ("images", .number(Double(counters.images))),
                                ("collapse", .number(Double(counters.collapse.rawValue))),
                                ("collapse_steps", .number(Double(counters.collapseSteps))),
                            ])
                        ).serialized()
                    ),
                    ("notes", notes.serialized()),
                ])
        }
    }

    private static func optimizerState(_ trainer: Trainer) -> [StateEntry] {
        let layout = trainer.model.layout
        var entries = layout.entries(parameters: trainer.firstMoment.base, prefix: firstMoment, trained: false)
        if let second = trainer.secondMoment {
            entries += layout.entries(parameters: second.base, prefix: secondMoment, trained: false, lowest: 0)
        }
        if let sum = trainer.accumulated {
            entries += layout.entries(parameters: sum.base, prefix: accumulated, trained: false)
        }
        return entries
    }

    /// A trainer in the state that was saved, with some configuration keys changed.
    ///
    /// - Throws: `CARLError.file` when the file is not a checkpoint; `CARLError.configuration` when `overrides` change the model's shape.
    static func load(_ path: String, overrides: JSONValue?) throws -> Trainer {
        let file = try SafetensorsFile(path: path)
        let saved = try configuration(file)
        var configuration = saved
        if let overrides {
            configuration = try saved.overriding(overrides)
            for key in Configuration.structuralKeys where configuration.json.object?[key] != saved.json.object?[key] {
                throw CARLError.configuration(
                    "\"\(key)\" cannot be changed when resuming: the saved model has \(saved.json.object?[key]?.serialized() ?? "none"), got \(configuration.json.object?[key]?.serialized() ?? "none")")
            }
        }
        try check(Model(configuration).layout, file)
        let trainer = try Trainer(uninitialized: configuration)
        // A teacher or an accumulation that the saved run did not have starts afresh.
        let optional = (saved.teacherMomentum > 0 ? [] : ["teacher."]) + (saved.accumulate > 1 ? [] : [accumulated])
        for entry in trainer.state + optimizerState(trainer) where !optional.contains(where: { entry.name.hasPrefix($0) }) {
            try read(entry, from: file)
        }
        if saved.teacherMomentum == 0 { trainer.copyToTeacher() }
        if let (type, _, bytes) = file.tensor(lastUsedName), type == .int64, bytes.count == 8 * trainer.usage.lastUsed.count {
            for i in 0..<trainer.usage.lastUsed.count {
                trainer.usage.lastUsed[i] = bytes.loadUnaligned(fromByteOffset: 8 * i, as: Int64.self)
            }
        }
        trainer.counters = try counters(file)
        trainer.notes = try JSONValue.parse(file.metadata.first { $0.key == "notes" }?.value ?? "{}")
        return trainer
    }

    /// Only what evaluation needs.
    static func loadEvaluator(_ path: String, threads: Int) throws -> Evaluator {
        let file = try SafetensorsFile(path: path)
        let configuration = try configuration(file)
        let model = try Model(configuration)
        try check(model.layout, file)
        let evaluator = Evaluator(
            configuration: configuration, model: model, parameters: try FloatBuffer(model.layout.parameterCount),
            statistics: try FloatBuffer(model.layout.statisticCount), compute: try .forFixedWeights(threads: threads))
        let entries =
            model.layout.entries(parameters: evaluator.parameters.base, trained: true)
            + model.layout.entries(statistics: evaluator.statistics.base)
        for entry in entries { try read(entry, from: file) }
        return evaluator
    }

    private static func configuration(_ file: SafetensorsFile) throws -> Configuration {
        func text(_ key: String) -> String? { file.metadata.first { $0.key == key }?.value }
        guard text("format") == format, let json = text("config") else {
            throw CARLError.file("\(file.path) is a safetensors file, but not a checkpoint written by this library")
        }
        guard let written = text("format_version").flatMap({ Int($0) }), written <= version else {
            throw CARLError.file(
                "\(file.path) has checkpoint format \(text("format_version") ?? "none"); this library reads up to \(version)")
        }
        return try Configuration(saved: json)
    }

    private static func counters(_ file: SafetensorsFile) throws -> Trainer.Counters {
        let value = try JSONValue.parse(file.metadata.first { $0.key == "counters" }?.value ?? "{}")
        func number(_ key: String) throws -> Int {
            guard let number = value[key]?.integer, number >= 0 else {
                throw CARLError.file("\(file.path): the counter \"\(key)\" is missing or not a whole number")
            }
            return number
        }
        return Trainer.Counters(
            step: try number("step"), updates: try number("updates"), images: try number("images"),
            collapse: Collapse(rawValue: Int32(truncatingIfNeeded: try number("collapse"))) ?? .none,
            collapseSteps: try number("collapse_steps"))
    }

    /// Compares what a configuration says with the file's tensors, before memory is taken for a model that is not in the file.
    static func check(_ layout: ParameterLayout, _ file: SafetensorsFile) throws {
        for slot in layout.parameters {
            guard let (type, shape, _) = file.tensor(slot.name) else {
                throw CARLError.file("\(file.path) has no tensor \"\(slot.name)\"")
            }
            guard type == .float32, shape == slot.shape else {
                throw CARLError.file(
                    "\(file.path): tensor \"\(slot.name)\" is \(type.rawValue) \(shape), the model needs F32 \(slot.shape)")
            }
        }
    }

    static func read(_ entry: StateEntry, from file: SafetensorsFile) throws {
        guard let (type, shape, bytes) = file.tensor(entry.name) else {
            throw CARLError.file("\(file.path) has no tensor \"\(entry.name)\"")
        }
        guard type == .float32, shape == entry.shape, let base = bytes.baseAddress else {
            throw CARLError.file(
                "\(file.path): tensor \"\(entry.name)\" is \(type.rawValue) \(shape), the model needs F32 \(entry.shape)")
        }
        try Cancellation.check()
        let values = base.assumingMemoryBound(to: Float.self)
        if let fault = entry.fault(in: values) { throw CARLError.file("\(file.path): tensor \"\(entry.name)\": \(fault)") }
        entry.write(from: values)
    }
}

extension Trainer {
    /// Writes everything needed to go on exactly. `notes` are the caller's own, kept in the file.
    public func save(to path: String, notes: JSONValue? = nil) throws {
        try Checkpoint.save(self, to: path, notes: notes ?? self.notes)
    }

    /// A trainer whose next step is what the saved one's would have been.
    public static func resume(from path: String, overrides: JSONValue? = nil) throws -> Trainer {
        try Checkpoint.load(path, overrides: overrides)
    }
}

extension Evaluator {
    /// Reads the model of a checkpoint. `threads` 0 means all.
    public init(path: String, threads: Int = 0) throws { self = try Checkpoint.loadEvaluator(path, threads: threads) }
}
