/// The objective of CARL (Silva and Adin Ramirez Rivera, arXiv 2112.15421), over one softmax of all K prototypes.
///
/// Views x1 ... xV of B images have embeddings z (B, D). With prototypes c (K, D) and temperature T the assignments are
/// p = softmax(z c^T / T). The consistency of an ordered pair of views is the mean over images of -log sum_k p_a p_b;
/// the prior is KL(mean p || uniform); loss = consistency + lambda * prior. All in log space: no probability is clamped, so
/// that views which disagree completely still get a gradient.
public struct ConsistentAssignment {
    /// Embeddings and where their gradients go. All pointers are to dense row-major matrices.
    public struct Inputs {
        /// V pointers to (B, D).
        public var embeddings: [UnsafePointer<Float>]
        /// A teacher's embeddings of the first views, or empty.
        public var targets: [UnsafePointer<Float>] = []
        public var batch: Int
        public var dimension: Int
        /// (K, D), before normalisation.
        public var prototypes: UnsafePointer<Float>
        public var targetPrototypes: UnsafePointer<Float>?
        public var prototypeCount: Int
        /// V pointers to (B, D), overwritten; empty for none.
        public var embeddingGradients: [FloatPointer] = []
        /// (K, D), added to.
        public var prototypeGradient: FloatPointer?

        public init(
            embeddings: [UnsafePointer<Float>], batch: Int, dimension: Int, prototypes: UnsafePointer<Float>, prototypeCount: Int
        ) {
            self.embeddings = embeddings
            self.batch = batch
            self.dimension = dimension
            self.prototypes = prototypes
            self.prototypeCount = prototypeCount
        }
    }

    public let options: AssignmentOptions
    let compute: Compute

    public init(_ options: AssignmentOptions, _ compute: Compute) {
        self.options = options
        self.compute = compute
    }

    /// Pairs (a, b) of a student view and a target.
    static func pairs(views: Int, targets: Int, options: AssignmentOptions) -> [(Int, Int)] {
        let candidates = targets > 0 ? targets : min(options.targetViews ?? views, views)
        var pairs: [(Int, Int)] = []
        for a in 0..<views {
            for b in 0..<candidates where a != b && (options.symmetric || a < b) { pairs.append((a, b)) }
        }
        return pairs
    }

    /// Whether there is anything to be consistent with.
    public static func hasPairs(views: Int, targets: Int, options: AssignmentOptions) -> Bool {
        !pairs(views: views, targets: targets, options: options).isEmpty
    }

    /// Embeddings or prototypes as the logits see them: normalised or as they are.
    struct Rows {
        let values: FloatBuffer
        /// 1 / norm of each row, nil when not normalised.
        let inverses: FloatBuffer?
        let count: Int

        func release(_ workspace: Workspace) {
            workspace.give(values)
            if let inverses { workspace.give(inverses) }
        }
    }

    func rows(_ sources: [UnsafePointer<Float>], _ countEach: Int, _ dimension: Int, normalize: Bool) throws -> Rows {
        let count = sources.count * countEach
        let values = try compute.workspace.take(count * dimension)
        let inverses = normalize ? try compute.workspace.take(count) : nil
        for (i, source) in sources.enumerated() {
            let target = values.base + i * countEach * dimension
            if let inverses {
                UnitLength.forward(
                    source, countEach, dimension, into: target, inverses: inverses.base + i * countEach, compute)
            } else {
                target.update(from: source, count: countEach * dimension)
            }
        }
        return Rows(values: values, inverses: inverses, count: count)
    }

    /// Computes the objective, its diagnostics, and the gradients that `inputs` has room for.
    ///
    /// - Parameter used: called with the most probable prototype of every row of student assignments.
    public func evaluate(_ inputs: Inputs, used: (Int) -> Void = { _ in }) throws -> AssignmentResult {
        let workspace = compute.workspace
        let (views, batch, d, k) = (inputs.embeddings.count, inputs.batch, inputs.dimension, inputs.prototypeCount)
        let pairs = Self.pairs(views: views, targets: inputs.targets.count, options: options)
        let students = try rows(inputs.embeddings, batch, d, normalize: options.normalizeEmbedding)
        defer { students.release(workspace) }
        let prototypes = try rows([inputs.prototypes], k, d, normalize: options.normalizePrototypes)
        defer { prototypes.release(workspace) }
        var result = AssignmentResult()
        result.embeddingStd = try embeddingStd(students, d)

        // Log-probabilities of the students' rows, then of the targets'.
        let targetRows = inputs.targets.count * batch
        let studentRows = views * batch
        let logits = try workspace.take((studentRows + targetRows) * k)
        defer { workspace.give(logits) }
        multiplyLogits(students.values.base, studentRows, prototypes.values.base, k, d, logits.base)
        if targetRows > 0 {
            let targets = try rows(inputs.targets, batch, d, normalize: options.normalizeEmbedding)
            defer { targets.release(workspace) }
            let own = try inputs.targetPrototypes.map {
                try rows([$0], k, d, normalize: options.normalizePrototypes)
            }
            defer { own?.release(workspace) }
            multiplyLogits(targets.values.base, targetRows, (own ?? prototypes).values.base, k, d, logits.base + studentRows * k)
        }
        let peaks = try softmax(logits.base, studentRows + targetRows, k)

        // The mean assignment and the prior.
        let priorRows = options.priorOverTargets ? studentRows + targetRows : studentRows
        let sums = try workspace.take(2 * k)
        defer { workspace.give(sums) }
        try addUpProbabilities(logits.base, priorRows, k, into: sums.base)
        let logMean = sums.base + k
        let prior = UniformPrior.evaluate(sums: sums.base, rows: priorRows, k, logMean: logMean)
        result.prior = prior.prior
        result.effectivePrototypes = exponential(prior.entropy)

        // Consistency and the gradient of the logits, image by image.
        let wantsGradient = !inputs.embeddingGradients.isEmpty || inputs.prototypeGradient != nil
        let gradient = wantsGradient ? try workspace.take(studentRows * k) : nil
        defer { if let gradient { workspace.give(gradient) } }
        let losses = try workspace.take(batch)
        defer { workspace.give(losses) }
        let pairWeight = Float(1 / (Double(max(pairs.count, 1)) * Double(batch)))
        let priorWeight = Float(options.priorWeight / Double(priorRows))
        let detached = options.stopGradient || targetRows > 0
        let targetBase = targetRows > 0 ? studentRows : 0
        compute.parallelRanges(batch) { _, range in
            for image in range {
                if let gradient {
                    for view in 0..<views { (gradient.base + (view * batch + image) * k).update(repeating: 0, count: k) }
                }
                var loss = 0.0
                for (a, b) in pairs {
                    let rowA = a * batch + image
                    let rowB = targetBase + b * batch + image
                    loss += AssignmentRows.consistency(
                        logits.base + rowA * k, logits.base + rowB * k, k, weight: pairWeight,
                        gradientA: gradient.map { $0.base + rowA * k },
                        gradientB: detached ? nil : gradient.map { $0.base + rowB * k })
                }
                losses.base[image] = Float(loss)
                if let gradient {
                    for view in 0..<views {
                        let row = (view * batch + image) * k
                        AssignmentRows.prior(
                            logits.base + row, logMean: logMean, k, weight: priorWeight, gradient: gradient.base + row)
                    }
                }
            }
        }
        for image in 0..<batch { result.consistency += Double(losses.base[image]) }
        result.consistency /= Double(batch) * Double(max(pairs.count, 1))
        result.loss = result.consistency + options.priorWeight * result.prior

        var agreeing = 0
        for image in 0..<batch {
            for (a, b) in pairs where peaks[a * batch + image].index == peaks[targetBase + b * batch + image].index { agreeing += 1 }
        }
        result.agreement = Double(agreeing) / Double(max(pairs.count * batch, 1))
        for row in 0..<studentRows {
            result.maxProbability += Double(peaks[row].probability) / Double(studentRows)
            used(peaks[row].index)
        }
        if let gradient { try propagate(gradient.base, students, prototypes, inputs) }
        return result
    }

    /// logits (rows, K) = z c^T / T.
    func multiplyLogits(_ z: FloatPointer, _ rows: Int, _ c: FloatPointer, _ k: Int, _ d: Int, _ logits: FloatPointer) {
        compute.multiply(rows, k, d, z, d, c, d, transposeB: true, logits, k, alpha: Float(1 / options.temperature))
    }

    private func softmax(_ logits: FloatPointer, _ rows: Int, _ k: Int) throws -> [(probability: Float, index: Int)] {
        [(probability: Float, index: Int)](unsafeUninitializedCapacity: rows) { peaks, count in
            let base = peaks.baseAddress!
            compute.parallelRanges(rows, grain: max(1, (1 << 12) / k)) { _, range in
                for row in range { base[row] = AssignmentRows.logSoftmax(logits + row * k, k) }
            }
            count = rows
        }
    }

    /// Sums of the probabilities over rows, in a fixed number of groups so that the result does not depend on threads.
    private func addUpProbabilities(_ logProbabilities: FloatPointer, _ rows: Int, _ k: Int, into sums: FloatPointer) throws {
        let groups = min(16, rows)
        let partial = try compute.workspace.take(groups * k)
        defer { compute.workspace.give(partial) }
        compute.parallel(groups) { group, _ in
            let target = partial.base + group * k
            target.update(repeating: 0, count: k)
            for row in rows * group / groups..<rows * (group + 1) / groups {
                AssignmentRows.addProbabilities(logProbabilities + row * k, k, to: target)
            }
        }
        for i in 0..<k {
            var sum: Float = 0
            for group in 0..<groups { sum += partial.base[group &* k &+ i] }
            sums[i] = sum
        }
    }

    /// From the gradient of the logits to those of embeddings and prototypes, through temperature and normalisation.
    private func propagate(_ gradient: FloatPointer, _ students: Rows, _ prototypes: Rows, _ inputs: Inputs) throws {
        let (d, k, batch) = (inputs.dimension, inputs.prototypeCount, inputs.batch)
        let scale = Float(1 / options.temperature)
        for (view, target) in inputs.embeddingGradients.enumerated() {
            compute.multiply(batch, d, k, gradient + view * batch * k, k, prototypes.values.base, d, target, d, alpha: scale)
            if let inverses = students.inverses {
                UnitLength.backward(
                    students.values.base + view * batch * d, inverses.base + view * batch, batch, d, target, compute)
            }
        }
        guard let target = inputs.prototypeGradient else { return }
        let own = try compute.workspace.take(k * d)
        defer { compute.workspace.give(own) }
        compute.multiply(
            k, d, students.count, gradient, k, transposeA: true, students.values.base, d, own.base, d, alpha: scale)
        if let inverses = prototypes.inverses {
            UnitLength.backward(prototypes.values.base, inverses.base, k, d, own.base, compute)
        }
        for i in 0..<k * d { target[i] += own.base[i] }
    }

    /// Mean over dimensions of the standard deviation over rows of the unit-length embedding.
    private func embeddingStd(_ students: Rows, _ d: Int) throws -> Double {
        var sums = [Double](repeating: 0, count: d)
        var squares = [Double](repeating: 0, count: d)
        for row in 0..<students.count {
            let z = students.values.base + row * d
            var norm = 1.0
            if students.inverses == nil {
                var sum = 0.0
                for i in 0..<d { sum += Double(z[i]) * Double(z[i]) }
                norm = max(sum.squareRoot(), UnitLength.shortest)
            }
            for i in 0..<d {
                let value = Double(z[i]) / norm
                sums[i] += value
                squares[i] += value * value
            }
        }
        let n = Double(students.count)
        return (0..<d).reduce(0.0) { $0 + max(0, squares[$1] / n - (sums[$1] / n) * (sums[$1] / n)).squareRoot() } / Double(d)
    }
}
