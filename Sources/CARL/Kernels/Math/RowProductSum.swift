/// dw (m, n) += x^T dy, summed over many rows: the weight gradient of a convolution that is a matrix product.
///
/// Some rows at a time are brought to memory as the micro-kernel reads them, columns of x in blocks and those of dy in
/// panels, so that a tile reads neighbouring pages. A small result is summed by each thread over rows of its own; a
/// large one is shared by the threads, each value of it one chain of fused multiply-adds along the rows. Of bfloat16
/// operands, a word of two rows' values is in the place of a value, and memory has half as many rows.
enum RowProductSum {
    /// Values of a result that each thread sums by itself, up to 1 MiB.
    private static let mostSeparately = 1 << 18
    private static let rowsPerPart = 256
    private static let rowsPerStage = 1024
    /// Columns of x in a block, rows of the result that an item has.
    private static let blockColumns = 16 * MicroKernel.rows
    /// Panels of columns of the result that an item has: a block of x is read once for all of them.
    private static let itemPanels = 384 / PackedGEMM.width
    /// Rows of an item of copying, and those that are copied at a time.
    private static let sharedRows = 64
    private static let copiedRows = 16

    /// - Parameters:
    ///   - m: values of a row of x. n: of dy.
    ///   - x: gives the first of some rows of x, one behind the other; it may make them in memory for as many.
    static func add(
        to dw: FloatPointer, _ m: Int, _ n: Int, rows: Int, dy: ConvolutionInput, _ compute: Compute,
        x: (_ rows: Range<Int>, _ scratch: FloatPointer) -> UnsafePointer<Float>
    ) throws {
        try withoutActuallyEscaping(x) { x in
            let format = compute.format(rows: m, columns: n, depth: rows)
            let operands = Operands(m: m, n: n, dy: dy, x: x, format: format)
            if m * n <= mostSeparately {
                try addSeparately(to: dw, operands, rows: rows, compute)
            } else {
                try addShared(to: dw, operands, rows: rows, compute)
            }
        }
    }

    private struct Operands {
        let m: Int
        let n: Int
        let dy: ConvolutionInput
        let x: (_ rows: Range<Int>, _ scratch: FloatPointer) -> UnsafePointer<Float>
        let format: ProductFormat

        /// Blocks of columns of x.
        var blocks: Int { (m + blockColumns - 1) / blockColumns }
        /// Panels of columns of dy.
        var panels: Int { (n + PackedGEMM.width - 1) / PackedGEMM.width }

        /// Values of memory for `rows` rows of x in blocks, then of dy in panels.
        func count(_ rows: Int) -> Int { rows * (blocks * blockColumns + panels * PackedGEMM.width) }

        /// Values of memory that `copy` works in.
        var copyCount: Int { (format == .float32 ? 1 : 2) * copiedRows * max(m, n) }

        func panelMemory(_ memory: FloatPointer, _ rows: Int) -> FloatPointer { memory + rows * blocks * blockColumns }

        /// Brings rows `taken`, of `stage`, to their places in memory for `rows` rows.
        func copy(
            _ taken: Range<Int>, of stage: Range<Int>, to memory: FloatPointer, rows: Int, scratch: FloatPointer
        ) {
            for first in stride(from: taken.lowerBound, to: taken.upperBound, by: copiedRows) {
                let some = first..<min(taken.upperBound, first + copiedRows)
                let place = (first - stage.lowerBound) / format.depthPerWord
                let count = format.words(some.count)
                Self.spread(
                    words(x(some, scratch), some.count, m, scratch), count, m, width: blockColumns, to: memory,
                    from: place, rows: rows)
                Self.spread(
                    words(dy.pixels(some, scratch) + some.lowerBound * n, some.count, n, scratch), count, n,
                    width: PackedGEMM.width, to: panelMemory(memory, rows), from: place, rows: rows)
            }
        }

        /// Rows as they are, or as rows of words in the second half of `scratch`.
        private func words(_ source: UnsafePointer<Float>, _ count: Int, _ columns: Int, _ scratch: FloatPointer)
            -> UnsafePointer<Float>
        {
            if format == .float32 { return source }
            let target = scratch + copyCount / 2
            BFloat16.pairRows(source, count, columns, to: target)
            return UnsafePointer(target)
        }

        /// Rows of `columns` values become pieces of `width` values: those of a run of columns lie one behind the other.
        /// What is behind the last column counts for nothing, and is made 0.
        private static func spread(
            _ source: UnsafePointer<Float>, _ count: Int, _ columns: Int, width: Int, to target: FloatPointer,
            from place: Int,
            rows: Int
        ) {
            for first in stride(from: 0, to: columns, by: width) {
                let taken = min(width, columns - first)
                var to = target + (first * rows + place * width)
                var from = source + first
                for _ in 0..<count {
                    to.update(from: from, count: taken)
                    if taken < width { (to + taken).update(repeating: 0, count: width - taken) }
                    to += width
                    from += columns
                }
            }
        }

        /// Adds the product of `depth` rows (of words) that lie in memory for `rows` rows: a block of columns of x with some
        /// panels of dy.
        func multiply(
            _ memory: FloatPointer, rows: Int, depth: Int, block: Int, panels: Range<Int>, to dw: FloatPointer
        ) {
            let (row, column) = (block * blockColumns, panels.lowerBound * PackedGEMM.width)
            PackedGEMM.multiply(
                min(blockColumns, m - row), min(n, panels.upperBound * PackedGEMM.width) - column, depth,
                .init(
                    base: memory + row * rows, rowStride: 1, depthStride: blockColumns, isPaired: format != .float32),
                .init(
                    base: panelMemory(memory, rows) + column * rows, panelStride: PackedGEMM.width * rows,
                    depthStride: PackedGEMM.width,
                    isFar: depth * panels.count * PackedGEMM.width >= PackedGEMM.farCount, format: format),
                dw + row * n + column, n, accumulate: true)
        }
    }

    private static func addSeparately(
        to dw: FloatPointer, _ operands: Operands, rows: Int, _ compute: Compute
    ) throws {
        let memoryRows = operands.format.words(rowsPerPart)
        let count = operands.count(memoryRows)
        let scratch = try compute.scratch(count + operands.copyCount, for: compute.threads)
        let parts = (rows + rowsPerPart - 1) / rowsPerPart
        try PartialSums.add(to: dw, operands.m * operands.n, over: parts, compute) { partial, worker, range in
            for part in range where !Cancellation.isRequested {
                let taken = part * rowsPerPart..<min(rows, (part + 1) * rowsPerPart)
                let memory = scratch[worker]
                operands.copy(taken, of: taken, to: memory, rows: memoryRows, scratch: memory + count)
                for block in 0..<operands.blocks {
                    operands.multiply(
                        memory, rows: memoryRows, depth: operands.format.words(taken.count), block: block,
                        panels: 0..<operands.panels, to: partial)
                }
            }
        }
    }

    private static func addShared(
        to dw: FloatPointer, _ operands: Operands, rows count: Int, _ compute: Compute
    ) throws {
        let stageRows = operands.format.words(min(count, rowsPerStage))
        let memory = try compute.workspace.take(operands.count(stageRows))
        defer { compute.workspace.give(memory) }
        let scratch = try compute.scratch(operands.copyCount)
        let runs = (operands.panels + itemPanels - 1) / itemPanels
        func rows(_ stage: Int) -> Range<Int> { stage * rowsPerStage..<min(count, (stage + 1) * rowsPerStage) }
        let stages = (count + rowsPerStage - 1) / rowsPerStage
        let counts = (0..<stages).flatMap { [(rows($0).count + sharedRows - 1) / sharedRows, runs * operands.blocks] }
        compute.parallelPhases(counts) { phase, item, worker in
            let rows = rows(phase / 2)
            if phase % 2 == 0 {
                let first = rows.lowerBound + item * sharedRows
                let taken = first..<min(rows.upperBound, first + sharedRows)
                operands.copy(taken, of: rows, to: memory.base, rows: stageRows, scratch: scratch[worker])
                return
            }
            let first = item / operands.blocks * itemPanels
            operands.multiply(
                memory.base, rows: stageRows, depth: operands.format.words(rows.count),
                block: item % operands.blocks, panels: first..<min(operands.panels, first + itemPanels), to: dw)
        }
    }
}
