/// Rows of two lanes of sums of products held in registers, the inner kernel of `PanelProduct` and of the nearest-neighbour search: 6 x 16
/// with AVX2, 8 x 32 with AVX-512.
///
/// 12 of the 16 AVX2 registers leave room for two loads and a broadcast; AVX-512 has twice as many, and with 8 rows, numbers of
/// channels and tiles are mostly whole multiples. Every sum is one chain of fused multiply-adds in order.
struct RegisterTile {
    #if CARL_AVX512
        static let rows = 8
    #else
        static let rows = 6
    #endif
    static let columns = 2 * FloatLane.scalarCount

    /// Left and right half of the columns of each row.
    private(set) var left0 = FloatLane.zero, right0 = FloatLane.zero
    private(set) var left1 = FloatLane.zero, right1 = FloatLane.zero
    private(set) var left2 = FloatLane.zero, right2 = FloatLane.zero
    private(set) var left3 = FloatLane.zero, right3 = FloatLane.zero
    private(set) var left4 = FloatLane.zero, right4 = FloatLane.zero
    private(set) var left5 = FloatLane.zero, right5 = FloatLane.zero
    #if CARL_AVX512
        private(set) var left6 = FloatLane.zero, right6 = FloatLane.zero
        private(set) var left7 = FloatLane.zero, right7 = FloatLane.zero
    #endif

    /// Sums over k of a(row, k) * b(k, column).
    ///
    /// - Parameters:
    ///   - a: the first row, its values `aStep` apart; the others lie `rowStride` apart. Only `rowCount` rows are read: the tile's last ones are
    ///     computed from the last of these.
    ///   - b: `columns` values side by side for each k, `bStep` from one k to the next.
    @inline(__always)
    init(
        _ depth: Int, _ a: UnsafePointer<Float>, rowStride: Int, rowCount: Int, aStep: Int, _ b: UnsafePointer<Float>, bStep: Int
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
        #endif
        var panel = b
        var at = 0
        for _ in 0..<depth {
            let left = loadLane(panel)
            let right = loadLane(panel + FloatLane.scalarCount)
            var value = FloatLane(repeating: a[at])
            left0 = fmaLane(value, left, left0)
            right0 = fmaLane(value, right, right0)
            value = FloatLane(repeating: a1[at])
            left1 = fmaLane(value, left, left1)
            right1 = fmaLane(value, right, right1)
            value = FloatLane(repeating: a2[at])
            left2 = fmaLane(value, left, left2)
            right2 = fmaLane(value, right, right2)
            value = FloatLane(repeating: a3[at])
            left3 = fmaLane(value, left, left3)
            right3 = fmaLane(value, right, right3)
            value = FloatLane(repeating: a4[at])
            left4 = fmaLane(value, left, left4)
            right4 = fmaLane(value, right, right4)
            value = FloatLane(repeating: a5[at])
            left5 = fmaLane(value, left, left5)
            right5 = fmaLane(value, right, right5)
            #if CARL_AVX512
                value = FloatLane(repeating: a6[at])
                left6 = fmaLane(value, left, left6)
                right6 = fmaLane(value, right, right6)
                value = FloatLane(repeating: a7[at])
                left7 = fmaLane(value, left, left7)
                right7 = fmaLane(value, right, right7)
            #endif
            panel += bStep
            at &+= aStep
        }
    }

    /// Calls `body` with each row in order.
    @inline(__always)
    func forEachRow(_ body: (_ row: Int, _ left: FloatLane, _ right: FloatLane) -> Void) {
        body(0, left0, right0)
        body(1, left1, right1)
        body(2, left2, right2)
        body(3, left3, right3)
        body(4, left4, right4)
        body(5, left5, right5)
        #if CARL_AVX512
            body(6, left6, right6)
            body(7, left7, right7)
        #endif
    }
}
