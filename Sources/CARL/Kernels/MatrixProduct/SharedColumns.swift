/// Products of few parts of rows, shared by columns too: for one image there are fewer parts than threads, or so few
/// that some threads are left without one, and every part reads all weights.
///
/// Values are the same either way (see `PackedGEMM`), so the choice may depend on the number of threads.
enum SharedColumns {
    /// Rows of a block. The depth that `PackedGEMM` does at a time, of so many rows, stays in the second level cache.
    private static let rowsPerBlock = 256
    /// Values of A that are worth preparing as a whole: 1 MiB, or what one block takes.
    private static let mostPrepared = 1 << 18
    /// Rows that are prepared at a time.
    private static let slice = 8
    /// Parts of rows for each thread from which on rows alone are shared evenly.
    private static let partsPerThread = 8
    /// Items of work for each thread: few, so that panels that lie side by side, each prefetched while the one before
    /// is multiplied, mostly go to one thread.
    private static let itemsPerThread = 2
    /// Multiply-adds below which sharing costs more than it gains: tens of microseconds of one thread.
    private static let leastWork = 1 << 20

    /// Whether a product of rows in `parts` is better shared by columns.
    ///
    /// - Parameter prepared: A is made from something else first, as a whole.
    static func pays(_ parts: RowParts, columns: Int, depth: Int, prepared: Bool, _ compute: Compute) -> Bool {
        guard compute.threads > 1, parts.count < partsPerThread * compute.threads else { return false }
        if prepared && parts.rows > rowsPerBlock && parts.rows * depth > mostPrepared { return false }
        return columns >= 2 * PackedGEMM.width && parts.rows * columns * depth >= leastWork
    }

    /// C (rows, columns) = A * B, or added to C. `prepare` writes rows of A before they are read, nil if they are
    /// there; its values lie side by side. `epilogue` is called for `parts`.
    ///
    /// For a `b` of pairs A is rounded once, as a whole, and not again for each block of columns, unless it is of pairs
    /// already.
    static func multiply(
        _ parts: RowParts, columns: Int, depth: Int, _ a: PackedGEMM.Left, _ b: PackedGEMM.Right, _ c: FloatPointer,
        accumulate: Bool, _ compute: Compute, prepare: ((_ rows: Range<Int>) -> Void)?, epilogue: Epilogue?
    ) throws {
        let width = PackedGEMM.width
        let rowBlocks = (parts.rows + rowsPerBlock - 1) / rowsPerBlock
        let tiles = (parts.rows + PackedGEMM.rows - 1) / PackedGEMM.rows
        let rowBlock = (tiles + rowBlocks - 1) / rowBlocks * PackedGEMM.rows
        let panels = (columns + width - 1) / width
        let columnBlock = max(1, panels * rowBlocks / (itemsPerThread * compute.threads)) * width
        let columnBlocks = (columns + columnBlock - 1) / columnBlock
        let words = b.format.words(depth)
        let paired = b.format == .float32 || a.isPaired ? nil : try compute.workspace.takePassing(parts.rows * words)
        defer { if let paired { compute.workspace.givePassing(paired) } }
        let left = paired.map { PackedGEMM.Left(base: $0.base, rowStride: words, depthStride: 1, isPaired: true) } ?? a
        let slices = prepare == nil && paired == nil ? 0 : (parts.rows + slice - 1) / slice
        let counts = [slices, columnBlocks * rowBlocks, epilogue == nil ? 0 : parts.count]
        compute.parallelPhases(counts) { phase, item, _ in
            switch phase {
            case 0:
                let rows = item * slice..<min(parts.rows, (item + 1) * slice)
                prepare?(rows)
                guard let paired else { return }
                for row in rows { BFloat16.pair(a.base + row * a.rowStride, depth, to: paired.base + row * words) }
            case 1:
                let (row, column) = (item % rowBlocks * rowBlock, item / rowBlocks * columnBlock)
                guard row < parts.rows else { return }
                PackedGEMM.multiply(
                    min(rowBlock, parts.rows - row), min(columnBlock, columns - column), words, left.from(row: row),
                    b.from(column: column), c + row * columns + column, columns, accumulate: accumulate)
            default: epilogue?(item, parts[item], c)
            }
        }
    }
}
