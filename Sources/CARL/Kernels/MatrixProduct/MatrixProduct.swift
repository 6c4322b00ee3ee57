/// General row-major matrix products (GEMM): C = alpha op(A) op(B), or added to C, for operands in any of the two
/// orders.
///
/// A block of B is packed to the panels that `PackedGEMM` reads, and one of A where its rows do not lie as the
/// micro-kernel wants them; then the micro-kernel goes over the block's rows (Goto and van de Geijn, "Anatomy of
/// high-performance matrix multiplication", ACM TOMS 34(3), 2008). Each value of C is one chain of fused multiply-adds
/// along k in pieces of `depth`, however the work is shared: results do not depend on the number of threads.
public enum MatrixProduct {
    /// Depth of a block. As `PackedGEMM` cuts it, so that a block is one chain.
    static let depth = 256
    /// Columns of a block of B: with its depth a third of a second level cache of 512 KiB or more.
    private static let columns = 12 * PackedGEMM.width
    /// Rows of a packed block of A, and the distance of its columns: no power of two, so that they spread over the
    /// cache's sets.
    private static let rows = 16 * PackedGEMM.rows
    private static let rowsStride = rows + 16

    /// Values of memory that one worker packs into.
    static let packingCount = depth * (columns + rowsStride)

    /// An operand in memory: value (row, column) is at `base[row * rowStride + column * columnStride]`, one of which is
    /// 1.
    struct Operand {
        let base: UnsafePointer<Float>
        let rowStride: Int
        let columnStride: Int

        init(_ base: UnsafePointer<Float>, _ stride: Int, transposed: Bool) {
            self.base = base
            (rowStride, columnStride) = transposed ? (1, stride) : (stride, 1)
        }

        func from(row: Int, column: Int) -> UnsafePointer<Float> { base + (row &* rowStride &+ column &* columnStride) }
    }

    /// The part of C in `rowRange` and `columnRange`, with `memory` to pack into.
    static func multiply(
        _ rowRange: Range<Int>, _ columnRange: Range<Int>, _ k: Int, _ a: Operand, _ b: Operand, _ c: FloatPointer,
        _ ldc: Int, alpha: Float,
        accumulate: Bool, _ format: ProductFormat, _ memory: FloatPointer
    ) {
        if k == 0 {
            if !accumulate {
                for row in rowRange {
                    (c + (row &* ldc &+ columnRange.lowerBound)).update(repeating: 0, count: columnRange.count)
                }
            }
            return
        }
        let width = PackedGEMM.width
        let packedA = memory + depth &* columns
        for firstColumn in stride(from: columnRange.lowerBound, to: columnRange.upperBound, by: columns) {
            let columnCount = min(columns, columnRange.upperBound &- firstColumn)
            for start in stride(from: 0, to: k, by: depth) {
                let count = min(depth, k &- start)
                pack(b, start, count, firstColumn, columnCount, alpha, to: memory)
                var right = PackedGEMM.Right(base: memory, panelStride: count &* width, depthStride: width)
                if format != .float32 {
                    for panel in 0..<(columnCount &+ width &- 1) / width {
                        let values = memory + panel &* count &* width
                        BFloat16.pairRows(values, count, width, to: values)
                    }
                    right.format = format
                }
                for firstRow in stride(from: rowRange.lowerBound, to: rowRange.upperBound, by: rows) {
                    let rowCount = min(rows, rowRange.upperBound &- firstRow)
                    let left: PackedGEMM.Left
                    if a.columnStride == 1 {
                        left = .init(base: a.from(row: firstRow, column: start), rowStride: a.rowStride, depthStride: 1)
                    } else {
                        for i in 0..<count {
                            (packedA + i &* rowsStride).update(
                                from: a.from(row: firstRow, column: start &+ i), count: rowCount)
                        }
                        left = .init(base: packedA, rowStride: 1, depthStride: rowsStride)
                    }
                    PackedGEMM.multiply(
                        rowCount, columnCount, count, left, right, c + (firstRow &* ldc &+ firstColumn), ldc,
                        accumulate: accumulate || start > 0)
                }
            }
        }
    }

    /// `count` rows of B from `start` on and some columns, times `alpha`, as panels; columns behind the last one are 0.
    static func pack(
        _ b: Operand, _ start: Int, _ count: Int, _ firstColumn: Int, _ columnCount: Int, _ alpha: Float,
        to target: FloatPointer
    ) {
        let width = PackedGEMM.width
        var first = 0
        while first < columnCount {
            let taken = min(width, columnCount &- first)
            let panel = target + first &* count
            let source = b.from(row: start, column: firstColumn &+ first)
            if taken < width { panel.update(repeating: 0, count: count &* width) }
            if b.columnStride == 1 {
                copyRows(source, b.rowStride, taken, count, to: panel)
            } else {
                transpose(source, b.columnStride, taken, count, to: panel)
            }
            if alpha != 1 { for i in 0..<count &* width { panel[i] *= alpha } }
            first &+= width
        }
    }

    /// Copies `columns` values of each of `count` rows, which lie `stride` apart in `source`, to a panel.
    @inline(__always)
    static func copyRows(
        _ source: UnsafePointer<Float>, _ stride: Int, _ columns: Int, _ count: Int, to panel: FloatPointer
    ) {
        let (width, half) = (PackedGEMM.width, FloatVector.scalarCount)
        for i in 0..<count {
            let (from, to) = (source + i &* stride, panel + i &* width)
            if columns == width {
                let right = loadVector(from + half)
                storeVector(loadVector(from), to)
                storeVector(right, to + half)
            } else {
                to.update(from: from, count: columns)
            }
        }
    }
}

extension MatrixProduct {
    /// Writes `count` values of each of `columns` columns, which lie `stride` apart in `source`, to the columns of a
    /// panel.
    static func transpose(
        _ source: UnsafePointer<Float>, _ stride: Int, _ columns: Int, _ count: Int, to panel: FloatPointer
    ) {
        let width = PackedGEMM.width
        // transpose8 reads only.
        let source = FloatPointer(mutating: source)
        let (wholeColumns, wholeCount) = (columns & ~7, count & ~7)
        var column = 0
        while column < wholeColumns {
            var i = 0
            while i < wholeCount {
                transpose8(source + (column &* stride &+ i), stride, panel + (i &* width &+ column), width)
                i &+= 8
            }
            column &+= 8
        }
        for column in 0..<columns {
            let from = source + column &* stride
            for i in (column < wholeColumns ? wholeCount : 0)..<count { panel[i &* width &+ column] = from[i] }
        }
    }
}

extension Compute {
    /// C (m x n) = alpha op(A) (m x k) op(B) (k x n), with row strides `lda`, `ldb`, `ldc`; with `accumulate` added to
    /// C. Blocks of C are shared among the threads. With a `format` other than float32, values of A and of alpha B are
    /// rounded to bfloat16.
    func multiply(
        _ m: Int, _ n: Int, _ k: Int,
        _ a: UnsafePointer<Float>, _ lda: Int, transposeA: Bool = false,
        _ b: UnsafePointer<Float>, _ ldb: Int, transposeB: Bool = false,
        _ c: FloatPointer, _ ldc: Int, alpha: Float = 1, accumulate: Bool = false, format: ProductFormat = .float32
    ) {
        if m == 0 || n == 0 { return }
        let left = MatrixProduct.Operand(a, lda, transposed: transposeA)
        let right = MatrixProduct.Operand(b, ldb, transposed: transposeB)
        // Small products are not worth waking a thread for.
        let wanted = max(1, min(workers == 1 ? 1 : 4 * workers, m * n / max(1, (1 << 18) / max(k, 1))))
        // Columns are cut first: rows that are cut pack the same block of B more than once.
        let columnParts = min(wanted, max(1, n / (2 * PackedGEMM.width)))
        let rowParts = min((wanted + columnParts - 1) / columnParts, max(1, m / (4 * PackedGEMM.rows)))
        parallel(columnParts * rowParts) { item, worker in
            let columns = Self.share((n + PackedGEMM.width - 1) / PackedGEMM.width, item / rowParts, of: columnParts)
            let rows = Self.share((m + PackedGEMM.rows - 1) / PackedGEMM.rows, item % rowParts, of: rowParts)
            MatrixProduct.multiply(
                rows.lowerBound * PackedGEMM.rows..<min(m, rows.upperBound * PackedGEMM.rows),
                columns.lowerBound * PackedGEMM.width..<min(n, columns.upperBound * PackedGEMM.width), k, left, right,
                c, ldc,
                alpha: alpha, accumulate: accumulate, format, packing[worker].base)
        }
    }
}
