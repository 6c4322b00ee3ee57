/// The objective of CARL (Silva and Adin Ramirez Rivera, arXiv 2112.15421) and of CARP (arXiv 2310.12692).
///
/// Views x1 ... xV of B images have embeddings z (B, D). With prototypes c (K, D) and temperature T the assignments are
/// p = softmax(z c^T / T). The consistency of an ordered pair of views is the mean over images of -log sum_k p_a p_b;
/// the prior is KL(mean p || uniform); loss = consistency + lambda * prior. All in log space: no probability is
/// clamped, so that views which disagree completely still get a gradient. With a partition, softmax and both terms are
/// taken inside each block of prototypes, and the loss is the mean over blocks.
///
/// - Complexity: O(V B K D) time. Memory beside inputs and gradients: for each thread O(V B (block + D) + block D),
///   where a block is one of the partition, or `StreamedAssignment.tile` prototypes of one long softmax; a short
///   softmax is one block by itself.
public struct ConsistentAssignment {
    /// Embeddings and where their gradients go. All pointers are to dense row-major matrices.
    public struct Inputs {
        /// V pointers to (B, D).
        public var embeddings: [UnsafePointer<Float>]
        /// A teacher's embeddings of the first views, or empty.
        public var targets: [UnsafePointer<Float>] = []
        /// B, at least 1.
        public var batch: Int
        /// D, 1 ... 2^24.
        public var dimension: Int
        /// (K, D), before normalisation.
        public var prototypes: UnsafePointer<Float>
        /// (K, D) of the teacher, before normalisation, for the targets' assignments; nil: `prototypes`.
        public var targetPrototypes: UnsafePointer<Float>?
        /// K, 1 ... 2^31 - 1.
        public var prototypeCount: Int
        /// V pointers to (B, D), overwritten; empty for none.
        public var embeddingGradients: [FloatPointer] = []
        /// (K, D), added to.
        public var prototypeGradient: FloatPointer?
        /// Blocks of prototypes, of `options.partitionSize`; nil for one softmax over all.
        public var partition: RandomPartition?
        /// K counters: added to for the most probable prototype of every student row (in every block).
        public var votes: UnsafeMutablePointer<UInt32>?

        /// Without targets, partition and gradients, which are set afterwards. Nothing is copied: what pointers lead to
        /// must stay until `evaluate` returns.
        public init(
            embeddings: [UnsafePointer<Float>], batch: Int, dimension: Int, prototypes: UnsafePointer<Float>,
            prototypeCount: Int
        ) {
            self.embeddings = embeddings
            self.batch = batch
            self.dimension = dimension
            self.prototypes = prototypes
            self.prototypeCount = prototypeCount
        }
    }

    /// Checked by `evaluate`, together with its inputs.
    public let options: AssignmentOptions
    let compute: Compute

    /// `compute` gives threads and scratch memory; it may serve no other call during `evaluate`.
    public init(_ options: AssignmentOptions, _ compute: Compute) {
        self.options = options
        self.compute = compute
    }

    /// Whether there is anything to be consistent with.
    public static func hasPairs(views: Int, targets: Int, options: AssignmentOptions) -> Bool {
        (1...Inputs.mostViews).contains(views) && (0...Inputs.mostViews).contains(targets)
            && AssignmentPairs(views: views, targets: targets, options: options).count > 0
    }

    /// One softmax over all prototypes whose logits (rows times K) are no more than this, 8 MB, is computed in one
    /// piece; more are streamed. Streaming multiplies five times where one piece takes three, but what it works on
    /// stays in cache: with 512 rows and D = 256 one piece is a quarter faster at this size, a tenth at twice of it,
    /// and takes memory in proportion.
    static let wholeLimit = 1 << 21

    /// Computes the objective, its diagnostics, and the gradients that `inputs` has room for.
    ///
    /// - Throws: `CARLError.invalidArgument` for counts, numbers of pointers or options that cannot be.
    public func evaluate(_ inputs: Inputs) throws -> AssignmentResult {
        try inputs.check(options)
        guard Self.hasPairs(views: inputs.embeddings.count, targets: inputs.targets.count, options: options) else {
            throw CARLError.invalidArgument(
                """
                views: \(inputs.embeddings.count) view(s) and \(inputs.targets.count) target(s) make no pair of \
                different views\(options.symmetric ? "" : " with \"symmetric\" false, where targets come later")
                """)
        }
        return try evaluate(inputs, wholeLimit: Self.wholeLimit)
    }

    func evaluate(_ inputs: Inputs, wholeLimit: Int) throws -> AssignmentResult {
        let workspace = compute.workspace
        let (views, batch, d, k) = (inputs.embeddings.count, inputs.batch, inputs.dimension, inputs.prototypeCount)
        let students = try EmbeddingRows(inputs.embeddings, batch, d, normalize: options.normalizeEmbedding, compute)
        defer { students.release(workspace) }
        let targets = try EmbeddingRows(inputs.targets, batch, d, normalize: options.normalizeEmbedding, compute)
        defer { targets.release(workspace) }
        // Logits are divided by one temperature; targets with another have it in their length.
        if let temperature = options.targetTemperature {
            targets.scale(by: Float(options.temperature / temperature), d)
        }
        let problem = AssignmentProblem(
            options: options, inputs: inputs,
            pairs: AssignmentPairs(views: views, targets: inputs.targets.count, options: options),
            students: students.values.base, targets: inputs.targets.isEmpty ? nil : UnsafePointer(targets.values.base),
            blocks: inputs.partition?.blocks ?? 1)

        // Where workers add up the gradients of the embeddings.
        let gradients = inputs.embeddingGradients.isEmpty ? nil : try workspace.take(problem.studentRows * d)
        defer { if let gradients { workspace.give(gradients) } }
        gradients?.fill(0)

        var totals: AssignmentTotals
        if let partition = inputs.partition {
            totals = try PartitionedAssignment(problem, compute).evaluate(partition, embeddings: gradients?.base)
        } else if problem.rows * k <= wholeLimit || k <= StreamedAssignment.tile {
            totals = try PartitionedAssignment(problem, compute).evaluateWhole(embeddings: gradients?.base)
        } else {
            totals = try StreamedAssignment(problem, compute).evaluate(embeddings: gradients?.base)
        }

        if let gradients {
            for (view, target) in inputs.embeddingGradients.enumerated() {
                target.update(from: gradients.base + view * batch * d, count: batch * d)
                if let inverses = students.inverses {
                    UnitLength.backward(
                        students.values.base + view * batch * d, inverses.base + view * batch, batch, d, target, compute
                    )
                }
            }
        }
        var result = AssignmentResult()
        let blocks = Double(problem.blocks)
        let comparisons = Double(max(problem.pairs.count, 1) * batch) * blocks
        result.consistency = totals.consistency / comparisons
        result.prior = totals.prior / blocks
        result.loss = result.consistency + options.priorWeight * result.prior
        result.effectivePrototypes = exponential(totals.entropy / blocks)
        result.maxProbability = totals.maxProbability / (Double(problem.studentRows) * blocks)
        result.agreement = Double(totals.agreeing) / comparisons
        result.embeddingStd = try students.deviation(d)
        return result
    }

    /// logits (rows, K) = z c^T / T, of embeddings and prototypes before normalisation.
    func logits(
        _ z: UnsafePointer<Float>, _ rows: Int, _ prototypes: UnsafePointer<Float>, _ k: Int, _ d: Int,
        into out: FloatPointer
    ) throws {
        let embedding = try EmbeddingRows([z], rows, d, normalize: options.normalizeEmbedding, compute)
        defer { embedding.release(compute.workspace) }
        let anchors = try EmbeddingRows([prototypes], k, d, normalize: options.normalizePrototypes, compute)
        defer { anchors.release(compute.workspace) }
        compute.multiply(
            rows, k, d, embedding.values.base, d, anchors.values.base, d, transposeB: true, out, k,
            alpha: Float(1 / options.temperature))
    }
}
