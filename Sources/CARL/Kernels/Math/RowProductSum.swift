/// dw (m, n) += x^T dy, summed over many rows: the weight gradient of a convolution that is a matrix product.
///
/// Some rows at a time are brought to memory as the micro-kernel reads them, columns of x in tiles and those of dy in
/// panels. A small result is summed by each thread over rows of its own; a large one is shared by the threads, each
/// value of it one chain of fused multiply-adds along the rows. Of bfloat16 operands, a word of two rows' values is in
/// the place of a value, and memory has half as many rows.
enum RowProductSum {
    /// Gives the first of some rows of x, one behind the other; it may make them in `scratch`, which has room for 16.
    typealias Rows = (_ rows: Range<Int>, _ scratch: FloatPointer) -> UnsafePointer<Float>

    /// Values of a result that each thread sums by itself, up to 1 MiB.
    private static let mostSeparately = 1 << 18
    static let rowsPerPart = 256
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
    ///   - columnSums: gets the sums of the columns of x added, a multiple of 8, whatever the number of threads in the
    ///     same order.
    static func add(
        to dw: FloatPointer, _ m: Int, _ n: Int, rows: Int, dy: ConvolutionInput, columnSums: FloatPointer? = nil,
        _ compute: Compute, x: Rows
    ) throws {
        let isSmall = isSmall(m, n)
        let sums = try columnSums.map { _ in
            try RowSums(rows, values: m, rowsPerPart: isSmall ? rowsPerPart : sharedRows, compute)
        }
        if isSmall {
            let parts = (rows + rowsPerPart - 1) / rowsPerPart
            try addSeparately(to: dw, m, n, rows: rows, over: parts, scratch: 0, compute) { part, _, sum, _ in
                let taken = part * rowsPerPart..<min(rows, (part + 1) * rowsPerPart)
                sum.add(taken, dy: dy, columnSums: sums?[part], x: x)
            }
        } else {
            try addShared(to: dw, m, n, rows: rows, dy: dy, sums, compute, x: x)
        }
        if let columnSums { sums?.add(to: columnSums, compute) }
    }

    /// The operands in memory.
    fileprivate struct Operands {
        let m: Int
        let n: Int
        let format: ProductFormat

        /// Blocks of columns of x.
        var blocks: Int { (m + blockColumns - 1) / blockColumns }
        /// Panels of columns of dy.
        var panels: Int { (n + PackedGEMM.width - 1) / PackedGEMM.width }

        /// Values of memory for `rows` rows of x in tiles, then of dy in panels.
        func count(_ rows: Int) -> Int { rows * (blocks * blockColumns + panels * PackedGEMM.width) }

        /// Values of memory that `copy` works in.
        var copyCount: Int { (format == .float32 ? 1 : 2) * copiedRows * max(m, n) }

        func panelMemory(_ memory: FloatPointer, _ rows: Int) -> FloatPointer { memory + rows * blocks * blockColumns }

        /// Brings rows `taken`, of `stage`, to their places in memory for `rows` rows. `sums`, if given, gets the sums
        /// of the columns of x added.
        func copy(
            _ taken: Range<Int>, of stage: Range<Int>, to memory: FloatPointer, rows: Int, scratch: FloatPointer,
            dy: ConvolutionInput, sums: FloatPointer?, x: Rows
        ) {
            for first in stride(from: taken.lowerBound, to: taken.upperBound, by: copiedRows) {
                let some = first..<min(taken.upperBound, first + copiedRows)
                let place = (first - stage.lowerBound) / format.depthPerWord
                let count = format.words(some.count)
                let source = x(some, scratch)
                // First, as it takes rows from one end to the other and so brings them to the cache.
                if let sums { RowSums.columns(source, some.count, m, into: sums) }
                spreadTiles(
                    words(source, some.count, m, scratch), count, to: memory + place * MicroKernel.rows, rows: rows)
                spreadPanels(
                    words(dy.pixels(some, scratch) + some.lowerBound * n, some.count, n, scratch), count,
                    to: panelMemory(memory, rows) + place * PackedGEMM.width, rows: rows)
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

        /// Rows of x become pieces of as many values as a tile of the micro-kernel has rows.
        private func spreadTiles(
            _ source: UnsafePointer<Float>, _ count: Int, to target: FloatPointer, rows: Int
        ) {
            let width = MicroKernel.rows
            var first = 0
            while first &+ width <= m {
                var to = target + first &* rows
                var from = source + first
                for _ in 0..<count {
                    RowProductSum.copyTileRow(from, to)
                    to += width
                    from += m
                }
                first &+= width
            }
            for row in 0..<count where first < m {
                (target + (first &* rows &+ row &* width)).update(from: source + (row &* m &+ first), count: m &- first)
            }
        }

        /// Rows of dy become pieces of the width of a panel. What is behind the last column counts for nothing, and is
        /// made 0.
        private func spreadPanels(_ source: UnsafePointer<Float>, _ count: Int, to target: FloatPointer, rows: Int) {
            let width = PackedGEMM.width
            for first in stride(from: 0, to: n, by: width) {
                let (panel, taken) = (target + first * rows, min(width, n - first))
                if taken < width { panel.update(repeating: 0, count: count * width) }
                MatrixProduct.copyRows(source + first, n, taken, count, to: panel)
            }
        }

        /// Adds the product of `depth` rows (of words) that lie in memory for `rows` rows: a block of columns of x with
        /// some panels of dy.
        func multiply(
            _ memory: FloatPointer, rows: Int, depth: Int, block: Int, panels: Range<Int>, to dw: FloatPointer
        ) {
            let (row, column) = (block * blockColumns, panels.lowerBound * PackedGEMM.width)
            PackedGEMM.multiply(
                min(blockColumns, m - row), min(n, panels.upperBound * PackedGEMM.width) - column, depth,
                .init(tiles: memory + row * rows, depth: rows, isPaired: format != .float32),
                .init(
                    base: panelMemory(memory, rows) + column * rows, panelStride: PackedGEMM.width * rows,
                    depthStride: PackedGEMM.width,
                    isFar: depth * panels.count * PackedGEMM.width >= PackedGEMM.farCount, format: format),
                dw + row * n + column, n, accumulate: true)
        }
    }

    /// Copies the values of a row of a tile.
    @inline(__always)
    private static func copyTileRow(_ from: UnsafePointer<Float>, _ to: FloatPointer) {
        #if CARL_AVX512
            store8(load8(from), to)
        #else
            let last = UnsafeRawPointer(from + 4).loadUnaligned(as: SIMD2<Float>.self)
            UnsafeMutableRawPointer(to).storeBytes(
                of: UnsafeRawPointer(from).loadUnaligned(as: SIMD4<Float>.self), as: SIMD4<Float>.self)
            UnsafeMutableRawPointer(to + 4).storeBytes(of: last, as: SIMD2<Float>.self)
        #endif
    }

    /// Whether a result of m rows and n columns is so small that each thread sums it by itself.
    static func isSmall(_ m: Int, _ n: Int) -> Bool { m * n <= mostSeparately }

    /// Adds to a small result what `body` adds to the sum it is given, for each item its share of `rows` rows. `body`
    /// is told the item that its thread takes next, and has memory for `scratch` values.
    static func addSeparately(
        to dw: FloatPointer, _ m: Int, _ n: Int, rows: Int, over items: Int, scratch count: Int, _ compute: Compute,
        _ body: (_ item: Int, _ next: Int?, _ sum: OwnSum, _ scratch: FloatPointer) -> Void
    ) throws {
        let operands = Operands(m: m, n: n, format: compute.format(rows: m, columns: n, depth: rows))
        let ownCount = OwnSum.memoryCount(operands)
        let memory = try compute.scratch(ownCount + count, for: compute.threads)
        try PartialSums.add(to: dw, m * n, over: items, compute) { partial, worker, range in
            let sum = OwnSum(operands: operands, memory: memory[worker], dw: partial)
            for item in range where !Cancellation.isRequested {
                body(item, item + 1 < range.upperBound ? item + 1 : nil, sum, memory[worker] + ownCount)
            }
        }
    }

    /// A thread's own sum.
    struct OwnSum {
        fileprivate let operands: Operands
        fileprivate let memory: FloatPointer
        fileprivate let dw: FloatPointer

        private static func operandsCount(_ operands: Operands) -> Int {
            operands.count(operands.format.words(rowsPerPart))
        }

        fileprivate static func memoryCount(_ operands: Operands) -> Int {
            operandsCount(operands) + operands.copyCount
        }

        /// Adds the product of rows `range`; the rest as of `RowProductSum.add`.
        func add(_ range: Range<Int>, dy: ConvolutionInput, columnSums: FloatPointer? = nil, x: Rows) {
            let words = operands.format.words
            let scratch = memory + Self.operandsCount(operands)
            for first in stride(from: range.lowerBound, to: range.upperBound, by: rowsPerPart) {
                let taken = first..<min(range.upperBound, first + rowsPerPart)
                operands.copy(
                    taken, of: taken, to: memory, rows: words(rowsPerPart), scratch: scratch, dy: dy, sums: columnSums,
                    x: x)
                for block in 0..<operands.blocks {
                    operands.multiply(
                        memory, rows: words(rowsPerPart), depth: words(taken.count), block: block,
                        panels: 0..<operands.panels, to: dw)
                }
            }
        }
    }

    private static func addShared(
        to dw: FloatPointer, _ m: Int, _ n: Int, rows count: Int, dy: ConvolutionInput, _ sums: RowSums?,
        _ compute: Compute, x: Rows
    ) throws {
        let operands = Operands(m: m, n: n, format: compute.format(rows: m, columns: n, depth: count))
        let stageRows = operands.format.words(min(count, rowsPerStage))
        let memory = try compute.workspace.takePassing(operands.count(stageRows))
        defer { compute.workspace.givePassing(memory) }
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
                operands.copy(
                    taken, of: rows, to: memory.base, rows: stageRows, scratch: scratch[worker], dy: dy,
                    sums: sums?[first / sharedRows], x: x)
                return
            }
            let first = item / operands.blocks * itemPanels
            operands.multiply(
                memory.base, rows: stageRows, depth: operands.format.words(rows.count),
                block: item % operands.blocks, panels: first..<min(operands.panels, first + itemPanels), to: dw)
        }
    }
}
