/// Everything that decides how a classifier trains, beside the encoder it starts from. One struct here, one JSON object
/// in C and in files. A key is declared once, by the property that holds it (see `Setting`).
public struct ClassifierConfiguration: Equatable, Sendable {
    @Setting(
        "classes", .classifier, in: 1...0x1p20, structural: true, standard: "to be given", doc: "number of classes")
    public var classes: Int? = nil
    @Setting(
        "freeze_encoder", .classifier, structural: true,
        doc: "the encoder stays as it is, in evaluation mode: a linear probe")
    public var freezeEncoder = false
    @Setting(
        "from_scratch", .classifier,
        doc: "the encoder's weights are drawn anew from the seed: only its architecture is taken")
    public var fromScratch = false
    @Setting(
        "label_smoothing", .classifier, in: 0...1, doc: "share of a label's target that is spread over all classes")
    public var labelSmoothing = 0.0
    @Setting(
        "learning_rate", .classifier, in: 0...1e6, standard: "0.01; 0 for a frozen encoder",
        doc: "learning rate of the encoder")
    public var learningRate = 0.01
    @Setting("head_learning_rate", .classifier, in: 0...1e6, doc: "learning rate of the linear layer")
    public var headLearningRate = 0.1
    @Setting("momentum", .classifier, in: 0...0.999_999, doc: "of SGD")
    public var momentum = 0.9
    @Setting("weight_decay", .classifier, in: 0...1e3, doc: "added to the gradient times the weights")
    public var weightDecay = 5e-4
    @Setting(
        "schedule", .classifier, standard: "`\"cosine\"` when `total_steps` is given, else `\"constant\"`",
        doc: "of both learning rates, after the warm-up: down to 0 at `total_steps`, or constant")
    public var schedule: Schedule? = nil
    @Setting("warmup_steps", .classifier, in: 0...0x7fff_ffff, doc: "steps in which the learning rates rise linearly")
    public var warmupSteps = 0
    @Setting("total_steps", .classifier, in: 1...0x7fff_ffff, doc: "steps of the schedule")
    public var totalSteps: Int? = nil
    @Setting(
        "view", .classifier,
        standard: "a random crop and a flip, of the size and normalisation that the encoder was trained with",
        doc:
            """
            how an image becomes an input of the network in a step: keys of a view specification that replace those \
            of the default
            """
    )
    public var viewChanges = ViewChanges()
    @Setting("seed", .classifier, in: 0...0x1p53 - 1, doc: "of initial weights and views")
    public var seed: UInt64 = 0
    @Setting(
        "threads", .classifier, in: 0...1024, standard: "`CARL_NUM_THREADS`, else all processors this process may use",
        doc: "threads of the computation; 0 is the default")
    public var threads = 0

    @Setting(
        "precision", .classifier, standard: "the encoder's",
        doc: "what operands of products are rounded to, as the encoder's key of this name says")
    public var precision: Precision? = nil

    /// The view's specification, once the encoder is known.
    public private(set) var view = ViewSpec()
    private var isResolved = false

    /// How both learning rates go on after the warm-up, see `schedule`.
    public enum Schedule: String, SettingChoice { case cosine, constant }

    /// All keys at their defaults, to be changed before a classifier is made.
    public init() {}

    /// - Parameter encoder: configuration of the model the encoder comes from.
    /// - Throws: `CARLError.configuration` that names the key, what it got and what it wanted.
    public init(json: String, encoder: Configuration) throws { try self.init(JSONValue.parse(json), encoder: encoder) }

    /// The keys of a JSON object, and the defaults for this encoder.
    ///
    /// - Parameter encoder: configuration of the model the encoder comes from; resolved here if it is not.
    /// - Throws: `CARLError.configuration` that names the key, what it got and what it wanted.
    public init(_ value: JSONValue, encoder: Configuration) throws {
        self.init()
        let encoder = encoder.viewSpecs.isEmpty ? try encoder.resolved() : encoder
        let reader = try Settings.read(value, into: self)
        guard classes != nil else {
            throw CARLError.configuration("\"classes\" is missing: the number of classes, 1 to \(1 << 20)")
        }
        if freezeEncoder, $learningRate.isGiven, learningRate != 0 {
            throw reader.error(
                "learning_rate", "0 or left out with \"freeze_encoder\": the linear layer's is \"head_learning_rate\"")
        }
        if freezeEncoder { $learningRate.setDefault(0) }
        if schedule == .cosine && totalSteps == nil {
            throw CARLError.configuration(
                "\"schedule\": \"cosine\" needs \"total_steps\", the number of steps until the learning rate is 0")
        }
        $precision.setDefault(encoder.precision)
        $precision.replaceValue(precision?.resolved)
        view = try viewChanges.applied(to: Self.standardView(encoder)).resolved(
            channels: encoder.inChannels, path: "view.")
        guard view.count == 1 else {
            throw reader.error("view", "a specification whose \"count\" is 1: a step sees each image once")
        }
        guard !encoder.encoder.isTransformer || view.size % encoder.patchSize == 0 else {
            throw reader.error("view", "of a \"size\" that is a multiple of \"patch_size\", \(encoder.patchSize)")
        }
        isResolved = true
    }

    /// A random crop and a flip, of the size and normalisation that the encoder was trained with.
    private static func standardView(_ encoder: Configuration) -> ViewSpec {
        let trained = encoder.viewSpecs[0]
        var standard = ViewSpec()
        standard.size = trained.size
        standard.interpolation = trained.interpolation
        (standard.mean, standard.std) = (trained.mean, trained.std)
        return standard
    }

    var classCount: Int { classes ?? 1 }

    /// Every key with the value in force; reading it back gives an equal configuration. Before an encoder is known, the
    /// keys that were set.
    public var json: JSONValue {
        guard isResolved else { return .object(JSONObject(Settings.given(of: self))) }
        var object = JSONObject(Settings.members(of: self))
        object["view"] = view.json
        return .object(object)
    }

    /// Keys that fix the tensors of a classifier: they cannot change when a file is read.
    static var structuralKeys: [String] { Settings.structural(of: ClassifierConfiguration()) }

    /// What both learning rates are multiplied with in a step, counted from 0.
    func rateFactor(step: Int) -> Double {
        Schedules.learningRate(
            step: step, base: 1, minimum: 0, warmup: warmupSteps, total: schedule == .constant ? nil : totalSteps)
    }

    public static func == (a: Self, b: Self) -> Bool { a.json == b.json }
}

/// Keys of a view specification that replace those of another.
public struct ViewChanges: SettingValue {
    /// Names and values as in the JSON of a `ViewSpec`; checked when a classifier's configuration is made of JSON.
    public var keys = JSONObject()

    /// No changes.
    public init() {}

    public static var kind: String { "view" }

    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> ViewChanges? {
        guard let value = reader.value(key) else { return nil }
        guard let object = value.object else {
            throw reader.error(
                key,
                """
                an object such as {\"scale\": [0.5, 1]}; what it leaves out is a crop and a flip as the encoder's \
                first view is normalised
                """
            )
        }
        var changes = ViewChanges()
        changes.keys = object
        return changes
    }

    public var json: JSONValue { .object(keys) }

    func applied(to spec: ViewSpec) throws -> ViewSpec {
        var members = spec.json.object ?? JSONObject()
        // The size of the kernel follows the size of the view.
        if keys["blur_kernel"] == nil { members["blur_kernel"] = nil }
        for (key, value) in keys.members { members[key] = value }
        return try ViewSpec(.object(members), path: "view.")
    }
}
