/// Everything that decides how a classifier trains, beside the encoder it starts from. One struct here, one JSON object in C and in files.
public struct ClassifierConfiguration: Equatable, Sendable {
    var classes = 1
    /// The encoder stays as it is, in evaluation mode: a linear probe.
    var freezeEncoder = false
    /// The encoder's weights are drawn anew from the seed: only its architecture is taken.
    var fromScratch = false
    var labelSmoothing = 0.0
    /// Of the encoder; 0 when it is frozen.
    var learningRate = 0.01
    /// Of the linear layer.
    var headLearningRate = 0.1
    var momentum = 0.9
    var weightDecay = 5e-4
    var schedule: Schedule? = nil
    var warmupSteps = 0
    var totalSteps: Int? = nil
    /// How an image becomes an input of the network in a step.
    var view = ViewSpec()
    var seed: UInt64 = 0
    var threads = 0

    enum Schedule: String, CaseIterable, Sendable { case cosine, constant }

    static let keys = [
        "classes", "freeze_encoder", "from_scratch", "label_smoothing", "learning_rate", "head_learning_rate", "momentum", "weight_decay",
        "schedule", "warmup_steps", "total_steps", "view", "seed", "threads",
    ]
    /// Keys that fix the tensors of a classifier: they cannot change when a file is read.
    static let structuralKeys = ["classes", "freeze_encoder"]

    /// - Parameter encoder: configuration of the model the encoder comes from.
    /// - Throws: `CARLError.configuration` that names the key, what it got and what it wanted.
    public init(json: String, encoder: Configuration) throws { try self.init(JSONValue.parse(json), encoder: encoder) }

    public init(_ value: JSONValue, encoder: Configuration) throws {
        let reader = try ConfigurationReader(value, known: Self.keys)
        guard let classes = try reader.integer("classes", 1...(1 << 20)) else {
            throw CARLError.configuration("\"classes\" is missing: the number of classes, 1 to \(1 << 20)")
        }
        self.classes = classes
        freezeEncoder = try reader.bool("freeze_encoder", freezeEncoder)
        fromScratch = try reader.bool("from_scratch", fromScratch)
        labelSmoothing = try reader.number("label_smoothing", 0...1) ?? labelSmoothing
        let rate = try reader.number("learning_rate", 0...1e6)
        if freezeEncoder, let rate, rate != 0 {
            throw reader.error("learning_rate", "0 or left out with \"freeze_encoder\": the linear layer's is \"head_learning_rate\"")
        }
        learningRate = freezeEncoder ? 0 : rate ?? learningRate
        headLearningRate = try reader.number("head_learning_rate", 0...1e6) ?? headLearningRate
        momentum = try reader.number("momentum", 0...0.999_999) ?? momentum
        weightDecay = try reader.number("weight_decay", 0...1e3) ?? weightDecay
        schedule = try reader.choice("schedule")
        warmupSteps = try reader.integer("warmup_steps", 0...Int(Int32.max)) ?? warmupSteps
        totalSteps = try reader.integer("total_steps", 1...Int(Int32.max))
        if schedule == .cosine && totalSteps == nil {
            throw CARLError.configuration("\"schedule\": \"cosine\" needs \"total_steps\", the number of steps until the learning rate is 0")
        }
        view = try Self.view(reader, encoder)
        seed = UInt64(try reader.integer("seed", 0...(1 << 53)) ?? 0)
        threads = try reader.integer("threads", 0...1024) ?? threads
    }

    /// A random crop and a flip, of the size and normalisation that the encoder was trained with, but for what the key "view" changes.
    private static func view(_ reader: ConfigurationReader, _ encoder: Configuration) throws -> ViewSpec {
        let trained = encoder.views[0]
        var standard = ViewSpec()
        standard.size = trained.size
        standard.interpolation = trained.interpolation
        (standard.mean, standard.std) = (trained.mean, trained.std)
        let given = reader.value("view") ?? [:]
        guard let changes = given.object else {
            throw reader.error("view", "an object such as {\"scale\": [0.5, 1]}; what it leaves out is a crop and a flip as the encoder's first view is normalised")
        }
        let kept = (standard.json.object?.members ?? []).filter { changes[$0.key] == nil }.map { ($0.key, $0.value) }
        let view = try ViewSpec(
            .object(JSONObject(kept + changes.members.map { ($0.key, $0.value) })), path: "view.", channels: encoder.inChannels)
        guard view.count == 1 else { throw reader.error("view", "a specification whose \"count\" is 1: a step sees each image once") }
        return view
    }

    /// Every key with the value in force; reading it back gives an equal configuration.
    public var json: JSONValue {
        .object(
            JSONObject([
                ("classes", .number(Double(classes))), ("freeze_encoder", .bool(freezeEncoder)), ("from_scratch", .bool(fromScratch)),
                ("label_smoothing", .number(labelSmoothing)), ("learning_rate", .number(learningRate)),
                ("head_learning_rate", .number(headLearningRate)), ("momentum", .number(momentum)),
                ("weight_decay", .number(weightDecay)), ("schedule", schedule.map { .string($0.rawValue) } ?? .null),
                ("warmup_steps", .number(Double(warmupSteps))),
                ("total_steps", totalSteps.map { .number(Double($0)) } ?? .null), ("view", view.json),
                ("seed", .number(Double(seed))), ("threads", .number(Double(threads))),
            ]))
    }

    /// What both learning rates are multiplied with in a step, counted from 0.
    func rateFactor(step: Int) -> Double {
        Schedules.learningRate(
            step: step, base: 1, minimum: 0, warmup: warmupSteps, total: schedule == .constant ? nil : totalSteps)
    }
}
