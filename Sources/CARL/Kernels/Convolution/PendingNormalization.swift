// What a normalisation leaves to the convolution that reads its result: prologue fusion, see `ConvolutionInput`.

/// The per-channel factors of a normalisation z = y * a + b, for each group of rows, and what they came from: mean and
/// 1 / standard deviation.
struct NormalizationFactors {
    let memory: FloatBuffer
    let channels: Int
    func mean(_ group: Int) -> FloatPointer { memory.base + 4 * group * channels }
    func inverse(_ group: Int) -> FloatPointer { memory.base + (4 * group + 1) * channels }
    func a(_ group: Int) -> FloatPointer { memory.base + (4 * group + 2) * channels }
    func b(_ group: Int) -> FloatPointer { memory.base + (4 * group + 3) * channels }
}

/// The gradient of a normalisation's input y: dy = dz * factor + y * slope + constant, with a number of each per
/// channel and group, where dz counts as 0 where the ReLU behind the normalisation was closed.
struct PendingNormalizationGradient {
    let dz: Activation
    let y: Activation
    let factors: NormalizationFactors
    /// A ReLU followed the normalisation.
    let relu: Bool
    /// For each group, the channels' factors, slopes and constants.
    let coefficients: FloatBuffer

    /// Writes rows `rows`, all of one group, each `rowStride` values from the one before. `target` may be these rows of
    /// dz.
    func write(_ rows: Range<Int>, _ group: Int, to target: FloatPointer, rowStride: Int) {
        let channels = y.channels
        let at = rows.lowerBound * channels
        let own = coefficients.base + 3 * group * channels
        ColumnKernels.gradientAffine(
            dz.stored.from(at), y.stored.from(at), rows.count, channels, relu: relu, factors.a(group), factors.b(group),
            own,
            own + channels,
            own + 2 * channels, target, rowStride: rowStride)
    }

    func release(_ workspace: Workspace) { workspace.give(coefficients) }
}
