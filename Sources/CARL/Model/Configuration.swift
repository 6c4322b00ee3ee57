/// Everything that decides a training run: one struct here, one dataclass in Python, one JSON object in C and in
/// checkpoints.
///
/// A key is declared once, by the property that holds it (see `Setting`). Values that are not given follow from others
/// when the configuration is `resolved`, as `ConfigurationDefaults.swift` says; a trainer resolves what it is given.
/// One file holds all keys, however many there are.
public struct Configuration: Equatable, Sendable {
    // MARK: Encoder

    @Setting(
        "encoder", .encoder, structural: true, standard: "`\"resnet18\"` (`\"carp\"`: `\"resnet50\"`)",
        doc: "the network")
    public var encoder = EncoderKind.resnet18
    @Setting(
        "stem", .encoder, structural: true, standard: "by the size of the views: `\"small\"` below 64 pixels",
        doc:
            """
            `\"small\"`: a 3x3 convolution of stride 1 without pooling; `\"imagenet\"`: a 7x7 convolution of stride \
            2 and max-pooling
            """
    )
    public var stem = EncoderStem.small
    @Setting(
        "width", .encoder, in: 0...16, above: true, structural: true,
        doc: "factor on the numbers of channels, a multiple of 1/64")
    public var width = 1.0
    @Setting("in_channels", .encoder, in: 1...1024, structural: true, doc: "channels of the images")
    public var inChannels = 3
    @Setting(
        "zero_init_residual", .encoder,
        doc: "the last BatchNorm scale of each residual block starts at 0, so that the block starts as the identity")
    public var zeroInitResidual = true

    @Setting(
        "patch_size", .encoder, in: 1...64, structural: true,
        doc: "pixels of a patch's side, of vision transformers; views' sizes are multiples of it")
    public var patchSize = 16
    @Setting(
        "position_grid", .encoder, in: 1...256, structural: true, standard: "`view_size` / `patch_size`",
        doc:
            """
            side of the grid of patches whose positions are learnt, of vision transformers; they are resampled for \
            views of other sizes (bicubic, antialiased)
            """)
    public var positionGrid = 14
    @Setting("registers", .encoder, in: 0...64, structural: true, doc: "register tokens, of vision transformers")
    public var registers = 0
    @Setting(
        "layer_scale", .encoder, in: 0...1e6, structural: true, standard: "no LayerScale",
        doc: "first value of LayerScale's factors, of vision transformers")
    public var layerScale: Double? = nil
    @Setting(
        "pool", .encoder, structural: true,
        doc:
            """
            what a vision transformer's features are: `\"class\"`, the class token; `\"mean\"`, the mean of the \
            patches' tokens; `\"class_mean\"`, both, one behind the other
            """)
    public var pool = TokenPool.class
    @Setting(
        "drop_path", .encoder, in: 0...0.9,
        doc:
            """
            stochastic depth of vision transformers: the share of images for which the last block's branches are left \
            out in training, rising linearly from 0 in the first block
            """)
    public var dropPath = 0.0
    @Setting(
        "train_encoder", .encoder, in: 1...1000,
        doc:
            """
            what of the encoder learns: `\"all\"`, `\"none\"`, or its last so many blocks and what follows them; the \
            rest stays as it is, its BatchNorms with their running statistics
            """
    )
    public var trainEncoder = TrainedLayers.all

    // MARK: Projection head

    @Setting(
        "projector", .head, in: 1...0x1p20, length: 1...16, structural: true,
        standard: "[512, 128] (`\"carp\"`: [2048, 2048, 256])",
        doc:
            """
            widths of the head's linear layers, BatchNorm and activation between them; the last one is the dimension \
            D of the embedding
            """
    )
    public var projector = [512, 128]
    @Setting(
        "projector_activation", .head, structural: true, standard: "`\"relu\"` (`\"carp\"`: `\"gelu\"`)",
        doc: "activation between the head's layers")
    public var projectorActivation = ActivationFunction.relu

    // MARK: Assignment

    @Setting(
        "objective", .assignment, doc: "what is minimised, and the defaults of other keys; keys that are given stand")
    public var objective = ObjectiveKind.contrast
    @Setting(
        "prototypes", .assignment, in: 1...0x1p24, structural: true,
        standard: "128 (`\"carl\"`: 300, `\"carp\"`: 65536)",
        doc: "their number, K")
    public var prototypes = 300
    @Setting(
        "partition_size", .assignment, in: 0...0x1p24, standard: "0 (`\"carp\"`: 512)",
        doc:
            """
            prototypes in a block of each step's random partition, at most K: softmax, consistency and prior are \
            taken inside each block and the loss is the mean over blocks; 0: one softmax over all
            """)
    public var partitionSize = 0
    @Setting(
        "temperature", .assignment, in: 0...1e6, above: true, standard: "0.1 (`\"carp\"`: 1)",
        doc: "T: logits are similarities divided by it; evaluation uses the last value")
    public var temperature: Ramp = 0.1
    @Setting(
        "teacher_temperature", .assignment, in: 0...1e6, above: true, standard: "`temperature`",
        doc: "T of the teacher's targets, for sharper ones; needs a teacher")
    public var teacherTemperature: Ramp? = nil
    @Setting(
        "normalize_embedding", .assignment, standard: "true (`\"carp\"`: false)",
        doc: "divide each embedding by its l2 norm, inside the step, with its gradient")
    public var normalizeEmbedding = true
    @Setting("normalize_prototypes", .assignment, doc: "divide each prototype by its l2 norm, likewise")
    public var normalizePrototypes = true
    @Setting(
        "prior_weight", .assignment, in: 0...1e6, standard: "by K: 2.5 for 128, 3.2 for 300 (`\"carp\"`: 1)",
        doc: "lambda, weight of the KL divergence between the mean assignment and the uniform one")
    public var priorWeight: Ramp = 1
    @Setting(
        "contrast_weight", .assignment, in: 0...1e6, standard: "4 (`\"carl\"`, `\"carp\"`: 0)",
        doc:
            """
            weight of the contrast between the images of a step (NT-Xent, arXiv 2002.05709, over all views) beside \
            the prototypes
            """
    )
    public var contrastWeight: Ramp = 0
    @Setting("contrast_temperature", .assignment, in: 0...1e6, above: true, doc: "divides that contrast's similarities")
    public var contrastTemperature = 0.1
    @Setting("stop_gradient", .assignment, doc: "the target of a pair of views gets no gradient from it")
    public var stopGradient = true
    @Setting(
        "symmetric", .assignment,
        doc:
            """
            every ordered pair of views counts; false: only pairs whose target comes later, so that views smaller than \
            the first, which are no targets, have none
            """)
    public var symmetric = true
    @Setting(
        "teacher_momentum", .assignment, in: 0...1, standard: "0 (`\"carp\"`: 0.99)",
        doc:
            """
            EMA decay of a teacher (encoder, head, prototypes) that gives the targets, going to 1 along half a \
            cosine over `total_steps`, or linearly with a trapezoid's decay; 0: no teacher
            """)
    public var teacherMomentum = 0.0
    @Setting(
        "prior_over_targets", .assignment, standard: "false (`\"carp\"`: true with a teacher)",
        doc: "the mean assignment of the prior includes the teacher's probabilities")
    public var priorOverTargets = false
    @Setting(
        "freeze_prototypes", .assignment, in: 0...0x7fff_ffff,
        doc: "updates in the first so many steps leave the prototypes as they are, weight decay included")
    public var freezePrototypes = 0
    @Setting(
        "used_window", .assignment, in: 1...1_000_000, doc: "steps over which used and dead prototypes are counted")
    public var usedWindow = 100

    // MARK: Optimization

    @Setting(
        "optimizer", .optimization, structural: true,
        doc:
            """
            `\"sgd\"` as torch's; `\"lars\"`, which neither scales nor decays biases, scales and shifts of \
            normalisation, LayerScale, tokens and positions; `\"adamw\"` with betas `momentum` and 0.999
            """)
    public var optimizer = OptimizerKind.lars
    @Setting(
        "learning_rate", .optimization, in: 0...1e6,
        standard: "by `optimizer` and `batch_size`: LARS 0.2 * `batch_size` / 128",
        doc: "the value used, at the end of the warm-up; the saved configuration has the number")
    public var learningRate = 0.2
    @Setting(
        "layer_decay", .optimization, in: 0...1, above: true,
        doc:
            """
            factor on the encoder's learning rate from each block to the one below it: the last block learns at this \
            share of `learning_rate`, what sees the image most slowly
            """
    )
    public var layerDecay = 1.0
    @Setting("momentum", .optimization, in: 0...0.999_999, doc: "of SGD and LARS; of AdamW the first beta")
    public var momentum = 0.9
    @Setting(
        "weight_decay", .optimization, in: 0...1e3,
        standard: "by `optimizer`: LARS 1e-5 (`\"carp\"`: 1e-6), SGD 5e-4, AdamW 0.01",
        doc: "added to the gradient times the weights (SGD, LARS), or applied to the weights apart (AdamW)")
    public var weightDecay: Ramp = 5e-4
    @Setting(
        "trust_coefficient", .optimization, in: 0...1e6, above: true, standard: "0.02 (`\"carp\"`: 0.001)",
        doc: "of LARS: the update of a tensor has this share of the tensor's own length, times the learning rate")
    public var trustCoefficient = 0.02
    @Setting(
        "schedule", .optimization,
        standard:
            """
            with `total_steps` `\"trapezoid\"` (`\"carl\"`, `\"carp\"`: `\"cosine\"`), without `\"constant\"`
            """,
        doc:
            """
            after the warm-up: `\"cosine\"` down to `min_learning_rate` at `total_steps`; `\"trapezoid\"`: constant, \
            then linearly down in the last `decay_steps`; `\"constant\"`
            """)
    public var schedule: Schedule? = nil
    @Setting(
        "warmup_steps", .optimization, in: 0...0x7fff_ffff,
        standard: "`total_steps` / 20",
        doc: "steps in which the learning rate rises linearly")
    public var warmupSteps = 0
    @Setting(
        "total_steps", .optimization, in: 1...0x7fff_ffff,
        doc: "steps of the schedule: calls of `step`, accumulating ones included")
    public var totalSteps: Int? = nil
    @Setting(
        "decay_steps", .optimization, in: 1...0x7fff_ffff, length: 1...64, standard: "a fifth of `total_steps`",
        doc:
            """
            of a trapezoid alone: the length of its decay; a list makes stages one behind the other, each of which \
            takes an equal share of the learning rate away
            """)
    public var decaySteps: IntegerOrIntegers = []
    @Setting("min_learning_rate", .optimization, in: 0...1e6, doc: "the learning rate at the end of the schedule")
    public var minimumLearningRate = 0.0
    @Setting(
        "clip_norm", .optimization, in: 0...1e12, above: true, standard: "no clipping",
        doc: "largest l2 norm of the gradient over all parameters")
    public var clipNorm: Double? = nil
    @Setting(
        "accumulate", .optimization, in: 1...1_000_000,
        doc: "steps whose gradients are averaged before the parameters change")
    public var accumulate = 1

    // MARK: Data

    @Setting(
        "view_size", .data, in: 1...4096, standard: "32 (`\"imagenet\"` stem: 224)",
        doc: "pixels of a preset's views; not with a list of specifications")
    public var viewSize = 32
    @Setting(
        "views", .data, standard: "`\"auto\"` (`\"carp\"`: `\"multicrop\"`)",
        doc: "a preset's name, or a list of view specifications")
    public var views = ViewSelection.preset("auto")
    @Setting(
        "early_view_size", .data, in: 1...4096,
        standard:
            "5/8 of the size for a ResNet with `\"carl-contrast\"` where `total_steps` is given; else no smaller views",
        doc:
            """
            pixels of the first specification's views in the first `early_steps`, at most its `size`; those of the \
            other specifications and the blur become smaller in proportion (progressive resolution, arXiv 2104.00298)
            """)
    public var earlyViewSize: Int? = nil
    @Setting(
        "early_steps", .data, in: 0...0x7fff_ffff, standard: "0.7 of `total_steps`",
        doc: "steps with views of `early_view_size`; 0: none")
    public var earlySteps: Int? = nil
    @Setting(
        "mean", .data, in: -1e6...1e6, length: 1...1024, standard: "ImageNet's for 3 channels, else [0.5]",
        doc:
            """
            of all views that give none of their own: subtracted from values scaled to 0 ... 1, one number or one a \
            channel
            """
    )
    public var mean: [Float]? = nil
    @Setting(
        "std", .data, in: 1e-6...1e6, length: 1...1024, standard: "ImageNet's for 3 channels, else [0.25]",
        doc: "of all views that give none of their own: what the difference is divided by")
    public var std: [Float]? = nil
    @Setting(
        "evaluation_crop", .data, in: 0.05...1,
        doc:
            """
            embedding images of bytes: the shorter side is resized to the size divided by this, and the centre crop \
            takes the size; 0.875 is 224 of 256 pixels
            """
    )
    public var evaluationCrop = 1.0
    @Setting(
        "evaluation_interpolation", .data,
        doc: "embedding images of bytes: how they are resized; antialiased either way")
    public var evaluationInterpolation = ViewSpec.Interpolation.bilinear
    @Setting(
        "recompute", .data,
        doc:
            """
            compute one view's activations at a time again for its gradient instead of keeping those of all views: \
            less memory, more time
            """
    )
    public var recompute = false
    @Setting(
        "precision", .data,
        doc:
            """
            what operands of products are rounded to, in layers where it is faster, and what feature maps of ResNets \
            are kept as between layers; sums, weights, statistics, loss and optimizer are float32 with each. \
            `\"bf16\"`: bfloat16, an error on a processor without its dot product (AVX512_BF16); \
            `\"auto\"`: `\"bf16\"` where the processor has that, else `\"float32\"`; \
            `\"bf16-emulated\"`: the roundings of `\"bf16\"` on any processor, slower than `\"float32\"`
            """)
    public var precision = Precision.float32
    @Setting("batch_size", .data, in: 2...1_000_000, doc: "images of a step, for loops over data such as `CARL.fit`")
    public var batchSize = 128
    @Setting(
        "epochs", .data, in: 1...1_000_000,
        doc: "passes over the images, for the same; `total_steps` ends a run before them if it comes first")
    public var epochs = 100
    @Setting("seed", .data, in: 0...0x1p53 - 1, doc: "of initial weights, views, partitions and orders")
    public var seed: UInt64 = 0
    @Setting(
        "threads", .data, in: 0...1024, standard: "`CARL_NUM_THREADS`, else all processors this process may use",
        doc: "threads of the computation; 0 is the default")
    public var threads = 0

    // MARK: What follows

    /// The views' specifications, of a configuration that is resolved.
    public internal(set) var viewSpecs: [ViewSpec] = []
    /// Those of the first `earlySteps`; empty where all steps have the same.
    public internal(set) var earlyViewSpecs: [ViewSpec] = []

    /// How the learning rate goes on after the warm-up, see `schedule`.
    public enum Schedule: String, SettingChoice { case cosine, constant, trapezoid }

    /// All keys at their defaults, to be changed before it is `resolved`.
    public init() {}

    /// - Throws: `CARLError.configuration` that names the key, what it got and what it wanted.
    public init(json: String) throws { try self.init(JSONValue.parse(json)) }

    /// The keys of a JSON object, resolved.
    public init(_ value: JSONValue) throws {
        self.init()
        _ = try Settings.read(value, into: self)
        self = try resolved()
    }

    /// Every key with the value in force; reading it back gives an equal configuration, once it is resolved.
    public var json: JSONValue {
        var object = JSONObject(Settings.members(of: self))
        // A list of specifications says the size itself.
        if case .specifications = views { object["view_size"] = nil }
        return .object(object)
    }

    /// The names of all keys.
    public static var keys: [String] { Settings.all(of: Configuration()).map(\.key.name) }

    /// Keys that fix the tensors of a model: they cannot change when a checkpoint is read.
    static var structuralKeys: [String] { Settings.structural(of: Configuration()) }
}

extension Configuration: CustomStringConvertible {
    /// The keys and their values as JSON.
    public var description: String { json.serialized() }
}

extension Precision: SettingChoice {}
