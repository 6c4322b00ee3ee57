/// Everything that decides a training run. One struct here, one dataclass in Python, one JSON object in C and in checkpoints.
public struct Configuration: Equatable, Sendable {
    // Encoder
    var encoder = ResNet.Variant.resnet18
    var stem = ResNet.Stem.small
    var width = 1.0
    var inChannels = 3
    var zeroInitResidual = true
    // Projection head; the last width is D
    var projector = [512, 128]
    var projectorActivation = ActivationFunction.relu
    // Assignment
    var objective = Objective.contrast
    var prototypes = 300
    /// Without temperature and prior weight, which change from step to step; evaluation uses the temperature's last value.
    var assignment = AssignmentOptions()
    var temperature = Ramp(0.1)
    var priorWeight = Ramp(1)
    /// Weight and temperature of the contrast between images (see `InstanceContrast`).
    var contrastWeight = Ramp(0)
    var contrastTemperature = 0.1
    var teacherMomentum = 0.0
    /// Steps at the beginning in which the prototypes stay as they are.
    var freezePrototypes = 0
    var usedWindow = 100
    // Optimization
    var optimizer = OptimizerKind.lars
    var learningRate = 0.2
    var momentum = 0.9
    var weightDecay = 5e-4
    /// LARS: factor on |w| / |g|.
    var trustCoefficient = 0.02
    var schedule: Schedule? = nil
    var warmupSteps = 0
    var totalSteps: Int? = nil
    /// Of a trapezoid: the lengths of the stages of its decay; empty for `standardDecay`.
    var decaySteps: [Int] = []
    var minimumLearningRate = 0.0
    var clipNorm: Double? = nil
    var accumulate = 1
    // Data
    var viewSize = 32
    var views: [ViewSpec] = []
    /// The preset `views` came from, nil for a list of specifications.
    var viewPreset: String? = "auto"
    /// Compute activations again for the gradient instead of keeping those of all views.
    var recompute = false
    var batchSize = 128
    var epochs = 100
    var seed: UInt64 = 0
    var threads = 0
    // Defaults of an objective that depend on other keys
    var standardViewSize = 32
    var larsLearningRate = 0.2
    var larsWeightDecay = 1e-5

    enum Schedule: String, CaseIterable, Sendable { case cosine, constant, trapezoid }

    /// Keys that fix the tensors of a model: they cannot change when a checkpoint is read.
    static let structuralKeys = [
        "encoder", "stem", "width", "in_channels", "projector", "projector_activation", "prototypes", "optimizer",
    ]

    public static let keys = [
        "encoder", "stem", "width", "in_channels", "zero_init_residual", "projector", "projector_activation", "prototypes",
        "objective", "partition_size", "contrast_weight", "contrast_temperature", "temperature", "normalize_embedding",
        "normalize_prototypes", "stop_gradient", "symmetric",
        "prior_over_targets", "teacher_momentum", "prior_weight", "freeze_prototypes", "used_window", "optimizer", "learning_rate", "momentum",
        "trust_coefficient", "weight_decay", "schedule", "warmup_steps", "total_steps", "decay_steps", "min_learning_rate", "clip_norm",
        "accumulate", "view_size",
        "views", "recompute", "batch_size", "epochs", "seed", "threads",
    ]

    /// - Throws: `CARLError.configuration` that names the key, what it got and what it wanted.
    public init(json: String) throws { try self.init(JSONValue.parse(json)) }

    /// A configuration as `json` gives it, of this or an earlier version: keys that were not there yet have the value that stood for them.
    init(saved json: String) throws {
        guard let saved = try JSONValue.parse(json).object else {
            throw CARLError.configuration("the saved configuration is not a JSON object")
        }
        let missing = Self.valuesBefore.filter { saved[$0.0] == nil }
        try self.init(.object(JSONObject(saved.members.map { ($0.key, $0.value) } + missing)))
    }

    /// What acted before there was a key for it.
    private static let valuesBefore: [(String, JSONValue)] = [
        ("objective", .string("carl")), ("trust_coefficient", .number(0.001)), ("contrast_weight", .number(0)),
    ]

    public init(_ value: JSONValue) throws {
        let reader = try ConfigurationReader(value, known: Self.keys)
        batchSize = try reader.integer("batch_size", Self.batchSizes) ?? batchSize
        preset(try reader.choice("objective") ?? objective)
        try readEncoder(reader)
        try readAssignment(reader)
        try readOptimization(reader)
        try readData(reader)
    }

    private mutating func readEncoder(_ reader: ConfigurationReader) throws {
        encoder = try reader.choice("encoder") ?? encoder
        width = try reader.number("width", 0...16, positive: true) ?? width
        let base = 64 * width
        guard abs(base - base.rounded()) < 1e-9, base >= 1 else {
            throw reader.error("width", "a multiple of 1/64: 64 times it is the number of channels of the first layer")
        }
        inChannels = try reader.integer("in_channels", 1...1024) ?? inChannels
        zeroInitResidual = try reader.bool("zero_init_residual", zeroInitResidual)
        if let widths = try reader.numbers("projector", count: 1...16, 1...Double(1 << 20)) {
            guard widths.allSatisfy({ $0 == $0.rounded() }) else { throw reader.error("projector", "a list of whole numbers") }
            projector = widths.map { Int($0) }
        }
        projectorActivation = try reader.choice("projector_activation") ?? projectorActivation
    }

    private mutating func readAssignment(_ reader: ConfigurationReader) throws {
        prototypes = try reader.integer("prototypes", 1...(1 << 24)) ?? prototypes
        let blocks = min(assignment.partitionSize, prototypes)
        assignment.partitionSize = try reader.integer("partition_size", 0...prototypes) ?? blocks
        temperature = try reader.ramp("temperature", positive: true) ?? temperature
        assignment.temperature = temperature.end
        assignment.normalizeEmbedding = try reader.bool("normalize_embedding", assignment.normalizeEmbedding)
        assignment.normalizePrototypes = try reader.bool("normalize_prototypes", assignment.normalizePrototypes)
        assignment.stopGradient = try reader.bool("stop_gradient", assignment.stopGradient)
        assignment.symmetric = try reader.bool("symmetric", assignment.symmetric)
        teacherMomentum = try reader.number("teacher_momentum", 0...1) ?? teacherMomentum
        assignment.priorOverTargets = try reader.bool("prior_over_targets", assignment.priorOverTargets && teacherMomentum > 0)
        if assignment.priorOverTargets && teacherMomentum == 0 {
            throw reader.error("prior_over_targets", "false unless \"teacher_momentum\" is above 0: without a teacher the targets are the views themselves")
        }
        priorWeight = try reader.ramp("prior_weight") ?? (objective == .carp ? priorWeight : Ramp(standardPriorWeight))
        contrastWeight = try reader.ramp("contrast_weight") ?? contrastWeight
        contrastTemperature = try reader.number("contrast_temperature", 0...1e6, positive: true) ?? contrastTemperature
        freezePrototypes = try reader.integer("freeze_prototypes", 0...Int(Int32.max)) ?? freezePrototypes
        usedWindow = try reader.integer("used_window", 1...1_000_000) ?? usedWindow
    }

    private mutating func readOptimization(_ reader: ConfigurationReader) throws {
        optimizer = try reader.choice("optimizer") ?? optimizer
        learningRate = try reader.number("learning_rate", 0...1e6) ?? standardLearningRate
        momentum = try reader.number("momentum", 0...0.999_999) ?? momentum
        weightDecay = try reader.number("weight_decay", 0...1e3) ?? standardWeightDecay
        trustCoefficient = try reader.number("trust_coefficient", 0...1e6, positive: true) ?? trustCoefficient
        schedule = try reader.choice("schedule")
        totalSteps = try reader.integer("total_steps", 1...Int(Int32.max))
        warmupSteps = try reader.integer("warmup_steps", 0...Int(Int32.max)) ?? standardWarmup
        if schedule == .cosine && totalSteps == nil {
            throw CARLError.configuration("\"schedule\": \"cosine\" needs \"total_steps\", the number of steps until the learning rate is at its minimum")
        }
        try readDecay(reader)
        minimumLearningRate = try reader.number("min_learning_rate", 0...1e6) ?? minimumLearningRate
        clipNorm = try reader.number("clip_norm", 0...1e12, positive: true)
        accumulate = try reader.integer("accumulate", 1...1_000_000) ?? accumulate
    }

    private mutating func readDecay(_ reader: ConfigurationReader) throws {
        guard let value = reader.value("decay_steps") else { return }
        let longest = Double(Int32.max)
        let stages =
            value.array == nil
            ? [try reader.number("decay_steps", 1...longest) ?? 1] : try reader.numbers("decay_steps", count: 1...64, 1...longest) ?? []
        guard stages.allSatisfy({ $0 == $0.rounded() }) else { throw reader.error("decay_steps", "a whole number, or a list of whole numbers") }
        guard schedule == .trapezoid, let totalSteps else {
            throw reader.error("decay_steps", "left out unless \"schedule\" is \"trapezoid\" and \"total_steps\" is given")
        }
        decaySteps = stages.map { Int($0) }
        guard decaySteps.reduce(0, +) <= totalSteps else {
            throw reader.error("decay_steps", "at most \"total_steps\", \(totalSteps), in all")
        }
    }

    /// A fifth of the steps, as far as warm-up leaves so many: with so short a decay a trapezoid comes close to a cosine (arXiv 2405.18392).
    private var standardDecay: [Int] {
        guard let totalSteps, totalSteps > warmupSteps else { return [] }
        return [min(max(1, totalSteps / 5), totalSteps - warmupSteps)]
    }

    private var decay: [Int] { decaySteps.isEmpty ? standardDecay : decaySteps }

    /// The learning rate follows the batch size: in proportion for SGD (Goyal et al., arXiv 1706.02677) and CARP's LARS, by the square root for
    /// AdamW (Malladi et al., arXiv 2205.10287). 128 images are what the rates were measured with.
    private var standardLearningRate: Double {
        let batches = Double(batchSize) / 128
        return switch optimizer {
        case .sgd: min(learningRate * batches, 4 * learningRate)
        case .lars: larsLearningRate * batches
        case .adamw: 2e-3 * min(batches, 16).squareRoot()
        }
    }

    /// The beginning of a trapezoid does not depend on its length.
    private var standardWarmup: Int { schedule == .trapezoid ? 0 : (totalSteps ?? 0) / Self.warmupShare }

    private var standardWeightDecay: Double {
        switch optimizer {
        case .sgd: weightDecay
        case .lars: larsWeightDecay
        case .adamw: 0.01
        }
    }

    /// A tenth above the weight from which on no assignment that all images share is better than the uniform one, rounded up to tenths.
    private var standardPriorWeight: Double {
        (11 * UniformPrior.sufficientWeight(softmaxSize, detached: assignment.stopGradient || teacherMomentum > 0)).rounded(.up) / 10
    }

    /// Of the steps, one in so many is of the warm-up.
    private static let warmupShare = 20

    private static let batchSizes = 2...1_000_000

    private mutating func readData(_ reader: ConfigurationReader) throws {
        let stemChoice: ResNet.Stem? = try reader.choice("stem")
        let sizeChoice = try reader.integer("view_size", 1...4096)
        let value = reader.value("views") ?? .string(viewPreset ?? "auto")
        if let preset = value.string {
            viewSize = sizeChoice ?? (stemChoice.map { $0 == .imagenet ? 224 : 32 } ?? standardViewSize)
            views = try ViewSpec.preset(preset, size: viewSize, channels: inChannels)
            viewPreset = preset
        } else {
            if sizeChoice != nil {
                throw reader.error("view_size", "left out when \"views\" is a list: each specification has its own \"size\"")
            }
            views = try ViewSpec.list(value, channels: inChannels)
            viewPreset = nil
            viewSize = views[0].size
        }
        stem = stemChoice ?? (viewSize < 64 ? .small : .imagenet)
        let count = views.reduce(0) { $0 + $1.count }
        guard (2...64).contains(count) else {
            throw reader.error("views", "a preset or a list that makes 2 to 64 views of an image (it makes \(count))")
        }
        recompute = try reader.bool("recompute", recompute)
        epochs = try reader.integer("epochs", 1...1_000_000) ?? epochs
        seed = UInt64(try reader.integer("seed", 0...(1 << 53)) ?? 0)
        threads = try reader.integer("threads", 0...1024) ?? threads
    }

    /// Every key with the value in force; reading it back gives an equal configuration.
    public var json: JSONValue {
        var members: [(String, JSONValue)] = [
            ("encoder", .string(encoder.rawValue)), ("stem", .string(stem.rawValue)), ("width", .number(width)),
            ("in_channels", .number(Double(inChannels))), ("zero_init_residual", .bool(zeroInitResidual)),
            ("projector", .array(projector.map { .number(Double($0)) })),
            ("projector_activation", .string(projectorActivation.rawValue)),
            ("prototypes", .number(Double(prototypes))), ("objective", .string(objective.rawValue)),
            ("partition_size", .number(Double(assignment.partitionSize))), ("temperature", temperature.json),
            ("normalize_embedding", .bool(assignment.normalizeEmbedding)),
            ("normalize_prototypes", .bool(assignment.normalizePrototypes)),
            ("stop_gradient", .bool(assignment.stopGradient)), ("symmetric", .bool(assignment.symmetric)),
            ("prior_over_targets", .bool(assignment.priorOverTargets)), ("teacher_momentum", .number(teacherMomentum)),
            ("contrast_weight", contrastWeight.json), ("contrast_temperature", .number(contrastTemperature)),
            ("prior_weight", priorWeight.json), ("freeze_prototypes", .number(Double(freezePrototypes))), ("used_window", .number(Double(usedWindow))),
            ("optimizer", .string(optimizer.rawValue)), ("learning_rate", .number(learningRate)),
            ("momentum", .number(momentum)), ("trust_coefficient", .number(trustCoefficient)), ("weight_decay", .number(weightDecay)),
            ("schedule", schedule.map { .string($0.rawValue) } ?? .null), ("warmup_steps", .number(Double(warmupSteps))),
            ("total_steps", totalSteps.map { .number(Double($0)) } ?? .null), ("decay_steps", decayJSON),
            ("min_learning_rate", .number(minimumLearningRate)), ("clip_norm", clipNorm.map { .number($0) } ?? .null),
            ("accumulate", .number(Double(accumulate))),
        ]
        if let viewPreset {
            members += [("view_size", .number(Double(viewSize))), ("views", .string(viewPreset))]
        } else {
            members += [("views", .array(views.map(\.json)))]
        }
        members += [
            ("recompute", .bool(recompute)), ("batch_size", .number(Double(batchSize))), ("epochs", .number(Double(epochs))), ("seed", .number(Double(seed))),
            ("threads", .number(Double(threads))),
        ]
        return .object(JSONObject(members))
    }

    private var decayJSON: JSONValue {
        guard decaySteps.count != 1 else { return .number(Double(decaySteps[0])) }
        return decaySteps.isEmpty ? .null : .array(decaySteps.map { .number(Double($0)) })
    }

    /// This configuration with some keys changed; null takes a key's default.
    public func overriding(_ changes: JSONValue) throws -> Configuration {
        guard let changed = changes.object else {
            throw CARLError.configuration("overrides must be a JSON object, got \(changes.kind)")
        }
        if let name = changed["objective"], name != .null, name != .string(objective.rawValue) {
            throw CARLError.configuration(
                "\"objective\" cannot be changed from \"\(objective.rawValue)\": it is a name for the values of other keys; change those")
        }
        var members = (json.object ?? JSONObject()).members.filter { changed[$0.key] == nil }.map { ($0.key, $0.value) }
        members += changed.members.map { ($0.key, $0.value) }
        return try Configuration(.object(JSONObject(members)))
    }

    /// - Throws: `CARLError.invalidArgument` naming the first image that has not the model's number of channels.
    func checkChannels(_ images: UnsafeBufferPointer<SourceImage>) throws {
        for (number, image) in images.enumerated() { try checkChannels(image, number) }
    }

    private func checkChannels(_ image: SourceImage, _ number: Int) throws {
        guard image.channels == inChannels else {
            throw CARLError.invalidArgument(
                "images[\(number)]: got \(image.channels) channels, the model takes \(inChannels) (\"in_channels\")")
        }
    }

    /// Calls `body` with the images of some numbers, checked likewise.
    func collect(
        _ numbers: Range<Int>, _ image: (_ number: Int) throws -> SourceImage, _ body: (UnsafeBufferPointer<SourceImage>) throws -> Void
    ) throws {
        try SourceImage.collect(numbers.count) { place in
            let number = numbers.lowerBound + place
            let result = try image(number)
            try checkChannels(result, number)
            return result
        } _: { try body($0) }
    }

    /// The learning rate of a step, counted from 0.
    func learningRate(step: Int) -> Double {
        if schedule == .trapezoid {
            return Schedules.trapezoid(
                step: step, base: learningRate, minimum: minimumLearningRate, warmup: warmupSteps, decay: decay, total: totalSteps)
        }
        return Schedules.learningRate(
            step: step, base: learningRate, minimum: minimumLearningRate, warmup: warmupSteps,
            total: schedule == .constant ? nil : totalSteps)
    }

    /// Prototypes of one softmax: of a block, or all.
    var softmaxSize: Int { assignment.partitionSize > 0 ? assignment.partitionSize : prototypes }

    /// Goes to 1 as the learning rate goes down: over all steps, or, of a trapezoid, over its decay.
    func teacherMomentum(step: Int) -> Double {
        if schedule == .trapezoid { return 1 - (1 - teacherMomentum) * Schedules.remainder(step: step, decay: decay, total: totalSteps) }
        return Schedules.teacherMomentum(step: step, base: teacherMomentum, total: totalSteps)
    }
}
