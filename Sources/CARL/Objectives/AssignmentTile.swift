/// Logits of all rows for some of the prototypes, and what is done with them, in memory that stays in a core's cache.
///
/// With e = exp(s - top) and S = sum e of a row, p = e / S. The products of two rows' exponentials give both the
/// consistency, log S_a + log S_b - log sum e_a e_b, and the shares q = e_a e_b / sum e_a e_b, so that one exponential
/// per logit is all that is taken; only where the two rows hardly overlap is the sum computed from the logits again.
///
/// The gradient of a row's logits is, with weights w of the pairs, lambda of the prior and g = log pbar,
///     sum_b w (p - q_b) + lambda p (g - p . g) = e (c0 + c1 g - sum_b w / (e . e_b) e_b).
final class AssignmentTile {
    private let problem: AssignmentProblem
    private let slices: WorkspaceSlices
    /// Number of prototypes, and of values from one row to the next.
    private(set) var count = 0
    private(set) var stride = 0
    /// This tile's own statistics, complete when the tile is a whole softmax.
    let statistics: AssignmentStatistics
    /// p . g of each row.
    let priorDots: FloatPointer
    private let logits: FloatPointer
    private let exponentials: FloatPointer
    private let gradient: FloatPointer
    /// Sums of the probabilities of some rows, and of all.
    private let sums: FloatPointer
    private let totals: UnsafeMutablePointer<Double>
    /// This tile's part of log pbar, after `prior`.
    let logMeans: FloatPointer
    private let prototypes: FloatPointer
    private let inverses: FloatPointer
    private let targetPrototypes: FloatPointer
    private let prototypeGradient: FloatPointer

    /// Memory for tiles of up to `capacity` prototypes.
    init(_ problem: AssignmentProblem, capacity: Int, _ workspace: Workspace) throws {
        self.problem = problem
        let width = AssignmentRows.stride(capacity)
        let packed = try CheckedSize.product(capacity, problem.dimension, of: "a block of prototypes")
        let logits = try CheckedSize.product(problem.rows, width, of: "the logits of a block")
        slices = try WorkspaceSlices(
            AssignmentStatistics.counts(problem) + [
                problem.rows, logits, logits, problem.wantsGradient ? problem.studentRows * width : 0,
                width, width, packed, capacity, problem.inputs.targetPrototypes == nil ? 0 : packed,
                problem.inputs.prototypeGradient == nil ? 0 : packed, 2 * width,
            ], workspace)
        statistics = AssignmentStatistics(slices, problem)
        priorDots = slices[5]
        (self.logits, exponentials, gradient) = (slices[6], slices[7], slices[8])
        (sums, logMeans) = (slices[9], slices[10])
        totals = UnsafeMutableRawPointer(slices[15]).bindMemory(to: Double.self, capacity: width)
        (prototypes, inverses, targetPrototypes, prototypeGradient) = (slices[11], slices[12], slices[13], slices[14])
    }

    func release(_ workspace: Workspace) { slices.give(to: workspace) }

    // MARK: Logits and softmax

    /// Computes the logits for prototypes `indices`.
    func load(_ indices: PrototypeIndices, _ compute: Compute) {
        let (rows, n) = (problem.rows, problem.studentRows)
        count = indices.count
        stride = AssignmentRows.stride(count)
        // The students' prototypes last: their norms are needed again.
        if let own = problem.inputs.targetPrototypes { pack(own, indices, into: targetPrototypes, compute) }
        pack(problem.inputs.prototypes, indices, into: prototypes, compute)
        multiply(problem.students, n, prototypes, into: logits, compute)
        if let targets = problem.targets {
            multiply(
                targets, rows - n, problem.inputs.targetPrototypes == nil ? prototypes : targetPrototypes,
                into: logits + n * stride, compute)
        }
        if count < stride {
            for row in 0..<rows {
                (logits + row * stride + count).update(repeating: -Float.infinity, count: stride - count)
            }
        }
    }

    private func multiply(
        _ z: UnsafePointer<Float>, _ rows: Int, _ c: FloatPointer, into out: FloatPointer, _ compute: Compute
    ) {
        let d = problem.dimension
        compute.multiply(rows, count, d, z, d, c, d, transposeB: true, out, stride, alpha: problem.inverseTemperature)
    }

    private func pack(
        _ source: UnsafePointer<Float>, _ indices: PrototypeIndices, into packed: FloatPointer, _ compute: Compute
    ) {
        let d = problem.dimension
        indices.forEach { place, index in (packed + place * d).update(from: source + index * d, count: d) }
        if problem.options.normalizePrototypes {
            UnitLength.forward(packed, count, d, into: packed, inverses: inverses, compute)
        }
    }

    /// Rows whose loop is worth a thread.
    private var grain: Int { max(1, (1 << 12) / stride) }

    /// Exponentials less each row's own largest logit, and the statistics of rows.
    func softmax(_ compute: Compute) {
        compute.parallelRanges(problem.rows, grain: grain) { _, range in
            for row in range {
                let s = logits + row * stride
                let top = AssignmentRows.maximum(s, stride)
                statistics.rowMaximum[row] = top
                statistics.argmax[row] = Int32(truncatingIfNeeded: AssignmentRows.place(of: top, s, count, stride))
                statistics.sum[row] = AssignmentRows.exponentials(
                    s, stride, less: top, into: exponentials + row * stride)
            }
        }
    }

    /// Exponentials less the largest logits of `known`.
    func exponentials(less known: AssignmentStatistics) {
        for row in 0..<problem.rows {
            _ = AssignmentRows.exponentials(
                logits + row * stride, stride, less: known.rowMaximum[row], into: exponentials + row * stride)
        }
    }

    /// The statistics of links.
    func compare(_ compute: Compute) {
        let batch = problem.batch
        compute.parallelRanges(batch, grain: grain) { _, range in
            for (index, link) in problem.pairs.links.enumerated() {
                for image in range {
                    let (a, b) = (link.a * batch + image, link.b * batch + image)
                    let dot = AssignmentRows.dot(exponentials + a * stride, exponentials + b * stride, stride)
                    let place = index * batch + image
                    if dot < AssignmentStatistics.smallestDot {
                        (statistics.dotTop[place], statistics.dotSum[place]) = AssignmentRows.logitDot(
                            logits + a * stride, statistics.rowMaximum[a], logits + b * stride,
                            statistics.rowMaximum[b], stride)
                    } else {
                        (statistics.dotTop[place], statistics.dotSum[place]) = (0, dot)
                    }
                }
            }
        }
    }

    // MARK: Prior

    /// Rows whose probabilities are summed as Float32: of many thousand such a sum loses digits that the prior needs.
    private static let rowsAtATime = 256

    /// The prior's and the entropy's part of these prototypes: sum pbar log pbar, and what the gradient needs of pbar.
    func prior(_ known: AssignmentStatistics, _ compute: Compute) -> Double {
        // Columns are shared among threads, so that every sum has one order.
        compute.parallelRanges(stride / 8, grain: max(1, (1 << 12) / problem.priorRows)) { _, range in
            let (first, width) = (range.lowerBound * 8, range.count * 8)
            (totals + first).update(repeating: 0, count: width)
            for begin in Swift.stride(from: 0, to: problem.priorRows, by: Self.rowsAtATime) {
                (sums + first).update(repeating: 0, count: width)
                for row in begin..<min(begin + Self.rowsAtATime, problem.priorRows) {
                    AssignmentRows.add(
                        exponentials + row * stride + first, width, scale: 1 / known.sum[row], to: sums + first)
                }
                for k in first..<first + width { totals[k] += Double(sums[k]) }
            }
        }
        let entropy = UniformPrior.entropy(sums: totals, rows: problem.priorRows, count, logMeans: logMeans)
        (logMeans + count).update(repeating: 0, count: stride - count)
        return entropy
    }

    /// Adds this tile's part of p . g of each student row to `dots`, or writes it.
    func priorDots(_ known: AssignmentStatistics, addingTo dots: FloatPointer?, _ compute: Compute) {
        compute.parallelRanges(problem.studentRows, grain: grain) { _, range in
            for row in range {
                let dot = AssignmentRows.dot(exponentials + row * stride, logMeans, stride) / known.sum[row]
                if let dots { dots[row] += dot } else { priorDots[row] = dot }
            }
        }
    }

    // MARK: Gradient

    /// Gradient of the logits. `logMeans` is this tile's part of log pbar, from `prior`, unless given.
    func differentiate(
        _ known: AssignmentStatistics, priorDots: FloatPointer, logMeans given: UnsafePointer<Float>? = nil,
        _ compute: Compute
    ) {
        let (batch, stride, pairScale, priorScale) = (problem.batch, stride, problem.pairScale, problem.priorScale)
        let g = problem.priorHasGradient ? given ?? UnsafePointer(logMeans) : nil
        for (view, partners) in problem.pairs.partners.enumerated() {
            let weight = partners.reduce(0) { $0 + $1.weight } * pairScale
            compute.parallelRanges(batch, grain: grain) { _, range in
                for image in range {
                    let row = view * batch + image
                    let inverse = 1 / known.sum[row]
                    let out = gradient + row * stride
                    let c1 = g == nil ? 0 : priorScale * inverse
                    let c0 = weight * inverse - (g == nil ? 0 : c1 * priorDots[row])
                    AssignmentRows.linear(c0, c1, g, stride, into: out)
                    for partner in partners {
                        let place = partner.link * batch + image
                        if known.dotTop[place] != 0 { continue }
                        AssignmentRows.add(
                            exponentials + (partner.other * batch + image) * stride, stride,
                            scale: -partner.weight * pairScale / known.dotSum[place], to: out)
                    }
                    AssignmentRows.multiply(out, by: exponentials + row * stride, stride)
                    for partner in partners {
                        let place = partner.link * batch + image
                        if known.dotTop[place] == 0 { continue }
                        let other = partner.other * batch + image
                        AssignmentRows.subtractShares(
                            logits + row * stride, known.rowMaximum[row], logits + other * stride,
                            known.rowMaximum[other],
                            top: known.dotTop[place], weight: partner.weight * pairScale / known.dotSum[place], stride,
                            from: out)
                    }
                }
            }
        }
    }

    /// Adds to the gradients of embeddings (V B, D) and of the prototypes, through temperature and the prototypes'
    /// norms.
    func propagate(_ indices: PrototypeIndices, embeddings: FloatPointer?, _ compute: Compute) {
        let (d, n) = (problem.dimension, problem.studentRows)
        let scale = problem.inverseTemperature
        if let embeddings {
            compute.multiply(
                n, d, count, gradient, stride, prototypes, d, embeddings, d, alpha: scale, accumulate: true)
        }
        guard let target = problem.inputs.prototypeGradient else { return }
        compute.multiply(
            count, d, n, gradient, stride, transposeA: true, problem.students, d, prototypeGradient, d, alpha: scale)
        if problem.options.normalizePrototypes {
            UnitLength.backward(prototypes, inverses, count, d, prototypeGradient, compute)
        }
        indices.forEach { place, index in
            let (from, to) = (prototypeGradient + place * d, target + index * d)
            for i in 0..<d { to[i] += from[i] }
        }
    }
}

/// Some of the prototypes: a run of them, or any.
struct PrototypeIndices {
    let first: Int
    let count: Int
    /// Prototype i of the run is order[first + i]; nil for first + i.
    var order: UnsafePointer<Int32>?

    @inline(__always)
    func forEach(_ body: (_ place: Int, _ index: Int) -> Void) {
        for place in 0..<count { body(place, self[place]) }
    }

    @inline(__always)
    subscript(_ place: Int) -> Int { order.map { Int($0[first + place]) } ?? first + place }
}
