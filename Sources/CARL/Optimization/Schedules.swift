/// Values that change from step to step. Steps count from 0.
enum Schedules {
    /// Linear warm-up over the first `warmup` steps, lr (t + 1) / warmup, then half a cosine from `base` to `minimum` at step `total`
    /// (Loshchilov and Hutter, arXiv 1608.03983), constant `minimum` afterwards. `total` nil: constant `base` after the warm-up.
    static func learningRate(step: Int, base: Double, minimum: Double, warmup: Int, total: Int?) -> Double {
        if step < warmup { return base * Double(step + 1) / Double(warmup) }
        guard let total, total > warmup else { return base }
        let progress = min(1, Double(step - warmup) / Double(total - warmup))
        return minimum + (base - minimum) * 0.5 * (1 + cosine(.pi * progress))
    }

    /// Warm-up as of `learningRate`, `base`, then `remainder` of what is above `minimum`: a trapezoid (warm-up, stable, decay; Zhai et al.,
    /// arXiv 2106.04560; Hägele et al., arXiv 2405.18392). Until the decay begins it does not depend on where it will, so a run can be
    /// under way before its length is known.
    static func trapezoid(step: Int, base: Double, minimum: Double, warmup: Int, decay: [Int], total: Int?) -> Double {
        if step < warmup { return base * Double(step + 1) / Double(warmup) }
        return minimum + (base - minimum) * remainder(step: step, decay: decay, total: total)
    }

    /// What a decay has left, 1 ... 0: 1 until its stages of `decay` steps begin, of which the last ends at step `total`. Each stage takes
    /// an equal share away, linearly, so that one number is one straight line. 1 throughout while `total` is nil.
    static func remainder(step: Int, decay: [Int], total: Int?) -> Double {
        guard let total else { return 1 }
        var done = step - (total - decay.reduce(0, +))
        guard done >= 0 else { return 1 }
        for (stage, steps) in decay.enumerated() {
            if done < steps { return 1 - (Double(stage) + Double(done) / Double(steps)) / Double(decay.count) }
            done -= steps
        }
        return 0
    }

    /// The teacher's momentum: from `base` to 1 along half a cosine over `total` steps (Grill et al., BYOL, arXiv 2006.07733);
    /// constant when the number of steps is not known.
    static func teacherMomentum(step: Int, base: Double, total: Int?) -> Double {
        guard let total, total > 0 else { return base }
        return 1 - (1 - base) * 0.5 * (1 + cosine(.pi * min(1, Double(step) / Double(total))))
    }
}
