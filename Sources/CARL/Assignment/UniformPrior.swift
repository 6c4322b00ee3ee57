/// KL(pbar || uniform) = log K + sum_k pbar_k log pbar_k, where pbar is the mean assignment.
enum UniformPrior {
    /// From the sums of the probabilities of `rows` rows: the prior, the entropy of pbar, and log pbar into `logMean`.
    ///
    /// A prototype that nobody is near has pbar_k = 0: its term is 0, and its log is that of the smallest normal number, so that the
    /// gradient, which p_k = 0 multiplies, stays finite.
    static func evaluate(
        sums: UnsafePointer<Float>, rows: Int, _ count: Int, logMean: FloatPointer
    ) -> (prior: Double, entropy: Double) {
        var entropy = 0.0
        for k in 0..<count {
            let mean = max(Double(sums[k]) / Double(rows), Double(Float.leastNormalMagnitude))
            let log = logarithm(mean)
            logMean[k] = Float(log)
            entropy -= mean * log
        }
        return (logarithm(Double(count)) - entropy, entropy)
    }
}
