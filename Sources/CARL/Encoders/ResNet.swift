/// ResNet-18, -34 and -50 up to global average pooling: (B, H, W, C) -> features (B, F). Names and numerics are torchvision's.
struct ResNet {
    enum Variant: String, CaseIterable, Sendable {
        case resnet18, resnet34, resnet50

        var blocks: [Int] { self == .resnet18 ? [2, 2, 2, 2] : [3, 4, 6, 3] }
        var bottleneck: Bool { self == .resnet50 }
    }

    /// How an image enters: "imagenet" is a 7x7 convolution of stride 2 and a max-pool (a quarter of the size),
    /// "small" a 3x3 convolution of stride 1 without pool, for images below about 64 pixels (as SimCLR does for CIFAR).
    enum Stem: String, CaseIterable, Sendable { case imagenet, small }

    let inChannels: Int
    let stem: Stem
    let first: ConvolutionNorm
    let blocks: [ResidualBlock]
    /// Length of the feature vector: 512 (ResNet-50: 2048) times the width factor.
    let features: Int

    /// - Parameters:
    ///   - prefix: put in front of every name, such as "encoder.".
    ///   - width: factor on all channel counts; 64 * width must be a whole number.
    init(
        _ layout: inout ParameterLayout, prefix: String, _ variant: Variant, stem: Stem, width: Double, inChannels: Int,
        zeroInitResidual: Bool
    ) {
        self.inChannels = inChannels
        self.stem = stem
        let base = Int((64 * width).rounded())
        first = ConvolutionNorm(
            &layout, convolution: "\(prefix)conv1", norm: "\(prefix)bn1", inChannels, base,
            kernel: stem == .imagenet ? 7 : 3, stride: stem == .imagenet ? 2 : 1, padding: stem == .imagenet ? 3 : 1)
        var blocks: [ResidualBlock] = []
        var channels = base
        for (stage, count) in variant.blocks.enumerated() {
            let stageChannels = base << stage
            for block in 0..<count {
                blocks.append(
                    ResidualBlock(
                        &layout, "\(prefix)layer\(stage + 1).\(block)", inChannels: channels, channels: stageChannels,
                        stride: stage > 0 && block == 0 ? 2 : 1, bottleneck: variant.bottleneck,
                        zeroInitResidual: zeroInitResidual))
                channels = variant.bottleneck ? stageChannels * 4 : stageChannels
            }
        }
        self.blocks = blocks
        features = channels
    }

    /// What a forward pass leaves for backward. The caller owns it, so that several views can run before one goes back.
    struct Tape {
        let x: Activation
        let first: ConvolutionNorm.Tape
        let firstResult: Activation
        let pooled: Activation?
        let blocks: [ResidualBlock.Tape]
    }

    /// Training mode: batch statistics, running statistics updated. x stays the caller's and must live as long as the tape.
    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> (features: Activation, tape: Tape) {
        let entry = try enter(x, memory, compute)
        var tapes: [ResidualBlock.Tape] = []
        var input = entry.pooled ?? entry.firstResult
        for block in blocks {
            let tape = try block.forward(input, memory, compute)
            tapes.append(tape)
            input = tape.result
        }
        let features = try GlobalAveragePool.forward(input, compute)
        return (features, Tape(x: x, first: entry.first, firstResult: entry.firstResult, pooled: entry.pooled, blocks: tapes))
    }

    /// Training mode without a way back (a teacher): as `forward`, but memory is given back as soon as a block is done.
    func forwardWithoutTape(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let workspace = compute.workspace
        let entry = try enter(x, memory, compute)
        entry.first.release(workspace)
        if entry.pooled != nil { workspace.give(entry.firstResult) }
        var input = entry.pooled ?? entry.firstResult
        for block in blocks {
            let tape = try block.forward(input, memory, compute)
            tape.release(workspace)
            workspace.give(input)
            input = tape.result
        }
        let features = try GlobalAveragePool.forward(input, compute)
        workspace.give(input)
        return features
    }

    /// Evaluation mode: running statistics, nothing kept.
    func evaluate(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let workspace = compute.workspace
        var input = try first.evaluate(x, relu: true, memory, compute)
        if stem == .imagenet {
            let pooled = try MaxPool.forward(input, compute)
            workspace.give(input)
            input = pooled
        }
        for block in blocks {
            let result = try block.evaluate(input, memory, compute)
            workspace.give(input)
            input = result
        }
        let features = try GlobalAveragePool.forward(input, compute)
        workspace.give(input)
        return features
    }

    /// Adds the gradients of all parameters, given that of the features. Consumes `gradient` and the tape, not x.
    func backward(_ gradient: Activation, _ tape: Tape, _ memory: ModelMemory, _ compute: Compute) throws {
        let workspace = compute.workspace
        let last = tape.blocks.last?.result ?? tape.pooled ?? tape.firstResult
        var flowing = try GlobalAveragePool.backward(last, gradient, compute)
        workspace.give(gradient)
        var sums: BatchNorm.GradientSums?
        for i in blocks.indices.reversed() {
            (flowing, sums) = try blocks[i].backward(flowing, summed: sums, tape.blocks[i], memory, compute) { parts, gradient in
                if i > 0 { return try blocks[i - 1].takeGradientSums(parts, gradient, tape.blocks[i - 1], compute) }
                if tape.pooled != nil { return nil }
                return try first.norm.takeGradientSums(parts, gradient, tape.first.y, tape.first.norm, .relu, compute)
            }
        }
        if let pooled = tape.pooled {
            let below = try compute.measured("maxpool", .backward, values: 2 * (tape.firstResult.count + pooled.count)) {
                try MaxPool.backward(tape.firstResult, pooled, flowing, compute)
            }
            workspace.give(flowing)
            workspace.give(pooled)
            flowing = below
        }
        try first.backward(
            flowing, .relu, summed: sums, x: tape.x, tape.first, into: nil, accumulate: false, memory, compute)
        workspace.give(flowing)
        workspace.give(tape.firstResult)
        tape.first.release(workspace)
    }

    private func enter(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws
        -> (first: ConvolutionNorm.Tape, firstResult: Activation, pooled: Activation?)
    {
        let tape = try first.forward(x, memory, compute)
        let result = try compute.workspace.takeActivation(like: tape.y)
        first.norm.apply(tape.y, tape.norm, relu: true, into: result, compute)
        return (tape, result, stem == .imagenet ? try MaxPool.forward(result, compute) : nil)
    }
}
