/// From images to the tokens a transformer works on, (B, 1, T, D): a class token, register tokens (Darcet et al., arXiv
/// 2309.16588), and a token for each patch in reading order; the class token and the patches carry positions.
struct PatchTokens {
    let convolution: Convolution
    let registers: Int
    let grid: PositionGrid
    let patch: Int
    let width: Int
    let bias: Int
    let classToken: Int
    let registerTokens: Int?
    /// (1 + side * side, D): the class token's, then the grid's.
    let positions: Int

    init(
        _ layout: inout ParameterLayout, prefix: String, channels: Int, width: Int, patch: Int, registers: Int,
        side: Int
    ) {
        self.registers = registers
        self.patch = patch
        self.width = width
        grid = PositionGrid(side: side, width: width)
        classToken = layout.add("\(prefix)cls_token", [1, 1, width], .token)
        registerTokens = registers > 0 ? layout.add("\(prefix)reg_token", [1, registers, width], .token) : nil
        positions = layout.add("\(prefix)pos_embed", [1, 1 + side * side, width], .token)
        convolution = Convolution(
            &layout, "\(prefix)patch_embed.proj", channels, width, kernel: patch, stride: patch, kind: .patchWeight)
        bias = layout.add("\(prefix)patch_embed.proj.bias", [width], .normShift)
    }

    /// Tokens before the patches'.
    var leading: Int { 1 + registers }

    /// Patches of images of this size.
    ///
    /// - Throws: `CARLError.invalidArgument` unless both sides are multiples of the patch's.
    func patches(_ x: Activation) throws -> (height: Int, width: Int) {
        guard x.height % patch == 0, x.width % patch == 0, x.height > 0, x.width > 0 else {
            throw CARLError.invalidArgument(
                """
                images: got \(x.height) x \(x.width) pixels, want sides that are multiples of \(patch), the patch \
                size of the encoder
                """)
        }
        return (x.height / patch, x.width / patch)
    }

    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let workspace = compute.workspace
        let (height, columns) = try patches(x)
        let count = height * columns
        let tokens = try workspace.takeActivation(x.batch, 1, leading + count, width, groups: x.groups)
        let embedded = try workspace.takeActivation(x.batch, height, columns, width, groups: x.groups)
        defer { workspace.give(embedded) }
        try convolution.forward(x, into: embedded, memory, compute)
        let (b, p) = (memory.parameters + bias, memory.parameters + positions)
        try grid.with(p + width, height: height, width: columns, compute) { positions in
            compute.parallel(x.batch) { image, _ in
                let target = tokens.base + image * tokens.width * width
                let token = memory.parameters + classToken
                for c in 0..<width { target[c] = token[c] + p[c] }
                if let registerTokens {
                    (target + width).update(from: memory.parameters + registerTokens, count: registers * width)
                }
                for patch in 0..<count {
                    let from = embedded.base + (image * count + patch) * width
                    let to = target + (leading + patch) * width
                    var c = 0
                    while c < width {
                        store8(load8(from + c) + load8(b + c) + load8(positions + (patch * width + c)), to + c)
                        c &+= 8
                    }
                }
            }
        }
        return tokens
    }

    /// Adds the gradients of all that tokens are made of, given that of the tokens.
    func backward(_ x: Activation, _ gradient: Activation, _ memory: ModelMemory, _ compute: Compute) throws {
        guard let gradients = memory.gradients else { return }
        let workspace = compute.workspace
        let (height, columns) = try patches(x)
        let count = height * columns
        let dEmbedded = try workspace.takeActivation(x.batch, height, columns, width, groups: x.groups)
        // Sums over images, of each token.
        let sums = try workspace.take(gradient.width * width)
        defer {
            workspace.give(dEmbedded)
            workspace.give(sums)
        }
        compute.parallel(x.batch) { image, _ in
            let from = gradient.base + (image * gradient.width + leading) * width
            (dEmbedded.base + image * count * width).update(from: from, count: count * width)
        }
        compute.parallel(gradient.width) { token, _ in
            let sum = sums.base + token * width
            sum.update(repeating: 0, count: width)
            for image in 0..<x.batch {
                RowSums.columns(gradient.base + (image * gradient.width + token) * width, 1, width, into: sum)
            }
        }
        RowSums.columns(sums.base, 1, width, into: gradients + classToken)
        RowSums.columns(sums.base, 1, width, into: gradients + positions)
        if let registerTokens {
            RowSums.columns(sums.base + width, 1, registers * width, into: gradients + registerTokens)
        }
        let patches = sums.base + leading * width
        RowSums.columns(patches, count, width, into: gradients + bias)
        try grid.backward(patches, height: height, width: columns, addingTo: gradients + positions + width, compute)
        try convolution.weightGradient(x, .init(dEmbedded.base, channels: width), memory, compute)
    }
}
