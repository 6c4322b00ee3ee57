/// ResNet-18, -34 and -50 up to global average pooling: (B, H, W, C) -> features (B, F). Names and numerics are
/// torchvision's.
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
    var blockCount: Int { blocks.count }

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
                layout.depth += 1
                blocks.append(
                    ResidualBlock(
                        &layout, "\(prefix)layer\(stage + 1).\(block)", inChannels: channels, channels: stageChannels,
                        stride: stage > 0 && block == 0 ? 2 : 1, bottleneck: variant.bottleneck,
                        zeroInitResidual: options.zeroInitResidual))
                channels = variant.bottleneck ? stageChannels * 4 : stageChannels
            }
        }
        layout.depth += 1
        self.blocks = blocks
        features = channels
    }

    /// What a forward pass leaves for backward.
    private struct Tape {
        let x: Activation
        /// Nil where the first convolution is frozen.
        let entry: Entry?
        /// Blocks in front of the first one that learns.
        let frozen: Int
        /// What that block gets.
        let input: Activation
        /// Of the blocks that learn.
        let blocks: [ResidualBlock.Tape]

        /// The feature map before global pooling.
        var map: Activation { blocks.last?.result ?? input }
    }

    /// What the first convolution leaves for backward.
    private struct Entry {
        let first: ConvolutionNorm.Tape
        let result: Activation
        let pooled: Activation?
    }

    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> EncoderPass {
        let frozen = memory.frozenBlocks(of: blocks.count)
        let entry = memory.trainedFrom > 0 ? nil : try enter(x, memory, compute)
        let start = try entry.map { $0.pooled ?? $0.result } ?? evaluate(x, blocks: frozen, memory, compute)
        var tapes: [ResidualBlock.Tape] = []
        var input = start
        for (i, block) in blocks.enumerated().dropFirst(frozen) {
            let tape = try block.forward(input, isLast: i == blocks.count - 1, memory, compute)
            tapes.append(tape)
            input = tape.result
        }
        let features = try GlobalAveragePool.forward(input, compute)
        let tape = Tape(x: x, entry: entry, frozen: frozen, input: start, blocks: tapes)
        return EncoderPass(features: features, map: tape.map) { try backward($0, map: $1, tape, memory, compute) }
    }

    func forwardWithoutTape(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let workspace = compute.workspace
        let frozen = memory.frozenBlocks(of: blocks.count)
        var input: Activation
        if memory.trainedFrom > 0 {
            input = try evaluate(x, blocks: frozen, memory, compute)
        } else {
            let entry = try enter(x, memory, compute)
            entry.first.release(workspace)
            if entry.pooled != nil { workspace.give(entry.result) }
            input = entry.pooled ?? entry.result
        }
        for (i, block) in blocks.enumerated().dropFirst(frozen) {
            let tape = try block.forward(input, isLast: i == blocks.count - 1, memory, compute)
            tape.release(workspace)
            workspace.give(input)
            input = tape.result
        }
        let features = try GlobalAveragePool.forward(input, compute)
        workspace.give(input)
        return features
    }

    func evaluate(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let map = try evaluate(x, blocks: blocks.count, memory, compute)
        let features = try GlobalAveragePool.forward(map, compute)
        compute.workspace.give(map)
        return features
    }

    /// The feature map behind the first blocks, in evaluation mode.
    private func evaluate(_ x: Activation, blocks count: Int, _ memory: ModelMemory, _ compute: Compute) throws
        -> Activation
    {
        let workspace = compute.workspace
        var input = try first.evaluate(x, relu: true, memory, compute)
        if stem == .imagenet {
            let pooled = try MaxPool.forward(input, compute)
            workspace.give(input)
            input = pooled
        }
        for (i, block) in blocks[..<count].enumerated() {
            let result = try block.evaluate(input, isLast: i == blocks.count - 1, memory, compute)
            workspace.give(input)
            input = result
        }
        return input
    }

    private func backward(
        _ gradient: Activation, map mapGradient: Activation?, _ tape: Tape, _ memory: ModelMemory, _ compute: Compute
    ) throws {
        let workspace = compute.workspace
        defer { workspace.give(gradient) }
        guard tape.entry != nil || !tape.blocks.isEmpty else {
            if let mapGradient { workspace.give(mapGradient) }
            return workspace.give(tape.input)
        }
        var flowing: Activation? = try GlobalAveragePool.backward(tape.map, gradient, compute)
        if let mapGradient, let flowing {
            for i in 0..<flowing.count { flowing.base[i] += mapGradient.base[i] }
            workspace.give(mapGradient)
        }
        var sums: BatchNorm.GradientSums?
        for (i, blockTape) in tape.blocks.enumerated().reversed() {
            guard let above = flowing else { break }
            let block = blocks[tape.frozen + i]
            let isLowest = i == 0 && tape.entry == nil
            (flowing, sums) = try block.backward(
                above, summed: sums, blockTape, isLowest: isLowest, memory, compute
            ) { parts, gradient in
                if i > 0 {
                    return try blocks[tape.frozen + i - 1].takeGradientSums(
                        parts, gradient, tape.blocks[i - 1], compute)
                }
                guard let entry = tape.entry, entry.pooled == nil else { return nil }
                return try first.norm.takeGradientSums(
                    parts, gradient, entry.first.y, entry.first.norm, .relu, compute)
            }
        }
        guard let entry = tape.entry, var flowing else { return workspace.give(tape.input) }
        if let pooled = entry.pooled {
            let below = try compute.measured("maxpool", .backward, values: 2 * (entry.result.count + pooled.count)) {
                try MaxPool.backward(entry.result, pooled, flowing, compute)
            }
            workspace.give(flowing)
            workspace.give(pooled)
            flowing = below
        }
        try first.backward(
            flowing, .relu, summed: sums, x: tape.x, entry.first, into: nil, accumulate: false, memory, compute)
        workspace.give(flowing)
        workspace.give(entry.result)
        entry.first.release(workspace)
    }

    private func enter(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Entry {
        let tape = try first.forward(x, memory, compute)
        let result = try compute.workspace.takeActivation(like: tape.y, storage: tape.y.storage)
        try first.norm.apply(tape.y, tape.norm, relu: true, into: result, compute)
        return Entry(
            first: tape, result: result, pooled: stem == .imagenet ? try MaxPool.forward(result, compute) : nil)
    }
}
