// Values of a configuration that change from step to step; steps count from 0.

extension Configuration {
    func learningRate(step: Int) -> Double {
        if schedule == .trapezoid {
            return Schedules.trapezoid(
                step: step, base: learningRate, minimum: minimumLearningRate, warmup: warmupSteps, decay: decay,
                total: totalSteps)
        }
        return Schedules.learningRate(
            step: step, base: learningRate, minimum: minimumLearningRate, warmup: warmupSteps,
            total: schedule == .constant ? nil : totalSteps)
    }

    /// The views' specifications in a step: small ones first, where the configuration asks for that.
    func viewSpecs(step: Int) -> [ViewSpec] {
        step < (earlySteps ?? 0) && !earlyViewSpecs.isEmpty ? earlyViewSpecs : viewSpecs
    }

    /// Views at the front that may be targets: those as large as the first. Small first views have as many, though
    /// other views may come to the same size.
    var globalViews: Int {
        let all = ViewSpec.views(viewSpecs)
        return all.prefix { $0.size == all[0].size }.count
    }

    /// Goes to 1 as the learning rate goes down: over all steps, or, of a trapezoid, over its decay.
    func teacherMomentum(step: Int) -> Double {
        if schedule == .trapezoid {
            return 1 - (1 - teacherMomentum) * Schedules.remainder(step: step, decay: decay, total: totalSteps)
        }
        return Schedules.teacherMomentum(step: step, base: teacherMomentum, total: totalSteps)
    }

    private var decay: [Int] { decaySteps.values.isEmpty ? standardDecay : decaySteps.values }

    /// A fifth of the steps, as far as warm-up leaves so many: with so short a decay a trapezoid comes close to a
    /// cosine (arXiv 2405.18392).
    private var standardDecay: [Int] {
        guard let totalSteps, totalSteps > warmupSteps else { return [] }
        return [min(max(1, totalSteps / 5), totalSteps - warmupSteps)]
    }
}
