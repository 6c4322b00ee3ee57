// Values of keys that were not given, where they follow from others, and the checks across keys.

extension Configuration {
    /// This configuration with every value in force: defaults of the objective and those that follow from other keys,
    /// views as specifications. Resolving twice changes nothing.
    ///
    /// - Throws: `CARLError.configuration` for keys that do not go together, or are out of range by themselves.
    public func resolved() throws -> Configuration {
        // Through JSON, values that were set in Swift pass the checks of single keys too.
        var result = Configuration()
        _ = try Settings.read(.object(JSONObject(Settings.given(of: self))), into: result)
        result.objective.setDefaults(of: &result)
        result.$precision.replaceValue(result.precision.resolved)
        try result.resolveEncoder()
        try result.resolveViews()
        try result.resolveEarlyViews()
        try result.resolveAssignment()
        try result.resolveOptimization()
        return result
    }

    private func refusal(_ key: String, _ wanted: String, _ got: JSONValue) -> CARLError {
        .configuration("\"\(key)\" must be \(wanted), got \(got.serialized())")
    }

    private mutating func resolveEncoder() throws {
        let base = 64 * width
        guard abs(base - base.rounded()) < 1e-9, base >= 1 else {
            throw refusal(
                "width", "a multiple of 1/64: 64 times it is the number of channels of the first layer", width.json)
        }
        if recompute && dropPath > 0 {
            throw refusal(
                "recompute", "false when \"drop_path\" is above 0: the first pass must be the one computed again",
                .bool(true))
        }
        if encoder.isTransformer && width != 1 {
            throw refusal("width", "1 for vision transformers: the encoder's name says its width", width.json)
        }
        guard !encoder.isTransformer else { return }
        for (key, standard) in Self.transformerKeys {
            if let value = json[key], value != standard {
                throw refusal(key, "left out for ResNets: vision transformers alone have it", value)
            }
        }
    }

    private mutating func resolveViews() throws {
        switch views {
        case .preset:
            if encoder.isTransformer {
                $viewSize.setDefault(14 * patchSize)
            } else if $stem.isGiven {
                $viewSize.setDefault(stem == .imagenet ? 224 : 32)
            }
        case .specifications(let specs):
            if $viewSize.isGiven {
                throw refusal(
                    "view_size", "left out when \"views\" is a list: each specification has its own \"size\"",
                    viewSize.json)
            }
            $viewSize.setDefault(specs.first?.size ?? viewSize)
        }
        viewSpecs = try views.resolved(size: viewSize, channels: inChannels, mean: mean, std: std)
        if case .specifications = views { $views.replaceValue(.specifications(viewSpecs)) }
        $stem.setDefault(viewSize < 64 ? .small : .imagenet)
        if encoder.isTransformer {
            roundPresetToPatches()
            for spec in viewSpecs where spec.size % patchSize != 0 {
                throw refusal(
                    "views", "of sizes that are multiples of \"patch_size\", \(patchSize)", .number(Double(spec.size)))
            }
            $positionGrid.setDefault((viewSpecs.first?.size ?? viewSize) / patchSize)
        }
        let count = viewSpecs.reduce(0) { $0 + $1.count }
        guard (2...64).contains(count) else {
            throw refusal(
                "views", "a preset or a list that makes 2 to 64 views of an image (it makes \(count))", views.json)
        }
    }

    /// The smaller views of a preset are multiples of 8 pixels: with other patches they become the nearest whole number
    /// of patches, and the preset the list of its specifications, which says so wherever views are made.
    private mutating func roundPresetToPatches() {
        guard case .preset = views, viewSize % patchSize == 0, viewSpecs.contains(where: { $0.size % patchSize != 0 })
        else { return }
        for index in viewSpecs.indices where viewSpecs[index].size % patchSize != 0 {
            let patches = (Double(viewSpecs[index].size) / Double(patchSize)).rounded()
            viewSpecs[index].size = max(1, Int(patches)) * patchSize
        }
        views = .specifications(viewSpecs)
        $viewSize.withdraw()
    }

    private mutating func resolveEarlyViews() throws {
        let size = viewSpecs.first?.size ?? viewSize
        if let small = standardEarlyViewSize(of: size) { $earlyViewSize.setDefault(small) }
        guard let earlyViewSize else {
            if let earlySteps, earlySteps > 0 {
                throw refusal(
                    "early_steps",
                    "0, or \"early_view_size\" given: there is no standard size for this encoder, objective and views",
                    earlySteps.json)
            }
            // Written down, so that a run which goes on with other keys does not begin with small views then.
            $earlySteps.setDefault(0)
            return
        }
        guard earlyViewSize <= size else {
            throw refusal(
                "early_view_size", "at most the size of the first specification's views, \(size)", earlyViewSize.json)
        }
        if trainEncoder == .none {
            throw refusal(
                "early_view_size", "left out when \"train_encoder\" is \"none\": a frozen encoder sees one size",
                earlyViewSize.json)
        }
        let multiple = encoder.isTransformer ? patchSize : 1
        guard earlyViewSize % multiple == 0 else {
            throw refusal("early_view_size", "a multiple of \"patch_size\", \(patchSize)", earlyViewSize.json)
        }
        if let totalSteps {
            $earlySteps.setDefault(Int(Double(totalSteps) * Self.earlyShare))
        } else if earlySteps == nil {
            throw CARLError.configuration(
                """
                \"early_view_size\" needs \"early_steps\" or \"total_steps\": how many steps have small views cannot \
                be told without
                """)
        }
        earlyViewSpecs = viewSpecs.map { $0.scaled(by: Double(earlyViewSize) / Double(size), multiple: multiple) }
    }

    /// The size of the first views where none is given: five eighths, whole tiles of the convolutions. nil where small
    /// views were not measured to help (docs/results.md), where their number of steps is unknown, and where the views
    /// are small already.
    private func standardEarlyViewSize(of size: Int) -> Int? {
        guard objective == .contrast, !encoder.isTransformer, trainEncoder == .all,
            earlySteps.map({ $0 > 0 }) ?? (totalSteps != nil)
        else { return nil }
        let small = max(Self.leastEarlySize, (5 * size + 31) / 32 * 4)
        return 4 * small <= 3 * size ? small : nil
    }

    /// Of the steps, the share with small views.
    private static let earlyShare = 0.7
    /// Pixels below which small views show too little.
    private static let leastEarlySize = 20

    private mutating func resolveAssignment() throws {
        if $partitionSize.isGiven {
            guard partitionSize <= prototypes else {
                throw refusal(
                    "partition_size", "a whole number from 0 to \"prototypes\", \(prototypes)", partitionSize.json)
            }
        } else {
            $partitionSize.setDefault(min(partitionSize, prototypes))
        }
        $priorOverTargets.setDefault(priorOverTargets && teacherMomentum > 0)
        if priorOverTargets && teacherMomentum == 0 {
            throw refusal(
                "prior_over_targets",
                "false unless \"teacher_momentum\" is above 0: without a teacher the targets are the views themselves",
                .bool(true))
        }
        if let teacherTemperature, teacherMomentum == 0 {
            throw refusal(
                "teacher_temperature", "left out unless \"teacher_momentum\" is above 0: there is no teacher",
                teacherTemperature.json)
        }
        if objective != .carp { $priorWeight.setDefault(Ramp(standardPriorWeight)) }
    }

    private mutating func resolveOptimization() throws {
        let standard = objective.rates
        // The learning rate follows the batch size: in proportion for SGD (Goyal et al., arXiv 1706.02677) and LARS, by
        // the square root for AdamW (Malladi et al., arXiv 2205.10287). 128 images are what the rates were measured
        // with.
        let batches = Double(batchSize) / 128
        switch optimizer {
        case .sgd:
            $learningRate.setDefault(standard.sgd * min(batches, 4))
            $weightDecay.setDefault(5e-4)
        case .lars:
            $learningRate.setDefault(standard.lars * batches)
            $weightDecay.setDefault(Ramp(standard.larsWeightDecay))
        case .adamw:
            $learningRate.setDefault(2e-3 * min(batches, 16).squareRoot())
            $weightDecay.setDefault(0.01)
        }
        $warmupSteps.setDefault((totalSteps ?? 0) / Self.warmupShare)
        if totalSteps != nil && schedule == nil { $schedule.setDefault(objective.schedule) }
        if schedule == .cosine && totalSteps == nil {
            throw CARLError.configuration(
                """
                \"schedule\": \"cosine\" needs \"total_steps\", the number of steps until the learning rate is at \
                its minimum
                """
            )
        }
        guard minimumLearningRate <= learningRate else {
            throw refusal(
                "min_learning_rate", "at most \"learning_rate\", \(learningRate)", .number(minimumLearningRate))
        }
        guard !decaySteps.values.isEmpty else { return }
        guard schedule == .trapezoid, let totalSteps else {
            throw refusal(
                "decay_steps", "left out unless \"schedule\" is \"trapezoid\" and \"total_steps\" is given",
                decaySteps.json)
        }
        guard decaySteps.values.reduce(0, +) <= totalSteps else {
            throw refusal("decay_steps", "at most \"total_steps\", \(totalSteps), in all", decaySteps.json)
        }
    }

    /// Of the steps, one in so many is of the warm-up.
    private static let warmupShare = 20

    /// A tenth above the weight from which on no assignment that all images share is better than the uniform one,
    /// rounded up to tenths.
    private var standardPriorWeight: Double {
        (11 * UniformPrior.sufficientWeight(softmaxSize, detached: stopGradient || teacherMomentum > 0)).rounded(.up)
            / 10
    }

    private var softmaxSize: Int { AssignmentOptions.softmaxSize(prototypes, partitionSize: partitionSize) }

    /// What acted before there was a key for it, or another default.
    private static func valuesBefore(_ saved: JSONObject) -> [(String, JSONValue)] {
        var values: [(String, JSONValue)] = [
            ("objective", .string("carl")), ("trust_coefficient", .number(0.001)), ("contrast_weight", .number(0)),
            ("early_steps", .number(0)),
        ]
        if saved["objective"] == .string(ObjectiveKind.contrast.rawValue), saved["total_steps"]?.number != nil {
            values.append(("schedule", .string(Schedule.cosine.rawValue)))
        }
        return values
    }

    /// A configuration as `json` gives it, of this or an earlier version: keys that were not there yet have the value
    /// that stood for them.
    init(saved json: String) throws {
        guard let saved = try JSONValue.parse(json).object else {
            throw CARLError.configuration("the saved configuration is not a JSON object")
        }
        let missing = Self.valuesBefore(saved).filter { saved[$0.0] == nil || saved[$0.0] == .null }
        var values = JSONObject(saved.members.map { ($0.key, $0.value) } + missing)
        // What had no effect before it was refused.
        if saved["encoder"]?.string?.hasPrefix("resnet") == true {
            for (key, _) in Self.transformerKeys { values[key] = nil }
        }
        try self.init(.object(values))
    }

    /// Keys that vision transformers alone have, with what they are for others.
    private static let transformerKeys: [(String, JSONValue)] = [
        ("patch_size", 16), ("position_grid", 14), ("registers", 0), ("drop_path", 0), ("pool", TokenPool.class.json),
        ("layer_scale", .null),
    ]

    /// A specification without the mean and deviation that are to change, unless they are its own: a resolved one has
    /// those of all views too.
    private func withdrawing(_ spec: ViewSpec, for changed: JSONObject) -> JSONValue {
        var object = spec.json.object ?? JSONObject()
        let standard = ViewSpec.statistics(inChannels)
        if changed["mean"] != nil, spec.mean == mean ?? standard.mean { object["mean"] = nil }
        if changed["std"] != nil, spec.std == std ?? standard.std { object["std"] = nil }
        return .object(object)
    }

    /// This configuration with some keys changed; null takes a key's default.
    public func overriding(_ changes: JSONValue) throws -> Configuration {
        guard let changed = changes.object else {
            throw CARLError.configuration("overrides must be a JSON object, got \(changes.kind)")
        }
        if let name = changed["objective"], name != .null, name != .string(objective.rawValue) {
            throw CARLError.configuration(
                """
                \"objective\" cannot be changed from \"\(objective.rawValue)\": it is a name for the values of other \
                keys; change those
                """
            )
        }
        var members = (json.object ?? JSONObject()).members.filter { changed[$0.key] == nil }.map { ($0.key, $0.value) }
        members += changed.members.map { ($0.key, $0.value) }
        if changed["views"] == nil, case .specifications(let specs) = views {
            let views = specs.map { withdrawing($0, for: changed) }
            members = members.map { $0.0 == "views" ? ($0.0, .array(views)) : $0 }
        }
        return try Configuration(.object(JSONObject(members)))
    }
}
