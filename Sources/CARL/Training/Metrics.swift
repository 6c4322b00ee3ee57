/// What a step reports.
public struct Metrics: Equatable, Sendable {
    public var step = 0
    public var result = AssignmentResult()
    public var priorWeight = 0.0
    public var contrastWeight = 0.0
    public var temperature = 0.0
    public var learningRate = 0.0
    public var teacherMomentum = 0.0
    /// log K (of a block, with partitions): what the loss terms come to in a collapsed run.
    public var logPrototypes = 0.0
    /// Prototypes that were somebody's most probable one within the last `used_window` steps.
    public var usedPrototypes = 0
    /// Prototypes that were nobody's most probable one within them; 0 until so many steps have been taken.
    public var deadPrototypes = 0
    /// exp of the entropy of the most probable prototypes' shares: over how many prototypes the images of the step are spread.
    public var assignedPrototypes = 0.0
    /// l2 norm of the gradient over all parameters, before clipping and weight decay.
    public var gradientNorm = 0.0
    public var seconds = 0.0
    /// Of these, spent making views.
    public var viewSeconds = 0.0
    public var viewsPerSecond = 0.0
    /// Bytes of activations, gradients of activations and scratch held by the trainer.
    public var memoryBytes = 0
    public var collapse = Collapse.none
    /// Whether the optimizer changed the parameters: false while gradients accumulate.
    public var updated = false

    public init() {}
}

/// The ways a run can stop learning.
public enum Collapse: Int32, Sendable {
    case none = 0
    /// All images are assigned to the same few prototypes: consistency near 0, prior near log K.
    case fewPrototypes = 1
    /// Every image is assigned to all prototypes alike: consistency near log K, prior near 0.
    case uniform = 2
    /// The embedding is the same for all images.
    case constantEmbedding = 3
    /// All images have the same assignment: one prototype, or a few, take a share of every image, and the rest is spread evenly. The loss
    /// allows it where the prior weight is small for the number of prototypes; the mean assignment does not show it, since what is spread
    /// evenly keeps its entropy high.
    case sharedPrototypes = 4
    /// The embedding fills a part of the sphere only: images differ less than they could.
    case shrunkenEmbedding = 5

    /// Images of a step from which on the last two can be told from chance.
    private static let fewest = 16

    /// What a step's numbers say. `dimension` is D, `count` the prototypes of one softmax, `images` those of the step.
    static func judge(_ result: AssignmentResult, assigned: Double, count: Int, dimension: Int, images: Int) -> Collapse {
        let filled = 1 / Double(dimension).squareRoot()
        if result.embeddingStd < 0.05 * filled { return .constantEmbedding }
        if count > 2 {
            if result.effectivePrototypes < 1.1 { return .fewPrototypes }
            if result.maxProbability < 1.05 / Double(count) { return .uniform }
        }
        guard images >= fewest else { return .none }
        if count > 2, assigned < 1 + 0.05 * Double(min(count, images)) { return .sharedPrototypes }
        return result.embeddingStd < 0.6 * filled ? .shrunkenEmbedding : .none
    }

    /// What was seen and what to try; nil for none.
    func advice(_ metrics: Metrics, count: Int, dimension: Int, steps: Int) -> String? {
        let (result, priorWeight) = (metrics.result, metrics.priorWeight)
        func brief(_ x: Double) -> String { "\((x * 1000).rounded() / 1000)" }
        let logK = brief(logarithm(Double(count)))
        switch self {
        case .none: return nil
        case .fewPrototypes:
            return
                "for \(steps) steps all images have been assigned to about one prototype (effective prototypes \(brief(result.effectivePrototypes)) of \(count), prior \(brief(result.prior)), log K = \(logK)). Try a larger \"prior_weight\" (now \(brief(priorWeight))), at least at the start, or a smaller \"learning_rate\""
        case .uniform:
            return
                "for \(steps) steps every image has been assigned to all \(count) prototypes alike (consistency \(brief(result.consistency)), log K = \(logK)). Try a smaller \"temperature\", a smaller \"prior_weight\" (now \(brief(priorWeight))), fewer \"prototypes\" or a larger \"learning_rate\""
        case .constantEmbedding:
            return
                "for \(steps) steps the embedding has been the same for all images (standard deviation \(brief(result.embeddingStd))). Try a smaller \"learning_rate\", a \"projector\" with a hidden layer, or views that change the images less"
        case .sharedPrototypes:
            return
                "for \(steps) steps all images have had much the same assignment (their most probable prototypes are spread over \(brief(metrics.assignedPrototypes)) of \(count), agreement of views \(brief(result.agreement)); the rest of each assignment is even, so effective prototypes \(brief(result.effectivePrototypes)) do not show it). Try a larger \"prior_weight\" (now \(brief(priorWeight)); \(count) prototypes want \(brief(UniformPrior.sufficientWeight(count))) or more), fewer \"prototypes\", a smaller \"learning_rate\" with \"warmup_steps\", or a \"contrast_weight\""
        case .shrunkenEmbedding:
            return
                "for \(steps) steps the embedding has been crowded into a part of the sphere (standard deviation \(brief(result.embeddingStd)), about \(brief(1 / Double(dimension).squareRoot())) fills it). Try a larger \"temperature\" (now \(brief(metrics.temperature))), a larger \"prior_weight\" (now \(brief(priorWeight))), a smaller \"learning_rate\" or a \"contrast_weight\""
        }
    }
}
