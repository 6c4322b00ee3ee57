/// A convolution and the BatchNorm behind it, whose statistics are taken while the convolution's result is in cache.
struct ConvolutionNorm {
    let convolution: Convolution
    let norm: BatchNorm

    init(
        _ layout: inout ParameterLayout, convolution name: String, norm normName: String, _ inChannels: Int, _ outChannels: Int,
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

    /// Training: y = conv(x) with its batch statistics. The caller applies them with `norm.apply`.
    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Tape {
        let shape = convolution.shape(x)
        let moments = try norm.takeMoments(convolution.parts(shape), compute)
        let y = try compute.workspace.takeActivation(
            shape.batch, shape.outHeight, shape.outWidth, shape.outChannels, groups: shape.groups)
        try convolution.forward(x, into: y, memory, compute) { part, rows in moments.add(y.base, part, rows) }
        return Tape(y: y, norm: try norm.finish(moments, memory, compute))
    }

    /// Evaluation: z = norm(conv(x)) with running statistics, plus `skip`, then ReLU when asked, in one go.
    func evaluate(_ x: Activation, skip: Activation? = nil, relu: Bool, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let shape = convolution.shape(x)
        let channels = shape.outChannels
        let factors = try compute.workspace.take(2 * channels)
        defer { compute.workspace.give(factors) }
        norm.evaluationFactors(memory, factors.base, factors.base + channels)
        let z = try compute.workspace.takeActivation(shape.batch, shape.outHeight, shape.outWidth, channels)
        try convolution.forward(x, into: z, memory, compute) { _, rows in
            let at = rows.lowerBound * channels
            ColumnKernels.affine(
                z.base + at, rows.count, channels, factors.base, factors.base + channels,
                skip: skip.map { UnsafePointer($0.base + at) }, skipScale: nil, skipShift: nil, relu: relu, z.base + at)
        }
        return z
    }

    /// From the gradient of what followed the normalised result, which is overwritten: adds the gradients of
    /// scale, shift and weights; writes or adds the gradient of x to `dx` if given.
    func backward(
        _ dz: Activation, _ followed: BatchNorm.Followed, x: Activation, _ tape: Tape, into dx: Activation?, accumulate: Bool,
        _ memory: ModelMemory, _ compute: Compute
    ) throws {
        try norm.backward(dz, followed, tape.y, tape.norm, into: dz, memory, compute)
        try convolution.weightGradient(x, dz, memory, compute)
        if let dx { try convolution.dataGradient(x, dz, into: dx, accumulate: accumulate, memory, compute) }
    }
}
