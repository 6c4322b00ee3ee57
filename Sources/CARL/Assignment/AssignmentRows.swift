/// Loops over one row of K logits or log-probabilities. They are vectorised with the last K mod 8 padded, so that each
/// mathematical step is written once.
enum AssignmentRows {
    /// Calls `body(offset, lanes)` for eight values at a time; `lanes` < 8 only for the last.
    @inline(__always)
    private static func forEach8(_ count: Int, _ body: (_ at: Int, _ lanes: Int) -> Void) {
        var i = 0
        while i &+ 8 <= count {
            body(i, 8)
            i &+= 8
        }
        if i < count { body(i, count &- i) }
    }

    @inline(__always)
    private static func load(_ p: UnsafePointer<Float>, _ lanes: Int, _ padding: Float) -> Float8 {
        if lanes == 8 { return load8(p) }
        var v = Float8(repeating: padding)
        for i in 0..<lanes { v[i] = p[i] }
        return v
    }

    @inline(__always)
    private static func store(_ v: Float8, _ p: FloatPointer, _ lanes: Int) {
        if lanes == 8 {
            store8(v, p)
        } else {
            for i in 0..<lanes { p[i] = v[i] }
        }
    }

    /// The largest value and its first place.
    static func argmax(_ row: UnsafePointer<Float>, _ count: Int) -> (value: Float, index: Int) {
        var best = Float8(repeating: -Float.infinity)
        forEach8(count) { i, lanes in best = max8(best, load(row + i, lanes, -Float.infinity)) }
        let value = best.max()
        var index = 0
        while index < count - 1 && row[index] != value { index &+= 1 }
        return (value, index)
    }

    /// Logits become log-probabilities, in place: s - log sum exp s. Returns the largest probability and its place.
    static func logSoftmax(_ row: FloatPointer, _ count: Int) -> (probability: Float, index: Int) {
        let best = argmax(row, count)
        var sum = Float8.zero
        forEach8(count) { i, lanes in sum += exp8(load(row + i, lanes, -Float.infinity) - best.value) }
        let logSum = Float(logarithm(Double(sum.sum())))
        // Subtracting in two steps keeps differences of large logits exact.
        forEach8(count) { i, lanes in store((load(row + i, lanes, 0) - best.value) - logSum, row + i, lanes) }
        return (Float(exponential(-Double(logSum))), best.index)
    }

    /// Adds exp(log-probabilities) to `sums`.
    static func addProbabilities(_ row: UnsafePointer<Float>, _ count: Int, to sums: FloatPointer) {
        forEach8(count) { i, lanes in
            store(load(sums + i, lanes, 0) + exp8(load(row + i, lanes, -Float.infinity)), sums + i, lanes)
        }
    }

    /// -log sum_k p_a p_b from log-probabilities. With q = p_a p_b / sum(p_a p_b), the share of each prototype in the agreement, the gradient
    /// with respect to the logits of a is p_a - q and that of b is p_b - q; times `weight` these are added to `gradientA` and `gradientB`.
    static func consistency(
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int, weight: Float, gradientA: FloatPointer?,
        gradientB: FloatPointer?
    ) -> Double {
        var largest = Float8(repeating: -Float.infinity)
        forEach8(count) { i, lanes in
            largest = max8(largest, load(a + i, lanes, -Float.infinity) + load(b + i, lanes, 0))
        }
        let top = largest.max()
        var sum = Float8.zero
        forEach8(count) { i, lanes in
            sum += exp8((load(a + i, lanes, -Float.infinity) + load(b + i, lanes, 0)) - top)
        }
        let total = sum.sum()
        let inverse = 1 / total
        if gradientA != nil || gradientB != nil {
            forEach8(count) { i, lanes in
                let la = load(a + i, lanes, -Float.infinity)
                let lb = load(b + i, lanes, -Float.infinity)
                let share = exp8((la + lb) - top) * inverse
                if let gradientA {
                    store(load(gradientA + i, lanes, 0) + (exp8(la) - share) * weight, gradientA + i, lanes)
                }
                if let gradientB {
                    store(load(gradientB + i, lanes, 0) + (exp8(lb) - share) * weight, gradientB + i, lanes)
                }
            }
        }
        return -(Double(top) + logarithm(Double(total)))
    }

    /// Gradient of the prior with respect to the logits of one row: p_k (g_k - sum_j p_j g_j) times `weight`, where g = log pbar; added to `gradient`.
    static func prior(
        _ row: UnsafePointer<Float>, logMean: UnsafePointer<Float>, _ count: Int, weight: Float, gradient: FloatPointer
    ) {
        var sum = Float8.zero
        forEach8(count) { i, lanes in
            sum = fma8(exp8(load(row + i, lanes, -Float.infinity)), load(logMean + i, lanes, 0), sum)
        }
        let dot = sum.sum()
        forEach8(count) { i, lanes in
            let p = exp8(load(row + i, lanes, -Float.infinity))
            store(load(gradient + i, lanes, 0) + p * (load(logMean + i, lanes, 0) - dot) * weight, gradient + i, lanes)
        }
    }
}
