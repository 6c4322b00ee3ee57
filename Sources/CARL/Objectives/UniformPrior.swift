/// KL(pbar || uniform) = log K - H(pbar), where pbar is the mean assignment and H its entropy.
enum UniformPrior {
    /// From the sums of the probabilities of `rows` rows: these prototypes' part of the entropy of pbar, and log pbar
    /// into `logMeans`.
    ///
    /// A prototype that nobody is near has pbar_k = 0: its term is 0, and its log is that of the smallest normal
    /// number, so that the gradient, which p_k = 0 multiplies, stays finite.
    static func entropy(sums: UnsafePointer<Double>, rows: Int, _ count: Int, logMeans: FloatPointer) -> Double {
        var entropy = 0.0
        for k in 0..<count {
            let mean = max(sums[k] / Double(rows), Double(Float.leastNormalMagnitude))
            let log = logarithm(mean)
            logMeans[k] = Float(log)
            entropy -= mean * log
        }
        return entropy
    }

    /// The least weight at which no assignment that all images share is better than the uniform one.
    ///
    /// Where every image has the same assignment, one prototype with probability a and the rest alike, consistency is
    /// H2 = -log(a^2 + (1 - a)^2 / (K - 1)) and the prior is log K - H1, H1 the entropy. Descent with detached targets
    /// goes down H2 / 2 + weight (log K - H1), without (`detached` false) down H2 + weight (log K - H1): the uniform
    /// assignment is the lowest of these states when weight >= max over a of (log K - H2) / (log K - H1), halved where
    /// detached.
    static func sufficientWeight(_ count: Int, detached: Bool = true) -> Double {
        guard count > 1 else { return 0 }
        let k = Double(count)
        let logK = logarithm(k)
        var largest = 0.0
        // From just above the uniform share to one, evenly in log odds against it.
        for i in 1...400 {
            let a = 1 / (1 + (k - 1) * exponential(-0.05 * Double(i)))
            let rest = max((1 - a) / (k - 1), Double.leastNormalMagnitude)
            let collision = -logarithm(a * a + (k - 1) * rest * rest)
            let entropy = -a * logarithm(a) - (1 - a) * logarithm(rest)
            if logK - entropy > 1e-9 { largest = max(largest, (logK - collision) / (logK - entropy)) }
        }
        return detached ? largest / 2 : largest
    }
}
