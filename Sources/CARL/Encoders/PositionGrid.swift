/// Resamples position embeddings, learnt for a square grid of patches, to another grid: bicubic with antialiasing
/// (Keys' a = -0.5), as timm does, and DINOv2 for its models with registers. A grid of the same size is taken as it is.
struct PositionGrid {
    /// Patches of a side of the learnt grid.
    let side: Int
    /// D.
    let width: Int

    /// Which inputs an output of an axis takes, and with what weights.
    private struct Axis {
        let starts: [Int]
        let weights: [[Float]]

        init(from side: Int, to count: Int) {
            let scratch = FloatPointer.allocate(capacity: ResamplingAxis.scratchCount(inputs: side, outputs: count))
            defer { scratch.deallocate() }
            let axis = ResamplingAxis(
                .bicubic, inputs: side, fullOutputs: count, offset: 0, outputs: count, scratch: scratch)
            starts = (0..<count).map { Int(axis.starts[$0]) }
            weights = (0..<count).map { output in (0..<axis.taps).map { axis.weights[output * axis.taps + $0] } }
        }

        func forEachTap(_ output: Int, _ body: (_ input: Int, _ weight: Float) -> Void) {
            for (i, weight) in weights[output].enumerated() where weight != 0 { body(starts[output] + i, weight) }
        }
    }

    /// Positions (h, w, D) of the learnt ones (side, side, D), lent to `body`.
    func with(
        _ learnt: UnsafePointer<Float>, height: Int, width columns: Int, _ compute: Compute,
        _ body: (UnsafePointer<Float>) throws -> Void
    ) throws {
        if height == side && columns == side { return try body(learnt) }
        let (rows, across) = (Axis(from: side, to: height), Axis(from: side, to: columns))
        let between = try compute.workspace.take(side * columns * width)
        let result = try compute.workspace.take(height * columns * width)
        defer {
            compute.workspace.give(between)
            compute.workspace.give(result)
        }
        compute.parallel(side) { y, _ in
            for x in 0..<columns {
                let target = between.base + (y * columns + x) * width
                target.update(repeating: 0, count: width)
                across.forEachTap(x) { add(learnt + (y * side + $0) * width, $1, width, to: target) }
            }
        }
        compute.parallel(height) { y, _ in
            let target = result.base + y * columns * width
            target.update(repeating: 0, count: columns * width)
            rows.forEachTap(y) { add(between.base + $0 * columns * width, $1, columns * width, to: target) }
        }
        try body(result.base)
    }

    /// Adds the gradient of the learnt positions, given that of (h, w, D).
    func backward(
        _ gradient: UnsafePointer<Float>, height: Int, width columns: Int, addingTo learnt: FloatPointer,
        _ compute: Compute
    ) throws {
        if height == side && columns == side {
            return compute.parallel(side) { y, _ in
                let at = y * side * width
                add(gradient + at, 1, side * width, to: learnt + at)
            }
        }
        let (rows, across) = (Axis(from: side, to: height), Axis(from: side, to: columns))
        let between = try compute.workspace.take(side * columns * width)
        defer { compute.workspace.give(between) }
        compute.parallel(side) { input, _ in
            let target = between.base + input * columns * width
            target.update(repeating: 0, count: columns * width)
            for y in 0..<height {
                rows.forEachTap(y) {
                    if $0 == input { add(gradient + y * columns * width, $1, columns * width, to: target) }
                }
            }
        }
        compute.parallel(side) { y, _ in
            for x in 0..<columns {
                let from = between.base + (y * columns + x) * width
                across.forEachTap(x) { add(from, $1, width, to: learnt + (y * side + $0) * width) }
            }
        }
    }

    /// target += factor * source. `count` is a multiple of 8.
    private func add(_ source: UnsafePointer<Float>, _ factor: Float, _ count: Int, to target: FloatPointer) {
        let factor8 = Float8(repeating: factor)
        var i = 0
        while i < count {
            store8(fma8(load8(source + i), factor8, load8(target + i)), target + i)
            i &+= 8
        }
    }
}
