/// One residual block (He et al., arXiv 1512.03385): two 3x3 convolutions ("basic"), or 1x1, 3x3, 1x1 with four times
/// the channels at the end ("bottleneck", the stride on the 3x3 as in torchvision). Where the shape changes, the skip
/// is a 1x1 convolution with BatchNorm.
struct ResidualBlock {
    /// The convolutions of the main path, in order; ReLU follows each but the last, whose result is added to the skip
    /// first.
    let path: [ConvolutionNorm]
    let downsample: ConvolutionNorm?

    init(
        _ layout: inout ParameterLayout, _ name: String, inChannels: Int, channels: Int, stride: Int, bottleneck: Bool,
        zeroInitResidual: Bool
    ) {
        let outChannels = bottleneck ? channels * 4 : channels
        let lastScale: Float = zeroInitResidual ? 0 : 1
        func unit(
            _ i: Int, _ from: Int, _ to: Int, kernel: Int, stride: Int, scale: Float, _ layout: inout ParameterLayout
        )
            -> ConvolutionNorm
        {
            ConvolutionNorm(
                &layout, convolution: "\(name).conv\(i)", norm: "\(name).bn\(i)", from, to, kernel: kernel,
                stride: stride,
                padding: kernel / 2, initialScale: scale)
        }
        if bottleneck {
            path = [
                unit(1, inChannels, channels, kernel: 1, stride: 1, scale: 1, &layout),
                unit(2, channels, channels, kernel: 3, stride: stride, scale: 1, &layout),
                unit(3, channels, outChannels, kernel: 1, stride: 1, scale: lastScale, &layout),
            ]
        } else {
            path = [
                unit(1, inChannels, channels, kernel: 3, stride: stride, scale: 1, &layout),
                unit(2, channels, channels, kernel: 3, stride: 1, scale: lastScale, &layout),
            ]
        }
        downsample =
            stride != 1 || inChannels != outChannels
            ? ConvolutionNorm(
                &layout, convolution: "\(name).downsample.0", norm: "\(name).downsample.1", inChannels, outChannels,
                kernel: 1,
                stride: stride)
            : nil
    }

    /// What a forward pass leaves for backward. The results after ReLU of all convolutions but the last are computed
    /// again when they are needed.
    struct Tape {
        let x: Activation
        let path: [ConvolutionNorm.Tape]
        let skip: ConvolutionNorm.Tape?
        let result: Activation

        /// Gives back everything but the block's input and result.
        func release(_ workspace: Workspace) {
            path.forEach { $0.release(workspace) }
            skip?.release(workspace)
        }
    }

    /// - Parameter isLast: what follows the result reads float32 values.
    func forward(_ x: Activation, isLast: Bool, _ memory: ModelMemory, _ compute: Compute) throws -> Tape {
        var tapes: [ConvolutionNorm.Tape] = []
        for unit in path {
            let before = tapes.last
            tapes.append(try unit.forward(before?.y ?? x, pending: before?.norm, memory, compute))
        }
        let last = tapes[path.count - 1]
        let skip = try downsample?.forward(x, memory, compute)
        let result = try compute.workspace.takeActivation(
            like: last.y, storage: isLast ? .float32 : last.y.storage)
        try path[path.count - 1].norm.apply(
            last.y, last.norm, skip: skip?.y ?? x, skipTape: skip?.norm, relu: true, into: result, compute)
        return Tape(x: x, path: tapes, skip: skip, result: result)
    }

    /// - Parameter isLast: as of `forward`.
    func evaluate(_ x: Activation, isLast isLastBlock: Bool, _ memory: ModelMemory, _ compute: Compute) throws
        -> Activation
    {
        let workspace = compute.workspace
        let skip = try downsample?.evaluate(x, relu: false, memory, compute)
        var input = x
        for (i, unit) in path.enumerated() {
            let isLast = i == path.count - 1
            let z = try unit.evaluate(
                input, skip: isLast ? skip ?? x : nil, relu: true, float32: isLast && isLastBlock, memory, compute)
            if i > 0 { workspace.give(input) }
            input = z
        }
        if let skip { workspace.give(skip) }
        return input
    }

    /// Memory for the sums over the gradient of a block's result that its last normalisation needs, see
    /// `BatchNorm.GradientSums`.
    func takeGradientSums(_ parts: PartNumbers, _ gradient: Activation, _ tape: Tape, _ compute: Compute) throws
        -> BatchNorm.GradientSums
    {
        let last = path.count - 1
        return try path[last].norm.takeGradientSums(
            parts, gradient, tape.path[last].y, tape.path[last].norm, .sumAndRelu(tape.result), compute)
    }

    /// From the gradient of the block's result to that of its input, which is returned. Consumes `gradient` and the
    /// tape, the result included.
    ///
    /// - Parameters:
    ///   - summed: the sums over `gradient`, where the block above has taken them.
    ///   - isLowest: what is below is frozen: its gradient is not computed, and nil is returned.
    ///   - below: memory for sums over the gradient that is returned, which are taken while it is in cache.
    func backward(
        _ gradient: Activation, summed: BatchNorm.GradientSums?, _ tape: Tape, isLowest: Bool = false,
        _ memory: ModelMemory, _ compute: Compute,
        below: (PartNumbers, Activation) throws -> BatchNorm.GradientSums?
    ) throws -> (dx: Activation?, sums: BatchNorm.GradientSums?) {
        let workspace = compute.workspace
        let last = path.count - 1
        // The gradient behind the ReLU goes two ways: through the main path, and to the skip.
        var flowing =
            try summed.map { try path[last].norm.pendingGradient($0, memory, compute) }
            ?? path[last].norm.backward(
                gradient, .sumAndRelu(tape.result), tape.path[last].y, tape.path[last].norm, memory, compute)
        var own: Activation?
        for i in stride(from: last, through: 1, by: -1) {
            let (convolution, norm, before) = (path[i].convolution, path[i - 1].norm, tape.path[i - 1])
            let input = before.y
            let next = try workspace.takeActivation(like: input, storage: input.storage)
            // What the normalisation before needs first is summed while the gradient is in cache.
            let sums = try norm.takeGradientSums(
                convolution.gradientParts(convolution.shape(input), compute), next, before.y, before.norm, .relu,
                compute)
            try convolution.gradients(
                input, pending: before.norm, .init(flowing), into: next, accumulate: false, memory, compute,
                alongside: sums.reads, epilogue: sums.add)
            flowing.release(workspace)
            if let own { workspace.give(own) }
            own = next
            flowing = try norm.pendingGradient(sums, memory, compute)
        }
        let first = path[0].convolution
        var dx: Activation? = gradient
        var sums: BatchNorm.GradientSums?
        if isLowest {
            try first.weightGradient(tape.x, .init(flowing), memory, compute)
            if let downsample, let skip = tape.skip {
                try downsample.backward(
                    gradient, .nothing, x: tape.x, skip, into: nil, accumulate: false, memory, compute)
            }
            workspace.give(gradient)
            dx = nil
        } else if let downsample, let skip = tape.skip {
            // The skip's convolution reaches a quarter of the pixels: it adds to what the other one has written.
            let input = try workspace.takeActivation(like: tape.x, storage: tape.x.storage)
            sums = try below(
                downsample.convolution.gradientParts(downsample.convolution.shape(tape.x), compute), input)
            try first.gradients(tape.x, .init(flowing), into: input, accumulate: false, memory, compute)
            try downsample.backward(
                gradient, .nothing, x: tape.x, skip, into: input, accumulate: true, below: sums, memory, compute)
            workspace.give(gradient)
            dx = input
        } else {
            sums = try below(first.gradientParts(first.shape(tape.x), compute), gradient)
            try first.gradients(
                tape.x, .init(flowing), into: gradient, accumulate: true, memory, compute,
                alongside: sums?.reads ?? [], epilogue: sums?.add)
        }
        flowing.release(workspace)
        if let own { workspace.give(own) }
        tape.release(workspace)
        workspace.give(tape.result)
        return (dx, sums)
    }
}
