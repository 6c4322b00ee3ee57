/// A pre-norm transformer block (Dosovitskiy et al., arXiv 2010.11929) on tokens (B, 1, T, D): attention, then a
/// perceptron with GELU, each on normalised tokens and added to them, scaled by channel where the block has LayerScale
/// (Touvron et al., arXiv 2103.17239) and left out for some images in training by stochastic depth (Huang et al., arXiv
/// 1603.09382). Names are timm's.
struct TransformerBlock {
    let number: Int
    let width: Int
    let heads: Int
    let norm1: LayerNorm
    let joined: RowLinear
    let projection: RowLinear
    let norm2: LayerNorm
    let perceptron: TransformerPerceptron
    /// Places of LayerScale's factors of the two branches.
    let scale1: Int?
    let scale2: Int?
    /// The share of images whose branches are left out.
    let dropRate: Double

    init(
        _ layout: inout ParameterLayout, _ name: String, number: Int, width: Int, layerScale: Double?, dropRate: Double
    ) {
        self.number = number
        self.width = width
        self.dropRate = dropRate
        heads = width / Attention.headWidth
        func scale(_ place: Int) -> Int? {
            layerScale.map {
                layout.add("\(name).ls\(place).gamma", [width], .normScale, initialScale: Float($0))
            }
        }
        norm1 = LayerNorm(&layout, "\(name).norm1", width)
        joined = RowLinear(&layout, "\(name).attn.qkv", width, 3 * width)
        projection = RowLinear(&layout, "\(name).attn.proj", width, width)
        scale1 = scale(1)
        norm2 = LayerNorm(&layout, "\(name).norm2", width)
        perceptron = TransformerPerceptron(&layout, "\(name).mlp", width)
        scale2 = scale(2)
    }

    private func shape(_ x: Activation) -> Attention.Shape {
        Attention.Shape(images: x.batch, tokens: x.width, heads: heads)
    }

    /// Training mode.
    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Tape {
        let workspace = compute.workspace
        let rows = x.rows
        let keep1 = memory.draws?.branchFactors(2 * number, images: x.batch, dropRate)
        let keep2 = memory.draws?.branchFactors(2 * number + 1, images: x.batch, dropRate)

        let moments1 = try workspace.take(2 * rows)
        let together = try workspace.takeActivation(x.batch, 1, x.width, 3 * width, groups: x.groups)
        try joined.forward(rows: rows, into: together.base, memory, compute) { rows, scratch in
            norm1.apply(
                x.base + rows.lowerBound * width, rows.count, into: scratch,
                moments: moments1.base + 2 * rows.lowerBound, memory)
            return UnsafePointer(scratch)
        }
        let attended = try workspace.takeActivation(like: x)
        let logSums = try workspace.take(x.batch * heads * x.width)
        try attend(together, x, into: attended, logSums: logSums.base, compute)

        let projected = try scale1.map { _ in try workspace.takeActivation(like: x) }
        let middle = try workspace.takeActivation(like: x)
        let moments2 = try workspace.take(2 * rows)
        let hidden = try workspace.takeActivation(x.batch, 1, x.width, 4 * width, groups: x.groups)
        let contracted = try scale2.map { _ in try workspace.takeActivation(like: x) }
        let result = try workspace.takeActivation(like: x)
        let kept = Kept(
            projected: projected?.base, middle: middle.base, moments2: moments2.base, hidden: hidden.base,
            contracted: contracted?.base)
        try finish(x, attended, into: result.base, kept: kept, keep1, keep2, memory, compute)
        return Tape(
            x: x, moments1: moments1, joined: together, logSums: logSums, attended: attended, projected: projected,
            middle: middle, moments2: moments2, hidden: hidden, contracted: contracted, result: result, keep1: keep1,
            keep2: keep2)
    }

    private func attend(
        _ together: Activation, _ x: Activation, into attended: Activation, logSums: FloatPointer?, _ compute: Compute
    ) throws {
        let shape = shape(x)
        try compute.measured(
            "blocks.\(number).attn", .forward, operations: shape.operations, values: together.count + attended.count
        ) { try Attention.forward(together.base, shape, into: attended.base, logSums: logSums, compute) }
    }

    /// x + branch for rows `rows`, whose first the pointers point at; the branch times LayerScale's factors and those
    /// of the images, of `tokens` rows.
    private func add(
        _ branch: UnsafePointer<Float>, _ scale: Int?, _ keep: [Float]?, tokens: Int, to x: UnsafePointer<Float>,
        _ rows: Range<Int>, into out: FloatPointer, _ memory: ModelMemory
    ) {
        let factors = scale.map { UnsafePointer(memory.parameters + $0) }
        for row in rows {
            let at = (row &- rows.lowerBound) &* width
            let keep = Float8(repeating: keep?[row / tokens] ?? 1)
            var c = 0
            while c < width {
                let factor = factors.map { load8($0 + c) * keep } ?? keep
                store8(fma8(load8(branch + at + c), factor, load8(x + at + c)), out + at + c)
                c &+= 8
            }
        }
    }

    /// Where a pass in training mode keeps, of all rows, what a tape has.
    private struct Kept {
        let projected: FloatPointer?
        let middle: FloatPointer
        let moments2: FloatPointer
        let hidden: FloatPointer
        let contracted: FloatPointer?
    }

    /// Values of a part of `finish`: some 400 KiB, which leave panels of weights room in a second level cache.
    private static let partValues = 104_000

    /// Everything behind attention, in parts of rows whose values stay in cache. Without `kept`, `result` may be x.
    private func finish(
        _ x: Activation, _ attended: Activation, into result: FloatPointer, kept: Kept?,
        _ keep1: [Float]?, _ keep2: [Float]?, _ memory: ModelMemory, _ compute: Compute
    ) throws {
        let rowValues = 2 * width + TransformerPerceptron.scratchWidth
        let parts = RowLinear.parts(x.rows, compute, atMost: min(RowLinear.mostRows, Self.partValues / rowValues))
        let scratch = try compute.scratch(parts.size * rowValues)
        try compute.measured(
            "blocks.\(number).mlp", .forward,
            operations: perceptron.operations(x.rows) + 2 * Double(x.rows) * Double(width * width),
            values: 3 * x.count + (kept == nil ? 0 : 5 * x.count)
        ) {
            try projection.withWeights(rows: x.rows, memory, compute) { projectionWeights in
                try perceptron.expansion.withWeights(rows: x.rows, memory, compute) { expansionWeights in
                    try perceptron.contraction.withWeights(rows: x.rows, memory, compute) { contractionWeights in
                        compute.parallel(parts.count) { part, worker in
                            let rows = parts[part]
                            let at = rows.lowerBound * width
                            let branch = scratch[worker]
                            let normed = branch + width * parts.size
                            let projected = kept?.projected.map { $0 + at } ?? branch
                            let middle = (kept?.middle ?? result) + at
                            let contracted = kept?.contracted.map { $0 + at } ?? branch
                            projection.multiply(
                                attended.base + at, rows.count, projectionWeights, into: projected, memory)
                            add(projected, scale1, keep1, tokens: x.width, to: x.base + at, rows, into: middle, memory)
                            norm2.apply(
                                middle, rows.count, into: normed,
                                moments: kept.map { $0.moments2 + 2 * rows.lowerBound }, memory)
                            perceptron.forward(
                                normed, rows.count, expansionWeights, contractionWeights,
                                hidden: kept.map { $0.hidden + 4 * at }, scratch: normed + width * parts.size,
                                into: contracted, memory)
                            add(contracted, scale2, keep2, tokens: x.width, to: middle, rows, into: result + at, memory)
                        }
                    }
                }
            }
        }
    }

    /// Evaluation mode: x becomes the block's result.
    func evaluate(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws {
        let workspace = compute.workspace
        let together = try workspace.takeActivation(x.batch, 1, x.width, 3 * width)
        let attended = try workspace.takeActivation(like: x)
        defer {
            workspace.give(together)
            workspace.give(attended)
        }
        try joined.forward(rows: x.rows, into: together.base, memory, compute) { rows, scratch in
            norm1.apply(x.base + rows.lowerBound * width, rows.count, into: scratch, memory)
            return UnsafePointer(scratch)
        }
        try attend(together, x, into: attended, logSums: nil, compute)
        try finish(x, attended, into: x.base, kept: nil, nil, nil, memory, compute)
    }

    /// `gradient`, that of the block's result, becomes that of its input. Consumes the tape, not its result.
    func backward(_ gradient: Activation, _ tape: Tape, _ memory: ModelMemory, _ compute: Compute) throws {
        let workspace = compute.workspace
        let rows = tape.x.rows
        let normed = try workspace.takeActivation(like: tape.x)
        defer { workspace.give(normed) }

        try withBranchGradient(gradient, tape.contracted, scale2, tape.keep2, memory, compute) { branch in
            let dHidden = try workspace.takeActivation(like: tape.hidden)
            let activated = try workspace.takeActivation(like: tape.hidden)
            let (expansion, contraction) = (perceptron.expansion, perceptron.contraction)
            let parts = RowSums.parts(rows)
            try compute.measured(
                "blocks.\(number).mlp", .dataGradient, operations: perceptron.operations(rows),
                values: 3 * tape.hidden.count + 2 * tape.x.count
            ) {
                try expansion.withTransposedWeights(rows: rows, memory, compute) { expansionWeights in
                    try contraction.withTransposedWeights(rows: rows, memory, compute) { contractionWeights in
                        compute.parallel(parts.count) { part, _ in
                            let at = parts[part].lowerBound * width
                            perceptron.backward(
                                branch + at, parts[part].count, expansionWeights, contractionWeights,
                                hidden: tape.hidden.base + 4 * at, activated: activated.base + 4 * at,
                                dHidden: dHidden.base + 4 * at, dx: normed.base + at)
                        }
                    }
                }
            }
            // Before `gradient`, which may be `branch`, changes.
            try contraction.weightGradient(activated.base, branch, rows: rows, memory, compute)
            workspace.give(activated)
            try norm2.backward(
                tape.middle, moments: tape.moments2.base, normed, addingTo: gradient, memory, compute)
            try expansion.weightGradient(normed.base, dHidden.base, rows: rows, memory, compute)
            workspace.give(dHidden)
        }
        try withBranchGradient(gradient, tape.projected, scale1, tape.keep1, memory, compute) { branch in
            let dAttended = try workspace.takeActivation(like: tape.x)
            try projection.dataGradient(branch, rows: rows, into: dAttended.base, memory, compute)
            try projection.weightGradient(tape.attended.base, branch, rows: rows, memory, compute)
            let dJoined = try workspace.takeActivation(like: tape.joined)
            let shape = shape(tape.x)
            try compute.measured(
                "blocks.\(number).attn", .backward, operations: 2.5 * shape.operations,
                values: 2 * tape.joined.count + 2 * tape.x.count
            ) {
                try Attention.backward(
                    tape.joined.base, out: tape.attended.base, logSums: tape.logSums.base, gradient: dAttended.base,
                    shape, into: dJoined.base, compute)
            }
            workspace.give(dAttended)
            try joined.dataGradient(dJoined.base, rows: rows, into: normed.base, memory, compute)
            try norm1.backward(tape.x, moments: tape.moments1.base, normed, addingTo: gradient, memory, compute)
            try joined.weightGradient(normed.base, dJoined.base, rows: rows, memory, compute)
            workspace.give(dJoined)
        }
        tape.release(workspace)
    }

    /// Lends the gradient of a branch, given that of the sum it was added to; adds the gradient of LayerScale's
    /// factors.
    private func withBranchGradient(
        _ gradient: Activation, _ branch: Activation?, _ scale: Int?, _ keep: [Float]?, _ memory: ModelMemory,
        _ compute: Compute, _ body: (UnsafePointer<Float>) throws -> Void
    ) throws {
        if scale == nil && keep == nil { return try body(gradient.base) }
        let scaled = try compute.workspace.takeActivation(like: gradient)
        defer { compute.workspace.give(scaled) }
        let tokens = gradient.width
        let sums = try RowSums(gradient.rows, values: width, compute)
        let factors = scale.map { UnsafePointer(memory.parameters + $0) }
        compute.parallel(sums.parts.count) { part, _ in
            for row in sums.parts[part] {
                let at = row &* width
                let keep = Float8(repeating: keep?[row / tokens] ?? 1)
                var c = 0
                while c < width {
                    let g = load8(gradient.base + at + c) * keep
                    if let branch {
                        let sum = sums[part] + c
                        store8(fma8(g, load8(branch.base + at + c), load8(sum)), sum)
                    }
                    store8(factors.map { g * load8($0 + c) } ?? g, scaled.base + at + c)
                    c &+= 8
                }
            }
        }
        sums.add(to: scale.flatMap { place in memory.gradients.map { $0 + place } }, compute)
        try body(scaled.base)
    }
}
