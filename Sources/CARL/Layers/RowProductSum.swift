/// dw (m, n) += x^T dy, summed over many rows: the weight gradient of a convolution that is a matrix product.
///
/// Some rows at a time are brought to memory whose row distance suits the cache; then the threads share the result, each value of which
/// is one chain of fused multiply-adds along the rows: the same for any number of threads.
enum RowProductSum {
    private static let rowsPerStage = 1024
    /// Rows of the result an item has.
    private static let itemRows = 8 * RegisterTile.rows

    /// - Parameters:
    ///   - m: values of a row of x, at most as many as `put` writes. n: of dy.
    ///   - put: writes rows `rows` of x from the address on, each the given distance from the one before.
    static func add(
        to dw: FloatPointer, _ m: Int, _ n: Int, rows: Int, dy: UnsafePointer<Float>, _ compute: Compute,
        put: (_ rows: Range<Int>, _ target: FloatPointer, _ rowStride: Int) -> Void
    ) throws {
        // An odd number of cache lines, see `WinogradPlan.rowStride`, with what a panel reads behind the last column.
        let xRow = WinogradPlan.rowStride(m)
        let dyRow = WinogradPlan.rowStride(n)
        let stage = min(rows, rowsPerStage)
        let memory = try compute.workspace.take(stage * (xRow + dyRow) + PanelProduct.width)
        defer { compute.workspace.give(memory) }
        let xs = memory.base
        let dys = xs + stage * xRow
        let panels = (n + PanelProduct.width - 1) / PanelProduct.width
        let blocks = (m + itemRows - 1) / itemRows
        for first in stride(from: 0, to: rows, by: rowsPerStage) {
            let count = min(rowsPerStage, rows - first)
            compute.parallelRanges(count, grain: 16) { _, range in
                let taken = first + range.lowerBound..<first + range.upperBound
                put(taken, xs + range.lowerBound * xRow, xRow)
                for row in range { (dys + row &* dyRow).update(from: dy + (first &+ row) &* n, count: n) }
            }
            compute.parallel(panels * blocks) { item, _ in
                let column = item / blocks * PanelProduct.width
                let row = item % blocks * itemRows
                PanelProduct.multiply(
                    min(itemRows, m - row), min(PanelProduct.width, n - column), count,
                    .init(base: xs + row, rowStride: 1, depthStride: xRow),
                    .init(base: dys + column, panelStride: PanelProduct.width, depthStride: dyRow),
                    dw + row * n + column, n, accumulate: true)
            }
        }
    }
}
