/// Softmax cross-entropy with label smoothing (Szegedy et al., arXiv 1512.00567) in torch's convention: of C classes the label's target is
/// 1 - smoothing + smoothing / C, that of every other class smoothing / C. The loss is the mean over rows of -sum target log softmax(s), in nats.
enum CrossEntropy {
    struct Result: Equatable {
        var loss: Double
        /// Rows whose largest logit, the first of equal ones, is the label's.
        var correct: Int
    }

    /// Loss of logits s (B, C), B and C at least 1, and its gradient, written to `gradient`, which may be s itself.
    ///
    /// Everything is taken relative to the row's largest logit: finite for any finite logits. Labels must be in 0 ..< C.
    static func evaluate(
        _ s: UnsafePointer<Float>, _ batch: Int, _ classes: Int, labels: UnsafePointer<Int32>, smoothing: Double,
        gradient: FloatPointer, _ compute: Compute
    ) throws -> Result {
        let rows = try HeapArray(batch, repeating: (loss: 0.0, correct: false), for: "the terms of \(batch) rows")
        compute.parallelRanges(batch, grain: max(1, (1 << 12) / classes)) { _, range in
            for row in range {
                let at = row &* classes
                rows[row] = evaluateRow(
                    s + at, classes, Int(labels[row]), smoothing, scale: 1 / Double(batch), gradient: gradient + at)
            }
        }
        // Rows are added in order: the sum does not depend on threads.
        var result = Result(loss: 0, correct: 0)
        for row in 0..<batch {
            result.loss += rows[row].loss
            result.correct += rows[row].correct ? 1 : 0
        }
        result.loss /= Double(batch)
        return result
    }

    private static func evaluateRow(
        _ s: UnsafePointer<Float>, _ classes: Int, _ label: Int, _ smoothing: Double, scale: Double, gradient: FloatPointer
    ) -> (loss: Double, correct: Bool) {
        var best = 0
        for c in 1..<classes where s[c] > s[best] { best = c }
        let top = Double(s[best])
        let ofLabel = Double(s[label]) - top
        let share = smoothing / Double(classes)
        var (sum, total) = (0.0, 0.0)
        for c in 0..<classes {
            let below = Double(s[c]) - top
            let e = exponential(below)
            total += below
            sum += e
            gradient[c] = Float(e)
        }
        let inverse = 1 / sum
        for c in 0..<classes { gradient[c] = Float((Double(gradient[c]) * inverse - share) * scale) }
        // The label's own difference p - target is the sum of the others' negated: no cancellation where p is near 1.
        var others = 0.0
        for c in 0..<classes where c != label { others += Double(gradient[c]) }
        gradient[label] = Float(-others)
        // -sum target (s - top - log sum), whose targets sum to 1
        return (logarithm(sum) - (1 - smoothing) * ofLabel - share * total, best == label)
    }
}
