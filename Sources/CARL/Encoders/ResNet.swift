/// ResNet-18, -34 and -50 up to global average pooling: (B, H, W, C) -> features (B, F). Names and numerics are torchvision's.
struct ResNet: Encoder {
    struct Variant {
        /// Residual blocks of each stage.
        let blocks: [Int]
        let bottleneck: Bool

        static let resnet18 = Variant(blocks: [2, 2, 2, 2], bottleneck: false)
        static let resnet34 = Variant(blocks: [3, 4, 6, 3], bottleneck: false)
        static let resnet50 = Variant(blocks: [3, 4, 6, 3], bottleneck: true)
    }

    let stem: EncoderStem
    let first: ConvolutionNorm
    let blocks: [ResidualBlock]
    /// Length of the feature vector: 512 (ResNet-50: 2048) times the width factor.
    let features: Int

    /// - Parameter prefix: put in front of every name, such as "encoder.".
    init(_ layout: inout ParameterLayout, prefix: String, _ variant: Variant, _ options: EncoderOptions) {
        stem = options.stem
        let base = Int((64 * options.width).rounded())
        first = ConvolutionNorm(
            &layout, convolution: "\(prefix)conv1", norm: "\(prefix)bn1", options.inChannels, base,
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
                        zeroInitResidual: options.zeroInitResidual))
                channels = variant.bottleneck ? stageChannels * 4 : stageChannels
            }
        }
        self.blocks = blocks
        features = channels
    }

    /// What a forward pass leaves for backward.
    private struct Tape {
        let x: Activation
        let first: ConvolutionNorm.Tape
        let firstResult: Activation
        let pooled: Activation?
        let blocks: [ResidualBlock.Tape]

        /// The feature map before global pooling.
        var map: Activation { blocks.last?.result ?? pooled ?? firstResult }
    }

    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> EncoderPass {
        let entry = try enter(x, memory, compute)
        var tapes: [ResidualBlock.Tape] = []
        var input = entry.pooled ?? entry.firstResult
        for block in blocks {
            let tape = try block.forward(input, memory, compute)
            tapes.append(tape)
            input = tape.result
        }
        let features = try GlobalAveragePool.forward(input, compute)
        let tape = Tape(x: x, first: entry.first, firstResult: entry.firstResult, pooled: entry.pooled, blocks: tapes)
        return EncoderPass(features: features, map: tape.map) { try backward($0, map: $1, tape, memory, compute) }
    }

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

    private func backward(
        _ gradient: Activation, map mapGradient: Activation?, _ tape: Tape, _ memory: ModelMemory, _ compute: Compute
    ) throws {
        let workspace = compute.workspace
        var flowing = try GlobalAveragePool.backward(tape.map, gradient, compute)
        workspace.give(gradient)
        if let mapGradient {
            for i in 0..<flowing.count { flowing.base[i] += mapGradient.base[i] }
            workspace.give(mapGradient)
        }
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
