/// dw (m, n) += x^T dy, summed over many rows: the weight gradient of a convolution that is a matrix product.
///
/// Some rows at a time are brought to memory whose row distance suits the cache. A small result is summed by each thread over rows of its own;
/// a large one is shared by the threads, each value of it one chain of fused multiply-adds along the rows.
enum RowProductSum {
    /// Values of a result that each thread sums by itself, up to 1 MiB.
    private static let mostSeparately = 1 << 18
    private static let rowsPerPart = 256
    private static let rowsPerStage = 1024
    /// Rows of the result an item has.
    private static let itemRows = 8 * RegisterTile.rows

    /// - Parameters:
    ///   - m: values of a row of x, at most as many as `put` writes. n: of dy.
    ///   - put: writes rows `rows` of x from the address on, each the given distance from the one before.
    static func add(
        to dw: FloatPointer, _ m: Int, _ n: Int, rows: Int, dy: ConvolutionInput, _ compute: Compute,
        put: (_ rows: Range<Int>, _ target: FloatPointer, _ rowStride: Int) -> Void
    ) throws {
        let operands = Operands(m: m, n: n, dy: dy)
        if m * n <= mostSeparately {
            try addSeparately(to: dw, operands, rows: rows, compute, put)
        } else {
            try addShared(to: dw, operands, rows: rows, compute, put)
        }
    }

    private struct Operands {
        let m: Int
        let n: Int
        let dy: ConvolutionInput

        // An odd number of cache lines, see `WinogradPlan.rowStride`.
        var xRow: Int { WinogradPlan.rowStride(m) }
        var dyRow: Int { WinogradPlan.rowStride(n) }

        /// Values of memory for `rows` rows of x, then of dy, with what a panel reads behind the last column.
        func count(_ rows: Int) -> Int { rows * (xRow + dyRow) + PanelProduct.width }

        func copyGradient(_ rows: Range<Int>, to target: FloatPointer) {
            dy.copy(rows, to: target, rowStride: dyRow)
        }

        func right(_ dys: UnsafePointer<Float>) -> PanelProduct.Right {
            .init(base: dys, panelStride: PanelProduct.width, depthStride: dyRow)
        }
    }

    private static func addSeparately(
        to dw: FloatPointer, _ operands: Operands, rows: Int, _ compute: Compute,
        _ put: (_ rows: Range<Int>, _ target: FloatPointer, _ rowStride: Int) -> Void
    ) throws {
        let (m, n, xRow) = (operands.m, operands.n, operands.xRow)
        let scratch = try compute.scratch(operands.count(rowsPerPart), for: compute.threads)
        let parts = (rows + rowsPerPart - 1) / rowsPerPart
        try PartialSums.add(to: dw, m * n, over: parts, compute) { partial, worker, range in
            let xs = scratch[worker]
            let dys = xs + rowsPerPart * xRow
            for part in range where !Cancellation.isRequested {
                let taken = part * rowsPerPart..<min(rows, (part + 1) * rowsPerPart)
                put(taken, xs, xRow)
                operands.copyGradient(taken, to: dys)
                PanelProduct.multiply(
                    m, n, taken.count, .init(base: xs, rowStride: 1, depthStride: xRow), operands.right(dys), partial, n, accumulate: true)
            }
        }
    }

    private static func addShared(
        to dw: FloatPointer, _ operands: Operands, rows count: Int, _ compute: Compute,
        _ put: (_ rows: Range<Int>, _ target: FloatPointer, _ rowStride: Int) -> Void
    ) throws {
        let (m, n, xRow, dyRow) = (operands.m, operands.n, operands.xRow, operands.dyRow)
        let stage = min(count, rowsPerStage)
        let memory = try compute.workspace.take(operands.count(stage))
        defer { compute.workspace.give(memory) }
        let xs = memory.base
        let dys = xs + stage * xRow
        let panels = (n + PanelProduct.width - 1) / PanelProduct.width
        let blocks = (m + itemRows - 1) / itemRows
        let copiedRows = 64
        func rows(_ stage: Int) -> Range<Int> { stage * rowsPerStage..<min(count, (stage + 1) * rowsPerStage) }
        let stages = (count + rowsPerStage - 1) / rowsPerStage
        let counts = (0..<stages).flatMap { [(rows($0).count + copiedRows - 1) / copiedRows, panels * blocks] }
        compute.parallelPhases(counts) { phase, item, _ in
            let rows = rows(phase / 2)
            if phase % 2 == 0 {
                let first = rows.lowerBound + item * copiedRows
                let taken = first..<min(rows.upperBound, first + copiedRows)
                put(taken, xs + (first - rows.lowerBound) * xRow, xRow)
                operands.copyGradient(taken, to: dys + (first - rows.lowerBound) * dyRow)
                return
            }
            let column = item / blocks * PanelProduct.width
            let row = item % blocks * itemRows
            PanelProduct.multiply(
                min(itemRows, m - row), min(PanelProduct.width, n - column), rows.count,
                .init(base: xs + row, rowStride: 1, depthStride: xRow), operands.right(dys + column), dw + row * n + column, n,
                accumulate: true)
        }
    }
}
