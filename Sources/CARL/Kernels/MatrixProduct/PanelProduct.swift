/// Matrix products on operands that already lie as the inner kernel reads them: nothing is copied, cleared or packed.
///
/// Made for many products of small or middling size with a side that is kept (a Winograd convolution's 36 transformed filters), where
/// a general library spends a large share of its time on packing.
enum PanelProduct {
    /// Columns of a panel of B.
    static let width = RegisterTile.columns
    /// Rows of A taken at a time; row counts that are multiples of it waste nothing.
    static let rows = RegisterTile.rows
    /// Depth done at a time: a panel's part, 16 KiB with AVX2 and 32 KiB with AVX-512, stays close to the processor while rows of A pass by.
    private static let depth = 256

    /// How an operand lies in memory: distances in values.
    struct Left {
        let base: UnsafePointer<Float>
        /// From a row of A to the next one.
        let rowStride: Int
        /// From a value of a row to the next one.
        let depthStride: Int
    }

    /// B as panels of `width` columns. Values behind the last column of B are read, and must be there, but count for nothing.
    struct Right {
        let base: UnsafePointer<Float>
        /// From a panel's values to those of the next one.
        let panelStride: Int
        /// From a panel's values of a row to those of the next row.
        let depthStride: Int
    }

    /// C (m x n) = A (m x k) * B (k x n), or added to C. `ldc`: from a row of C to the next one.
    ///
    /// Each value is one chain of fused multiply-adds along k in pieces of 256: the same however m and n are cut up.
    static func multiply(
        _ m: Int, _ n: Int, _ k: Int, _ a: Left, _ b: Right, _ c: FloatPointer, _ ldc: Int, accumulate: Bool
    ) {
        var prefetch = Prefetch()
        multiply(m, n, k, a, b, c, ldc, accumulate: accumulate, &prefetch)
    }

    /// The tiles of a product, for each of which `prefetch` takes a step.
    static func tiles(_ m: Int, _ n: Int, _ k: Int) -> Int {
        (k + depth - 1) / depth * ((n + width - 1) / width) * ((m + rows - 1) / rows)
    }

    /// The same product, with a step of `prefetch` before each tile.
    static func multiply(
        _ m: Int, _ n: Int, _ k: Int, _ a: Left, _ b: Right, _ c: FloatPointer, _ ldc: Int, accumulate: Bool, _ prefetch: inout Prefetch
    ) {
        if k == 0 && !accumulate {
            for row in 0..<m { (c + row &* ldc).update(repeating: 0, count: n) }
        }
        var start = 0
        while start < k {
            let count = min(depth, k &- start)
            let add = accumulate || start > 0
            var column = 0
            while column < n {
                let panel = b.base + (column / width &* b.panelStride &+ start &* b.depthStride)
                let columns = min(width, n &- column)
                var row = 0
                while row < m {
                    prefetch.step()
                    tile(
                        count, a.base + (row &* a.rowStride &+ start &* a.depthStride), a.rowStride, a.depthStride,
                        min(rows, m &- row), panel, b.depthStride, c + (row &* ldc &+ column), ldc, columns, add)
                    row &+= rows
                }
                column &+= width
            }
            start &+= count
        }
    }

    /// One tile of C. Rows behind the last one are computed from it again and not stored.
    @inline(never)
    private static func tile(
        _ k: Int, _ a: UnsafePointer<Float>, _ rowStride: Int, _ aStep: Int, _ rows: Int, _ b: UnsafePointer<Float>, _ bStep: Int,
        _ c: FloatPointer, _ ldc: Int, _ columns: Int, _ accumulate: Bool
    ) {
        let sums = RegisterTile(k, a, rowStride: rowStride, rowCount: rows, aStep: aStep, b, bStep: bStep)
        sums.forEachRow { row, left, right in
            if row < rows { store(left, right, c + row &* ldc, columns, accumulate) }
        }
    }

    @inline(__always)
    private static func store(_ left: FloatLane, _ right: FloatLane, _ c: FloatPointer, _ columns: Int, _ accumulate: Bool) {
        let half = FloatLane.scalarCount
        if columns == width {
            storeLane(accumulate ? loadLane(c) + left : left, c)
            storeLane(accumulate ? loadLane(c + half) + right : right, c + half)
            return
        }
        for i in 0..<min(half, columns) { c[i] = accumulate ? c[i] + left[i] : left[i] }
        var i = half
        while i < columns {
            c[i] = accumulate ? c[i] + right[i &- half] : right[i &- half]
            i &+= 1
        }
    }
}
