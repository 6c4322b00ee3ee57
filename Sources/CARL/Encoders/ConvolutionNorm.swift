/// A convolution and the BatchNorm behind it, whose statistics are taken while the convolution's result is in cache.
struct ConvolutionNorm {
    let convolution: Convolution
    let norm: BatchNorm

    init(
        _ layout: inout ParameterLayout, convolution name: String, norm normName: String, _ inChannels: Int,
        _ outChannels: Int,
        kernel: Int, stride: Int = 1, padding: Int = 0, initialScale: Float = 1
    ) {
        convolution = Convolution(
            &layout, name, inChannels, outChannels, kernel: kernel, stride: stride, padding: padding)
        norm = BatchNorm(&layout, normName, outChannels, initialScale: initialScale)
    }

    /// The convolution's result y, before normalisation, and what normalising it takes.
    struct Tape {
        let y: Activation
        let norm: BatchNorm.Tape

        func release(_ workspace: Workspace) {
            workspace.give(y)
            workspace.give(norm.memory)
        }
    }

    /// Training: y = conv(x) with its batch statistics; x and `pending` as in `Convolution.forward`. The caller applies
    /// the statistics with `norm.apply`, or leaves that to the convolution that follows.
    func forward(_ x: Activation, pending: BatchNorm.Tape? = nil, _ memory: ModelMemory, _ compute: Compute) throws
        -> Tape
    {
        let shape = convolution.shape(x)
        let moments = try norm.takeMoments(convolution.parts(shape, compute), compute)
        let y = try compute.workspace.takeActivation(
            shape.batch, shape.outHeight, shape.outWidth, shape.outChannels, groups: shape.groups,
            storage: compute.storage(channels: shape.outChannels))
        try convolution.forward(x, pending: pending, into: y, memory, compute, epilogue: moments.add)
        return Tape(y: y, norm: try norm.finish(moments, memory, compute))
    }

    /// Evaluation: z = norm(conv(x)) with running statistics, plus `skip`, then ReLU when asked, in one go.
    ///
    /// - Parameter float32: what follows the result reads float32 values.
    func evaluate(
        _ x: Activation, skip: Activation? = nil, relu: Bool, float32: Bool = false, _ memory: ModelMemory,
        _ compute: Compute
    ) throws -> Activation {
        let shape = convolution.shape(x)
        let channels = shape.outChannels
        let z = try compute.workspace.takeActivation(
            shape.batch, shape.outHeight, shape.outWidth, channels, groups: shape.groups,
            storage: float32 ? .float32 : compute.storage(channels: channels))
        try norm.withEvaluationFactors(memory, compute) { scale, shift in
            try convolution.forward(x, into: z, memory, compute, alongside: skip.map { [$0.stored] } ?? []) {
                _, rows, z in
                let at = rows.lowerBound * channels
                ColumnKernels.affine(
                    StoredValues(z + at), rows.count, channels, scale, shift, skip: skip.map { $0.stored.from(at) },
                    skipScale: nil, skipShift: nil, relu: relu, z + at)
            }
        }
        return z
    }

    /// From the gradient of what followed the normalised result: adds the gradients of scale, shift and weights; writes
    /// or adds the gradient of x to `dx` if given.
    ///
    /// - Parameters:
    ///   - summed: the sums over `dz`, where they have been taken already.
    ///   - below: takes the sums that the layer below needs of `dx` on the way.
    func backward(
        _ dz: Activation, _ followed: BatchNorm.Followed, summed: BatchNorm.GradientSums? = nil, x: Activation,
        _ tape: Tape,
        into dx: Activation?, accumulate: Bool, below: BatchNorm.GradientSums? = nil, _ memory: ModelMemory,
        _ compute: Compute
    ) throws {
        let gradient =
            try summed.map { try norm.pendingGradient($0, memory, compute) }
            ?? norm.backward(dz, followed, tape.y, tape.norm, memory, compute)
        defer { gradient.release(compute.workspace) }
        try convolution.gradients(
            x, .init(gradient), into: dx, accumulate: accumulate, memory, compute, alongside: below?.reads ?? [],
            epilogue: below?.add)
    }
}
