/// Matrix products on operands that already lie as the inner kernel reads them: nothing is copied, cleared or packed.
///
/// Made for many products of small or middling size with a side that is kept (a Winograd convolution's 36 transformed filters), where
/// a general library spends a large share of its time on packing. The kernel holds 6 rows x 16 columns of sums in registers.
enum PanelProduct {
    /// Columns of a panel of B.
    static let width = 16
    /// Rows of A taken at a time; row counts that are multiples of it waste nothing.
    static let rows = 6
    /// Depth done at a time: a panel's part, 16 KiB, stays in the first level cache while rows of A pass by.
    private static let depth = 256

    /// How an operand lies in memory: distances in values.
    struct Left {
        let base: UnsafePointer<Float>
        /// From a row of A to the next one.
        let rowStride: Int
        /// From a value of a row to the next one.
        let depthStride: Int
    }

    /// B as panels of 16 columns. Values behind the last column of B are read, and must be there, but count for nothing.
    struct Right {
        let base: UnsafePointer<Float>
        /// From a panel's values to those of the next one.
        let panelStride: Int
        /// From a panel's 16 values of a row to those of the next row.
        let depthStride: Int
    }

    /// C (m x n) = A (m x k) * B (k x n), or added to C. `ldc`: from a row of C to the next one.
    ///
    /// Each value is one chain of fused multiply-adds along k in pieces of 256: the same however m and n are cut up.
    static func multiply(
        _ m: Int, _ n: Int, _ k: Int, _ a: Left, _ b: Right, _ c: FloatPointer, _ ldc: Int, accumulate: Bool
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

    /// One 6 x 16 tile of C. Rows behind the last one are computed from it again and not stored.
    @inline(never)
    private static func tile(
        _ k: Int, _ a: UnsafePointer<Float>, _ rowStride: Int, _ aStep: Int, _ rows: Int, _ b: UnsafePointer<Float>, _ bStep: Int,
        _ c: FloatPointer, _ ldc: Int, _ columns: Int, _ accumulate: Bool
    ) {
        let last = rows &- 1
        let p1 = a + min(1, last) &* rowStride
        let p2 = a + min(2, last) &* rowStride
        let p3 = a + min(3, last) &* rowStride
        let p4 = a + min(4, last) &* rowStride
        let p5 = a + min(5, last) &* rowStride
        var s0 = Float8.zero, t0 = Float8.zero
        var s1 = Float8.zero, t1 = Float8.zero
        var s2 = Float8.zero, t2 = Float8.zero
        var s3 = Float8.zero, t3 = Float8.zero
        var s4 = Float8.zero, t4 = Float8.zero
        var s5 = Float8.zero, t5 = Float8.zero
        var panel = b
        var at = 0
        for _ in 0..<k {
            let low = load8(panel)
            let high = load8(panel + 8)
            var value = Float8(repeating: a[at])
            s0 = fma8(value, low, s0)
            t0 = fma8(value, high, t0)
            value = Float8(repeating: p1[at])
            s1 = fma8(value, low, s1)
            t1 = fma8(value, high, t1)
            value = Float8(repeating: p2[at])
            s2 = fma8(value, low, s2)
            t2 = fma8(value, high, t2)
            value = Float8(repeating: p3[at])
            s3 = fma8(value, low, s3)
            t3 = fma8(value, high, t3)
            value = Float8(repeating: p4[at])
            s4 = fma8(value, low, s4)
            t4 = fma8(value, high, t4)
            value = Float8(repeating: p5[at])
            s5 = fma8(value, low, s5)
            t5 = fma8(value, high, t5)
            panel += bStep
            at &+= aStep
        }
        store(s0, t0, c, columns, accumulate)
        if last < 1 { return }
        store(s1, t1, c + ldc, columns, accumulate)
        if last < 2 { return }
        store(s2, t2, c + 2 &* ldc, columns, accumulate)
        if last < 3 { return }
        store(s3, t3, c + 3 &* ldc, columns, accumulate)
        if last < 4 { return }
        store(s4, t4, c + 4 &* ldc, columns, accumulate)
        if last < 5 { return }
        store(s5, t5, c + 5 &* ldc, columns, accumulate)
    }

    @inline(__always)
    private static func store(_ low: Float8, _ high: Float8, _ c: FloatPointer, _ columns: Int, _ accumulate: Bool) {
        if columns == width {
            store8(accumulate ? load8(c) + low : low, c)
            store8(accumulate ? load8(c + 8) + high : high, c + 8)
            return
        }
        for i in 0..<min(8, columns) { c[i] = accumulate ? c[i] + low[i] : low[i] }
        var i = 8
        while i < columns {
            c[i] = accumulate ? c[i] + high[i &- 8] : high[i &- 8]
            i &+= 1
        }
    }
}
