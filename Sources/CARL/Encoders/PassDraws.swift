/// What a pass in training mode draws at random: it depends on seed, step and an image's place among the views alone,
/// so that a view by itself draws what it draws in a run.
struct PassDraws {
    let seed: UInt64
    let step: Int
    /// Place of the pass's first image among all views of the step.
    var first = 0

    /// Stochastic depth: the factor of each image's branch, 0 or 1 / (1 - rate); nil where no branch is left out.
    func branchFactors(_ branch: Int, images: Int, _ rate: Double) -> [Float]? {
        if rate == 0 { return nil }
        return (0..<images).map { image in
            var random = RandomStream(
                seed: seed, purpose: .stochasticDepth, major: UInt64(step), minor: UInt64(first + image),
                lane: UInt64(branch))
            return random.uniform() < Float(rate) ? 0 : Float(1 / (1 - rate))
        }
    }
}
