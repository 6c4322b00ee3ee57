/// The options of the objective (see `ConsistentAssignment`).
public struct AssignmentOptions: Equatable, Sendable {
    /// T: logits are similarities divided by it.
    public var temperature: Double = 1
    /// T of a teacher's targets; nil for the same.
    public var targetTemperature: Double?
    /// lambda: loss = consistency + priorWeight * prior.
    public var priorWeight: Double = 1
    /// Divide each embedding by its l2 norm.
    public var normalizeEmbedding = true
    /// Divide each prototype by its l2 norm.
    public var normalizePrototypes = true
    /// The target of a pair gets no gradient from it. Targets of a teacher never get one.
    public var stopGradient = true
    /// All ordered pairs of views; otherwise only (a, b) with a < b, b the target.
    public var symmetric = true
    /// How many of the first views may be targets; nil for all. Without a teacher only.
    public var targetViews: Int?
    /// The mean assignment of the prior includes the targets' probabilities, as in CARP's published code.
    public var priorOverTargets = false
    /// Prototypes in a block of the random partition, 1 ... K; 0 for one softmax over all.
    public var partitionSize = 0

    /// T = 1 and lambda = 1, embeddings and prototypes of unit length, one softmax over all prototypes.
    public init() {}

    /// Prototypes of one softmax: of a block, or all.
    static func softmaxSize(_ prototypes: Int, partitionSize: Int) -> Int {
        partitionSize > 0 ? partitionSize : prototypes
    }
}

/// What the objective comes to, in nats, and what its assignments look like.
public struct AssignmentResult: Equatable, Sendable {
    /// consistency + lambda * prior.
    public var loss = 0.0
    /// Mean over pairs of views, images and blocks of -log sum_k p_a p_b.
    public var consistency = 0.0
    /// KL(mean p || uniform), mean over blocks: 0 where the mean is even, log K (log block) where it is one prototype.
    public var prior = 0.0
    /// exp(H(pbar)): how many prototypes the mean assignment is spread over, 1 ... K. With partitions H is the mean
    /// over blocks, and the value is 1 ... block.
    public var effectivePrototypes = 0.0
    /// Mean over images and views (and blocks) of the largest probability.
    public var maxProbability = 0.0
    /// Share of (image, pair of views, block) whose most probable prototypes are the same.
    public var agreement = 0.0
    /// Mean over dimensions of the standard deviation of the unit-length embedding; about 1 / sqrt(D) when it fills the
    /// sphere.
    public var embeddingStd = 0.0
}
