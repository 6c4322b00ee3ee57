/// One evaluation of the objective, prepared: embeddings as the logits see them, pairs of views, weights.
struct AssignmentProblem {
    let options: AssignmentOptions
    let inputs: ConsistentAssignment.Inputs
    let pairs: AssignmentPairs
    /// (V B, D), normalised or as they are.
    let students: UnsafePointer<Float>
    /// (T B, D) of a teacher, or nil.
    let targets: UnsafePointer<Float>?
    /// Softmaxes that the terms are means over.
    let blocks: Int

    var views: Int { inputs.embeddings.count }
    var batch: Int { inputs.batch }
    var dimension: Int { inputs.dimension }
    var studentRows: Int { views * batch }
    var rows: Int { studentRows + inputs.targets.count * batch }
    /// Rows in the mean assignment.
    var priorRows: Int { options.priorOverTargets ? rows : studentRows }
    var inverseTemperature: Float { Float(1 / options.temperature) }
    var wantsGradient: Bool { !inputs.embeddingGradients.isEmpty || inputs.prototypeGradient != nil }
    var priorHasGradient: Bool { wantsGradient && options.priorWeight > 0 }
    /// Factor on the gradient of one pair and image.
    var pairScale: Float { Float(1 / (Double(max(pairs.count, 1)) * Double(batch) * Double(blocks))) }
    /// Factor on the prior's gradient of one row.
    var priorScale: Float { Float(options.priorWeight / (Double(priorRows) * Double(blocks))) }
}

/// What softmaxes come to, before it is divided by the number of rows, pairs and blocks.
struct AssignmentTotals {
    var consistency = 0.0
    var prior = 0.0
    var entropy = 0.0
    var maxProbability = 0.0
    var agreeing = 0

    static func += (total: inout AssignmentTotals, part: AssignmentTotals) {
        total.consistency += part.consistency
        total.prior += part.prior
        total.entropy += part.entropy
        total.maxProbability += part.maxProbability
        total.agreeing += part.agreeing
    }
}

/// Pieces of one block of a workspace, each on a 64-byte boundary.
struct WorkspaceSlices {
    private let buffer: FloatBuffer
    private let starts: [Int]

    init(_ counts: [Int], _ workspace: Workspace) throws {
        var starts: [Int] = []
        var total = 0
        for count in counts {
            starts.append(total)
            // Each count fits in memory or was refused; sixteen of them are no overflow.
            total += (count + 15) & ~15
        }
        buffer = try workspace.take(total)
        self.starts = starts
    }

    subscript(_ index: Int) -> FloatPointer { buffer.base + starts[index] }

    func give(to workspace: Workspace) { workspace.give(buffer) }
}

/// What is known of every row's softmax and of every compared pair of rows.
struct AssignmentStatistics {
    /// The largest logit of each row.
    let top: FloatPointer
    /// sum exp(s - top) of each row.
    let sum: FloatPointer
    /// The place of the largest logit of each row, as a number from the first prototype of the softmax.
    let peak: UnsafeMutablePointer<Int32>
    /// sum exp((s_a - top_a) + (s_b - top_b)) of each link and image is exp(dotTop) * dotSum. Rows that overlap have dotTop 0; others have
    /// the largest exponent there, below the logarithm of `smallestDot`.
    let dotTop: FloatPointer
    let dotSum: FloatPointer

    /// Below this a sum of products of exponentials in Float32 may have lost terms; it is then taken from the logits.
    static let smallestDot: Float = 1e-20

    static func counts(_ problem: AssignmentProblem) -> [Int] {
        let links = problem.pairs.links.count * problem.batch
        return [problem.rows, problem.rows, problem.rows, links, links]
    }

    /// In the first pieces of `slices`, which `counts` describes.
    init(_ slices: WorkspaceSlices, _ problem: AssignmentProblem) {
        (top, sum, dotTop, dotSum) = (slices[0], slices[1], slices[3], slices[4])
        peak = UnsafeMutableRawPointer(slices[2]).bindMemory(to: Int32.self, capacity: problem.rows)
    }

    /// Consistency, largest probabilities and agreement.
    func totals(_ problem: AssignmentProblem) -> AssignmentTotals {
        var totals = AssignmentTotals()
        let batch = problem.batch
        for (index, link) in problem.pairs.links.enumerated() {
            var sum = 0.0
            var agreeing = 0
            for image in 0..<batch {
                let (a, b) = (link.a * batch + image, link.b * batch + image)
                let place = index * batch + image
                sum += logarithm(Double(self.sum[a]) * Double(self.sum[b]) / Double(dotSum[place])) - Double(dotTop[place])
                if peak[a] == peak[b] { agreeing += 1 }
            }
            totals.consistency += Double(link.pairs) * sum
            totals.agreeing += link.pairs * agreeing
        }
        for row in 0..<problem.studentRows { totals.maxProbability += 1 / Double(sum[row]) }
        return totals
    }
}
