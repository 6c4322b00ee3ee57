/// A step is taken whole or not at all: until the loss and the gradient are known to be finite, nothing is changed that
/// is not put back.
enum StepTransaction {
    /// What a pass must be: its loss and gradient norm.
    struct Outcome<Pass> {
        let pass: Pass
        /// l2 norm of the gradient over all states.
        let gradientNorm: Double
    }

    /// Clears the gradients, runs the pass, and takes the gradients' norm. Running statistics, the teacher's too, move
    /// in the pass; they go back when an error is thrown or the outcome is not finite.
    ///
    /// - Parameter notFinite: the error for a loss ("the loss") or gradient ("the gradient") that is not finite.
    static func attempt<Pass>(
        _ states: [TrainingState], _ compute: Compute, pass: () throws -> Pass, loss: (Pass) -> Double,
        notFinite: (_ what: String, Pass) -> CARLError
    ) throws -> Outcome<Pass> {
        let moving = states.filter { !$0.isFrozen }.flatMap { [$0.statistics, $0.teacherStatistics].compactMap { $0 } }
        var before: [FloatBuffer] = []
        defer { for copy in before { compute.workspace.give(copy) } }
        for statistics in moving {
            let copy = try compute.workspace.take(statistics.count)
            before.append(copy)
            copy.copy(from: statistics)
        }
        for state in states { state.clearGradients() }
        do {
            let pass = try pass()
            let norms = try states.map { try $0.gradientNorm(compute) }
            let norm = norms.count == 1 ? norms[0] : norms.reduce(0) { $0 + $1 * $1 }.squareRoot()
            try Cancellation.check()
            guard loss(pass).isFinite, norm.isFinite else {
                throw notFinite(loss(pass).isFinite ? "the gradient" : "the loss", pass)
            }
            return Outcome(pass: pass, gradientNorm: norm)
        } catch {
            for (statistics, copy) in zip(moving, before) { statistics.copy(from: copy) }
            throw error
        }
    }
}
