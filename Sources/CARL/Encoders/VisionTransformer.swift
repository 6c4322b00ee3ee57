/// A vision transformer (Dosovitskiy et al., arXiv 2010.11929) up to its features: patches as tokens, blocks, a last
/// normalisation, then the class token, the mean of the patches, or both. Names and numerics are timm's; DINOv2's
/// models with and without registers are of this form.
struct VisionTransformer: Encoder {
    struct Variant {
        /// D, 64 for each head.
        let width: Int
        let depth: Int

        static let tiny = Variant(width: 192, depth: 12)
        static let small = Variant(width: 384, depth: 12)
        static let base = Variant(width: 768, depth: 12)
        static let large = Variant(width: 1024, depth: 24)
    }

    let tokens: PatchTokens
    let blocks: [TransformerBlock]
    let norm: LayerNorm
    let pool: TokenPool
    let width: Int

    var features: Int { pool == .classMean ? 2 * width : width }
    var blockCount: Int { blocks.count }

    /// - Parameter prefix: put in front of every name, such as "encoder.".
    init(_ layout: inout ParameterLayout, prefix: String, _ variant: Variant, _ options: EncoderOptions) {
        width = variant.width
        pool = options.pool
        tokens = PatchTokens(
            &layout, prefix: prefix, channels: options.inChannels, width: variant.width, patch: options.patchSize,
            registers: options.registers, side: options.positionGrid)
        var blocks: [TransformerBlock] = []
        for i in 0..<variant.depth {
            layout.depth += 1
            blocks.append(
                TransformerBlock(
                    &layout, "\(prefix)blocks.\(i)", number: i, width: variant.width, layerScale: options.layerScale,
                    dropRate: options.dropPath * Double(i) / Double(variant.depth - 1)))
        }
        self.blocks = blocks
        layout.depth += 1
        norm = LayerNorm(&layout, "\(prefix)norm", variant.width)
    }

    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> EncoderPass {
        let workspace = compute.workspace
        let first = try tokens.forward(x, memory, compute)
        let frozen = memory.frozenBlocks(of: blocks.count)
        for block in blocks[..<frozen] { try block.evaluate(first, memory, compute) }
        var tapes: [TransformerBlock.Tape] = []
        for block in blocks[frozen...] { tapes.append(try block.forward(tapes.last?.result ?? first, memory, compute)) }
        let last = tapes.last?.result ?? first
        let moments = try workspace.take(2 * last.rows)
        let normed = try workspace.takeActivation(like: last)
        defer { workspace.give(normed) }
        normalise(last, into: normed, moments: moments.base, memory, compute)
        let map = try takeMap(x, normed, compute)
        let features = try workspace.takeActivation(x.batch, 1, 1, self.features, groups: x.groups)
        pool.forward(normed, leading: tokens.leading, into: features.base)
        return EncoderPass(features: features, map: map) { dFeatures, dMap in
            if memory.trainedFrom > blocks.count + 1 {
                if let dMap { workspace.give(dMap) }
                for activation in [dFeatures, map, first] { workspace.give(activation) }
                return workspace.give(moments)
            }
            let dNormed = try workspace.takeActivation(like: last)
            dNormed.base.update(repeating: 0, count: dNormed.count)
            pool.backward(dFeatures.base, leading: tokens.leading, addingTo: dNormed)
            if let dMap {
                addMap(dMap, to: dNormed)
                workspace.give(dMap)
            }
            workspace.give(dFeatures)
            workspace.give(map)
            let gradient = try workspace.takeActivation(like: last)
            gradient.base.update(repeating: 0, count: gradient.count)
            try norm.backward(last, moments: moments.base, dNormed, addingTo: gradient, memory, compute)
            workspace.give(dNormed)
            workspace.give(moments)
            for (block, tape) in zip(blocks[frozen...], tapes).reversed() {
                try block.backward(gradient, tape, memory, compute)
                workspace.give(tape.result)
            }
            if memory.trainedFrom == 0 { try tokens.backward(x, gradient, memory, compute) }
            workspace.give(gradient)
            workspace.give(first)
        }
    }

    /// Normalisation of single tokens knows no batch: a teacher's pass is that of evaluation.
    func forwardWithoutTape(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        var features = try evaluate(x, memory, compute)
        features.groups = x.groups
        return features
    }

    func evaluate(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let workspace = compute.workspace
        let flowing = try tokens.forward(x, memory, compute)
        defer { workspace.give(flowing) }
        for block in blocks { try block.evaluate(flowing, memory, compute) }
        normalise(flowing, into: flowing, moments: nil, memory, compute)
        let features = try workspace.takeActivation(x.batch, 1, 1, self.features)
        pool.forward(flowing, leading: tokens.leading, into: features.base)
        return features
    }

    /// The last normalisation, of all tokens.
    private func normalise(
        _ x: Activation, into y: Activation, moments: FloatPointer?, _ memory: ModelMemory, _ compute: Compute
    ) {
        let parts = RowSums.parts(x.rows)
        compute.parallel(parts.count) { part, _ in
            let rows = parts[part]
            let at = rows.lowerBound * width
            norm.apply(
                x.base + at, rows.count, into: y.base + at, moments: moments.map { $0 + 2 * rows.lowerBound }, memory)
        }
    }

    /// The normalised tokens of the patches, (B, h, w, D).
    private func takeMap(_ x: Activation, _ normed: Activation, _ compute: Compute) throws -> Activation {
        let (height, columns) = try tokens.patches(x)
        let map = try compute.workspace.takeActivation(x.batch, height, columns, width, groups: x.groups)
        let count = height * columns * width
        for image in 0..<x.batch {
            (map.base + image * count).update(
                from: normed.base + (image * normed.width + tokens.leading) * width, count: count)
        }
        return map
    }

    private func addMap(_ dMap: Activation, to dNormed: Activation) {
        let count = dMap.height * dMap.width
        for image in 0..<dMap.batch {
            RowSums.columns(
                dMap.base + image * count * width, 1, count * width,
                into: dNormed.base + (image * dNormed.width + tokens.leading) * width)
        }
    }
}

/// What features are made of: the class token, the mean of the patches' tokens, or both, one behind the other.
public enum TokenPool: String, SettingChoice {
    /// D features.
    case `class`, mean
    /// 2 D features, the class token's first.
    case classMean = "class_mean"

    /// Tokens (B, 1, T, D) to features (B, D or 2 D). Patches begin at token `leading`.
    func forward(_ tokens: Activation, leading: Int, into features: FloatPointer) {
        let width = tokens.channels
        for image in 0..<tokens.batch {
            let from = tokens.base + image * tokens.width * width
            var target = features + image * (self == .classMean ? 2 : 1) * width
            if self != .mean {
                target.update(from: from, count: width)
                target += width
            }
            if self == .class { continue }
            target.update(repeating: 0, count: width)
            RowSums.columns(from + leading * width, tokens.width - leading, width, into: target)
            let share = 1 / Float(tokens.width - leading)
            for c in 0..<width { target[c] *= share }
        }
    }

    /// Adds the gradient of the tokens, given that of the features.
    func backward(_ gradient: UnsafePointer<Float>, leading: Int, addingTo tokens: Activation) {
        let width = tokens.channels
        for image in 0..<tokens.batch {
            let target = tokens.base + image * tokens.width * width
            var from = gradient + image * (self == .classMean ? 2 : 1) * width
            if self != .mean {
                RowSums.columns(from, 1, width, into: target)
                from += width
            }
            if self == .class { continue }
            let share = 1 / Float(tokens.width - leading)
            for token in leading..<tokens.width {
                for c in 0..<width { target[token * width + c] += from[c] * share }
            }
        }
    }
}
