import CMachine

/// The micro-kernel: rows of two vectors of sums of products held in registers, of `PackedGEMM` and of the
/// nearest-neighbour search: 6 x 16 with AVX2, 8 x 32 with AVX-512. For half as many columns the same registers are
/// twice as many rows of one vector.
///
/// 12 of the 16 AVX2 registers leave room for two loads and a broadcast; AVX-512 has twice as many, and with 8 rows,
/// numbers of channels and tiles are mostly whole multiples. Every sum is one chain of fused multiply-adds in order.
struct MicroKernel {
    #if CARL_AVX512
        static let rows = 8
        /// A tile may have one row more: 7 x 7 pixels, the last feature map of photos, would waste seven rows
        /// otherwise.
        static let mostRows = 9
    #else
        static let rows = 6
        static let mostRows = 6
    #endif
    static let columns = 2 * FloatVector.scalarCount

    /// Left and right half of the columns of each row.
    private(set) var left0 = FloatVector.zero, right0 = FloatVector.zero
    private(set) var left1 = FloatVector.zero, right1 = FloatVector.zero
    private(set) var left2 = FloatVector.zero, right2 = FloatVector.zero
    private(set) var left3 = FloatVector.zero, right3 = FloatVector.zero
    private(set) var left4 = FloatVector.zero, right4 = FloatVector.zero
    private(set) var left5 = FloatVector.zero, right5 = FloatVector.zero
    #if CARL_AVX512
        private(set) var left6 = FloatVector.zero, right6 = FloatVector.zero
        private(set) var left7 = FloatVector.zero, right7 = FloatVector.zero
        private(set) var left8 = FloatVector.zero, right8 = FloatVector.zero
    #endif

    /// Sums over k of a(row, k) * b(k, column).
    ///
    /// - Parameters:
    ///   - a: the first row, its values `aStep` apart; the others lie `rowStride` apart. Only `rowCount` rows are read:
    ///     the tile's last ones are computed from the last of these.
    ///   - most: of the sums, `rows` or `mostRows`, known when this is compiled.
    ///   - b: `columns` values side by side for each k, `bStep` from one k to the next.
    ///   - alongside: called before the products of each k.
    @inline(__always)
    init(
        _ depth: Int, _ a: UnsafePointer<Float>, rowStride: Int, rowCount: Int, most: Int = rows, aStep: Int,
        _ b: UnsafePointer<Float>, bStep: Int, alongside: (_ k: Int) -> Void = { _ in }
    ) {
        let last = rowCount &- 1
        let a1 = a + min(1, last) &* rowStride
        let a2 = a + min(2, last) &* rowStride
        let a3 = a + min(3, last) &* rowStride
        let a4 = a + min(4, last) &* rowStride
        let a5 = a + min(5, last) &* rowStride
        #if CARL_AVX512
            let a6 = a + min(6, last) &* rowStride
            let a7 = a + min(7, last) &* rowStride
            let a8 = a + min(8, last) &* rowStride
        #endif
        var panel = b
        var at = 0
        // The loop is two lines of code (three with AVX-512); across one more it is some per cent slower.
        (left0, right0) = (carl_settled(left0), carl_settled(right0))
        (left1, right1) = (carl_settled(left1), carl_settled(right1))
        (left2, right2) = (carl_settled(left2), carl_settled(right2))
        (left3, right3) = (carl_settled(left3), carl_settled(right3))
        (left4, right4) = (carl_settled(left4), carl_settled(right4))
        (left5, right5) = (carl_settled(left5), carl_settled(right5))
        #if CARL_AVX512
            (left6, right6) = (carl_settled(left6), carl_settled(right6))
            (left7, right7) = (carl_settled(left7), carl_settled(right7))
            if most > 8 { (left8, right8) = (carl_settled(left8), carl_settled(right8)) }
        #endif
        carl_align_code()
        for k in 0..<depth {
            alongside(k)
            let left = loadVector(panel)
            let right = loadVector(panel + FloatVector.scalarCount)
            var value = FloatVector(repeating: a[at])
            left0 = fmaVector(value, left, left0)
            right0 = fmaVector(value, right, right0)
            value = FloatVector(repeating: a1[at])
            left1 = fmaVector(value, left, left1)
            right1 = fmaVector(value, right, right1)
            value = FloatVector(repeating: a2[at])
            left2 = fmaVector(value, left, left2)
            right2 = fmaVector(value, right, right2)
            value = FloatVector(repeating: a3[at])
            left3 = fmaVector(value, left, left3)
            right3 = fmaVector(value, right, right3)
            value = FloatVector(repeating: a4[at])
            left4 = fmaVector(value, left, left4)
            right4 = fmaVector(value, right, right4)
            value = FloatVector(repeating: a5[at])
            left5 = fmaVector(value, left, left5)
            right5 = fmaVector(value, right, right5)
            #if CARL_AVX512
                value = FloatVector(repeating: a6[at])
                left6 = fmaVector(value, left, left6)
                right6 = fmaVector(value, right, right6)
                value = FloatVector(repeating: a7[at])
                left7 = fmaVector(value, left, left7)
                right7 = fmaVector(value, right, right7)
                if most > 8 {
                    value = FloatVector(repeating: a8[at])
                    left8 = fmaVector(value, left, left8)
                    right8 = fmaVector(value, right, right8)
                }
            #endif
            panel += bStep
            at &+= aStep
        }
    }

    /// Sums for at most half of the columns, of two groups of `rows` rows: the left ones are those of the first group,
    /// the right ones those of the second, `groupStride` further on.
    ///
    /// A value of a row is then multiplied with one vector, so that what bounds it is loading the rows' values, not
    /// multiplying; with the right half of the columns wasted it would take twice as long.
    @inline(__always)
    init(
        narrow depth: Int, _ a: UnsafePointer<Float>, rowStride: Int, groupStride: Int, aStep: Int,
        _ b: UnsafePointer<Float>, bStep: Int
    ) {
        let a1 = a + rowStride
        let a2 = a1 + rowStride
        let a3 = a2 + rowStride
        let a4 = a3 + rowStride
        let a5 = a4 + rowStride
        #if CARL_AVX512
            let a6 = a5 + rowStride
            let a7 = a6 + rowStride
        #endif
        var panel = b
        var (at, next) = (0, groupStride)
        carl_align_code()
        for _ in 0..<depth {
            let column = loadVector(panel)
            left0 = fmaVector(FloatVector(repeating: a[at]), column, left0)
            left1 = fmaVector(FloatVector(repeating: a1[at]), column, left1)
            left2 = fmaVector(FloatVector(repeating: a2[at]), column, left2)
            left3 = fmaVector(FloatVector(repeating: a3[at]), column, left3)
            left4 = fmaVector(FloatVector(repeating: a4[at]), column, left4)
            left5 = fmaVector(FloatVector(repeating: a5[at]), column, left5)
            right0 = fmaVector(FloatVector(repeating: a[next]), column, right0)
            right1 = fmaVector(FloatVector(repeating: a1[next]), column, right1)
            right2 = fmaVector(FloatVector(repeating: a2[next]), column, right2)
            right3 = fmaVector(FloatVector(repeating: a3[next]), column, right3)
            right4 = fmaVector(FloatVector(repeating: a4[next]), column, right4)
            right5 = fmaVector(FloatVector(repeating: a5[next]), column, right5)
            #if CARL_AVX512
                left6 = fmaVector(FloatVector(repeating: a6[at]), column, left6)
                left7 = fmaVector(FloatVector(repeating: a7[at]), column, left7)
                right6 = fmaVector(FloatVector(repeating: a6[next]), column, right6)
                right7 = fmaVector(FloatVector(repeating: a7[next]), column, right7)
            #endif
            panel += bStep
            at &+= aStep
            next &+= aStep
        }
    }

    /// Calls `body` with each row in order.
    @inline(__always)
    func forEachRow(
        most: Int = rows, _ body: (_ row: Int, _ left: FloatVector, _ right: FloatVector) -> Void
    ) {
        body(0, left0, right0)
        body(1, left1, right1)
        body(2, left2, right2)
        body(3, left3, right3)
        body(4, left4, right4)
        body(5, left5, right5)
        #if CARL_AVX512
            body(6, left6, right6)
            body(7, left7, right7)
            if most > 8 { body(8, left8, right8) }
        #endif
    }
}
