/// A trainer as a file, see `TrainingFile`.
///
/// Version 2: each operation of a view has a random stream of its own, so that runs saved by version 1 go on with other
/// views than they would have had; all else is read as it was.
enum Checkpoint {
    static let format = TrainingFile.Format(
        name: "carl-checkpoint", version: 2, what: "checkpoint", reader: "carl_trainer_resume, in Python carl.load,")

    static func save(_ trainer: Trainer, to path: String, notes: JSONValue) throws {
        let counters = trainer.counters
        try withExtendedLifetime(trainer) {
            try TrainingFile.write(
                format, to: path, states: [trainer.training],
                more: trainer.training.tensors + trainer.objective.tensors,
                configurations: [("config", trainer.configuration.json)],
                counters: [
                    ("step", counters.step), ("updates", counters.updates), ("since_update", counters.sinceUpdate),
                    ("images", counters.images),
                ] + trainer.objective.counters.map { ($0.name, $0.value) },
                notes: notes)
        }
    }

    /// A trainer in the state that was saved, with some configuration keys changed.
    ///
    /// - Throws: `CARLError.file` when the file is not a checkpoint; `CARLError.configuration` when `overrides` change
    ///   the model's shape.
    static func load(_ path: String, overrides: JSONValue?) throws -> Trainer {
        let file = try TrainingFile(format, at: path)
        let saved = try Configuration(saved: file.configuration("config"))
        let configuration = try changed(saved, overrides, "when resuming")
        try file.check(Model(configuration).layout)
        let trainer = try Trainer(uninitialized: configuration)
        // A teacher or an accumulation that the saved run did not have starts afresh.
        let optional =
            (saved.teacherMomentum > 0 ? [] : ["teacher."])
            + (saved.accumulate > 1 ? [] : [TrainingState.accumulatedPrefix])
        for entry in trainer.state + trainer.training.optimizerEntries
        where !optional.contains(where: { entry.name.hasPrefix($0) }) {
            try file.read(entry)
        }
        if saved.teacherMomentum == 0 { trainer.training.copyToTeacher() }
        trainer.counters = try file.trainingCounters(["step", "updates", "images"])
        // Before there was a counter, an update came after so many steps from the first one on.
        trainer.counters.sinceUpdate =
            try file.counters()("since_update") ?? trainer.counters.step % saved.accumulate
        try check(accumulated: trainer.counters.sinceUpdate, saved, configuration)
        trainer.training.updates?.withValues { $0.update(repeating: Int64(trainer.counters.updates)) }
        for tensor in trainer.training.tensors + trainer.objective.tensors { file.read(tensor) }
        trainer.training.updates?.withValues { for i in $0.indices { $0[i] = min(max($0[i], 0), 1 << 52) } }
        trainer.objective.restore(try file.counters())
        trainer.notes = try file.notes()
        return trainer
    }

    /// Gradients that have accumulated are shares of an update by the old number of steps.
    private static func check(accumulated: Int, _ saved: Configuration, _ new: Configuration) throws {
        guard new.accumulate == saved.accumulate || accumulated == 0 else {
            throw CARLError.configuration(
                """
                "accumulate" cannot be changed from \(saved.accumulate) to \(new.accumulate) here: the gradients of \
                \(accumulated) step(s) have accumulated since the last update
                """)
        }
        guard (0...(1 << 20)).contains(accumulated) else {
            throw CARLError.file("the counter \"since_update\" is \(accumulated), want 0 to 2^20")
        }
    }

    /// A saved configuration with some keys changed, none of which fixes the model's shape.
    private static func changed(_ saved: Configuration, _ overrides: JSONValue?, _ when: String) throws -> Configuration
    {
        guard let overrides else { return saved }
        let configuration = try saved.overriding(overrides)
        let (old, new) = (saved.json, configuration.json)
        for key in Configuration.structuralKeys where old[key] != new[key] {
            func value(_ json: JSONValue) -> String { json[key]?.serialized() ?? "none" }
            throw CARLError.configuration(
                "\"\(key)\" cannot be changed \(when): the saved model has \(value(old)), got \(value(new))")
        }
        return configuration
    }

    /// Only what evaluation needs.
    static func loadEvaluator(_ path: String, overrides: JSONValue?, threads: Int) throws -> Evaluator {
        let file = try TrainingFile(format, at: path)
        let configuration = try changed(
            Configuration(saved: file.configuration("config")), overrides, "when loading")
        let model = try Model(configuration)
        try file.check(model.layout)
        let trained = TrainedModel(
            configuration: configuration, model: model, parameters: try FloatBuffer(model.layout.parameterCount),
            statistics: try FloatBuffer(model.layout.statisticCount))
        let entries =
            model.layout.entries(parameters: trained.parameters.base, trained: true)
            + model.layout.entries(statistics: trained.statistics.base)
        for entry in entries { try file.read(entry) }
        return Evaluator(
            trained: trained, compute: try .forFixedWeights(threads: threads, precision: configuration.precision))
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
    ///
    /// - Parameter overrides: configuration keys to change, such as "precision"; none that fixes the model's shape.
    public init(path: String, overrides: JSONValue? = nil, threads: Int = 0) throws {
        self = try Checkpoint.loadEvaluator(path, overrides: overrides, threads: threads)
    }
}
