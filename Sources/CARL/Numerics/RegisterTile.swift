/// 6 rows of two lanes of sums of products (6 x 16, with AVX-512 6 x 32) held in registers, the inner kernel of `PanelProduct` and of the nearest-neighbour search.
///
/// 12 of the 16 AVX2 registers, which leaves room for two loads and a broadcast; of AVX-512's registers more are free, but two loads and six
/// broadcasts for twelve multiply-adds keep its units busy as well. Every sum is one chain of fused multiply-adds in order.
struct RegisterTile {
    static let rows = 6
    static let columns = 2 * FloatLane.scalarCount

    /// Left and right half of the columns of each row.
    private(set) var left0 = FloatLane.zero, right0 = FloatLane.zero
    private(set) var left1 = FloatLane.zero, right1 = FloatLane.zero
    private(set) var left2 = FloatLane.zero, right2 = FloatLane.zero
    private(set) var left3 = FloatLane.zero, right3 = FloatLane.zero
    private(set) var left4 = FloatLane.zero, right4 = FloatLane.zero
    private(set) var left5 = FloatLane.zero, right5 = FloatLane.zero

    /// Sums over k of a(row, k) * b(k, column).
    ///
    /// - Parameters:
    ///   - a0: the first row, its values `aStep` apart; a1 ... a5: the others, which may be the same ones.
    ///   - b: `columns` values side by side for each k, `bStep` from one k to the next.
    @inline(__always)
    init(
        _ depth: Int, _ a0: UnsafePointer<Float>, _ a1: UnsafePointer<Float>, _ a2: UnsafePointer<Float>,
        _ a3: UnsafePointer<Float>, _ a4: UnsafePointer<Float>, _ a5: UnsafePointer<Float>, aStep: Int,
        _ b: UnsafePointer<Float>, bStep: Int
    ) {
        var panel = b
        var at = 0
        for _ in 0..<depth {
            let left = loadLane(panel)
            let right = loadLane(panel + FloatLane.scalarCount)
            var value = FloatLane(repeating: a0[at])
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
    }
}
