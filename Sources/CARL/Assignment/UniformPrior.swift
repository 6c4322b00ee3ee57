/// KL(pbar || uniform) = log K - H(pbar), where pbar is the mean assignment and H its entropy.
enum UniformPrior {
    /// From the sums of the probabilities of `rows` rows: these prototypes' part of the entropy of pbar, and log pbar into `logMeans`.
    ///
    /// A prototype that nobody is near has pbar_k = 0: its term is 0, and its log is that of the smallest normal number, so that the
    /// gradient, which p_k = 0 multiplies, stays finite.
    static func entropy(sums: UnsafePointer<Float>, rows: Int, _ count: Int, logMeans: FloatPointer) -> Double {
        var entropy = 0.0
        for k in 0..<count {
            let mean = max(Double(sums[k]) / Double(rows), Double(Float.leastNormalMagnitude))
            let log = logarithm(mean)
            logMeans[k] = Float(log)
            entropy -= mean * log
        }
        return entropy
    }
}
