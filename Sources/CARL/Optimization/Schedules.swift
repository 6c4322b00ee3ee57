/// A number that goes linearly from `start` to `end` in `steps` steps, which count from 0.
struct Ramp: Equatable, Sendable {
    var start: Double
    var end: Double
    var steps: Int

    init(_ start: Double, to end: Double, steps: Int) { (self.start, self.end, self.steps) = (start, end, steps) }

    init(_ value: Double) { self.init(value, to: value, steps: 0) }

    func value(step: Int) -> Double { steps == 0 ? end : start + (end - start) * min(1, Double(step) / Double(steps)) }
}

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

    /// The teacher's momentum: from `base` to 1 along half a cosine over `total` steps (Grill et al., BYOL, arXiv 2006.07733);
    /// constant when the number of steps is not known.
    static func teacherMomentum(step: Int, base: Double, total: Int?) -> Double {
        guard let total, total > 0 else { return base }
        return 1 - (1 - base) * 0.5 * (1 + cosine(.pi * min(1, Double(step) / Double(total))))
    }
}
