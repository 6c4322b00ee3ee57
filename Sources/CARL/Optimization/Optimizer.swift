/// The update rules. w: parameters, g: gradient, m, v: moments, all in memories of one layout.
public enum OptimizerKind: String, SettingChoice {
    /// torch.optim.SGD: g += decay w; m = momentum m + g; w -= lr m.
    case sgd
    /// SGD whose g, after decay, is scaled per tensor by eta |w| / |g|; biases, scales and shifts of normalisation,
    /// LayerScale, tokens and positions are neither decayed nor scaled (You, Gitman, Ginsburg, arXiv 1708.03888).
    case lars
    /// torch.optim.AdamW with betas (momentum, 0.999) and eps 1e-8 (Loshchilov and Hutter, arXiv 1711.05101).
    case adamw

    var hasSecondMoment: Bool { self == .adamw }
}

/// Applies one step to all parameters, and moves the teacher towards them, in one pass over memory.
struct Optimizer {
    static let secondMomentDecay = 0.999
    static let adamEpsilon = 1e-8
    /// Values a thread takes at a time.
    private static let piece = 1 << 15

    let kind: OptimizerKind
    let momentum: Double
    let weightDecay: Double
    /// eta of LARS.
    var trustCoefficient = 0.001

    /// Where the step works. `second` and `updates` only for AdamW; `teacher` when there is one.
    struct Memory {
        let parameters: FloatPointer
        let gradients: FloatPointer
        let first: FloatPointer
        let second: FloatPointer?
        let teacher: FloatPointer?
        /// How many updates each tensor has had, for the bias correction of its moments: one that was frozen at first
        /// has had fewer than the others.
        let updates: UnsafeMutablePointer<Int64>?
    }

    /// - Parameters:
    ///   - gradientScale: factor on the gradient, from clipping.
    ///   - frozen: groups of parameters that do not change.
    ///   - rates: of each layer; what they freeze does not change, the teacher's values either.
    ///   - teacherMomentum: t = momentum t + (1 - momentum) w, with the new w.
    func step(
        _ layout: ParameterLayout, _ memory: Memory, learningRate: Double, gradientScale: Double,
        teacherMomentum: Double, frozen: [ParameterGroup] = [], rates: LayerRates = LayerRates(), _ compute: Compute
    ) throws {
        // Pieces of slots, so that one parallel loop covers tensors of every size.
        var pieces: [(slot: Int, range: Range<Int>)] = []
        for (i, slot) in layout.parameters.enumerated() where !rates.isFrozen(i) {
            for start in stride(from: 0, to: slot.count, by: Self.piece) {
                pieces.append((i, slot.offset + start..<slot.offset + min(slot.count, start + Self.piece)))
            }
        }
        let trust = try kind == .lars ? trustRatios(layout, pieces, memory, gradientScale, compute) : []
        let (wholeRate, decay, mu, scale) = (
            Float(learningRate), Float(weightDecay), Float(momentum), Float(gradientScale)
        )
        let factors = rates.factors
        let teacherKeep = Float(teacherMomentum)
        let teacherTake = Float(1 - teacherMomentum)
        let corrections = memory.updates.map { updates in
            layout.parameters.indices.map { slot in
                let count = Double(updates[slot]) + 1
                return (
                    first: Float(1 - power(momentum, count)),
                    second: Float((1 - power(Self.secondMomentDecay, count)).squareRoot())
                )
            }
        }
        let beta2 = Float(Self.secondMomentDecay)
        let take2 = Float(1 - Self.secondMomentDecay)
        let epsilon = Float(Self.adamEpsilon)
        let (w, g, m) = (memory.parameters, memory.gradients, memory.first)
        compute.parallel(pieces.count) { item, _ in
            let (slot, range) = pieces[item]
            defer {
                if let teacher = memory.teacher {
                    for i in range { teacher[i] = teacher[i] * teacherKeep + w[i] * teacherTake }
                }
            }
            if frozen.contains(layout.parameters[slot].group) { return }
            let rate = factors.isEmpty ? wholeRate : wholeRate * factors[slot]
            switch kind {
            case .sgd:
                for i in range {
                    let moment = m[i] * mu + (g[i] * scale + decay * w[i])
                    m[i] = moment
                    w[i] -= rate * moment
                }
            case .lars:
                let plain = layout.parameters[slot].kind.isScaleOrBias
                let (factor, slotDecay) = (plain ? 1 : trust[slot], plain ? 0 : decay)
                for i in range {
                    let moment = m[i] * mu + (g[i] * scale + slotDecay * w[i]) * factor
                    m[i] = moment
                    w[i] -= rate * moment
                }
            case .adamw:
                guard let v = memory.second, let (correction1, correction2) = corrections?[slot] else { return }
                for i in range {
                    let gradient = g[i] * scale
                    m[i] = m[i] * mu + gradient * (1 - mu)
                    v[i] = v[i] * beta2 + gradient * gradient * take2
                    let kept = w[i] * (1 - rate * decay)
                    w[i] = kept - rate / correction1 * m[i] / (v[i].squareRoot() / correction2 + epsilon)
                }
            }
        }
        guard let updates = memory.updates else { return }
        for (i, slot) in layout.parameters.enumerated() where !rates.isFrozen(i) && !frozen.contains(slot.group) {
            updates[i] += 1
        }
    }

    /// eta |w| / |g + decay w| for each tensor, 1 where either norm is 0.
    private func trustRatios(
        _ layout: ParameterLayout, _ pieces: [(slot: Int, range: Range<Int>)], _ memory: Memory,
        _ gradientScale: Double,
        _ compute: Compute
    ) throws -> [Float] {
        let norms = try HeapArray(pieces.count, repeating: (0.0, 0.0), for: "the norms of pieces of the parameters")
        let (decay, scale) = (Float(weightDecay), Float(gradientScale))
        compute.parallel(pieces.count) { item, _ in
            var (weights, steps) = (DoubleSum(), DoubleSum())
            let range = pieces[item].range
            var i = range.lowerBound
            while i &+ 8 <= range.upperBound {
                let w = load8(memory.parameters + i)
                let g = load8(memory.gradients + i) * scale + decay * w
                weights.add(w, times: w)
                steps.add(g, times: g)
                i &+= 8
            }
            while i < range.upperBound {
                let w = memory.parameters[i]
                let g = memory.gradients[i] * scale + decay * w
                weights.add(w, times: w)
                steps.add(g, times: g)
                i &+= 1
            }
            norms[item] = (weights.value, steps.value)
        }
        var sums = [(Double, Double)](repeating: (0, 0), count: layout.parameters.count)
        for (item, piece) in pieces.enumerated() {
            sums[piece.slot].0 += norms[item].0
            sums[piece.slot].1 += norms[item].1
        }
        return sums.map { weights, steps in
            guard weights > 0, steps > 0 else { return 1 }
            // Of a gradient near the smallest numbers the ratio has no Float: infinite, it would turn zeros into NaN.
            let ratio = trustCoefficient * weights.squareRoot() / steps.squareRoot()
            return Float(min(ratio, Double(Float.greatestFiniteMagnitude)))
        }
    }

    /// l2 norm of the values of all groups but some.
    static func norm(
        _ layout: ParameterLayout, _ values: FloatPointer, without groups: [ParameterGroup], _ compute: Compute
    ) throws -> Double {
        guard !groups.isEmpty else { return try norm(values, layout.parameterCount, compute) }
        return try norm(values, layout.extents { !groups.contains(layout.parameters[$0].group) }, compute)
    }

    /// l2 norm of the values of some parts.
    static func norm(_ values: FloatPointer, _ extents: [Range<Int>], _ compute: Compute) throws -> Double {
        if extents.count == 1 { return try norm(values + extents[0].lowerBound, extents[0].count, compute) }
        var squares = 0.0
        for extent in extents {
            let part = try norm(values + extent.lowerBound, extent.count, compute)
            squares += part * part
        }
        return squares.squareRoot()
    }

    /// l2 norm of all values; not finite when any value is not.
    static func norm(_ values: FloatPointer, _ count: Int, _ compute: Compute) throws -> Double {
        let pieces = (count + piece - 1) / piece
        let sums = try HeapArray(pieces, repeating: 0.0, for: "the norms of pieces of the parameters")
        compute.parallel(pieces) { item, _ in
            let first = values + item * piece
            sums[item] = DoubleSum.dot(first, first, min(piece, count - item * piece))
        }
        return (0..<pieces).reduce(0.0) { $0 + sums[$1] }.squareRoot()
    }
}
