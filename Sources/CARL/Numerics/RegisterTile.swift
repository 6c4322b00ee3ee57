/// 6 x 16 sums of products held in registers, the inner kernel of `PanelProduct` and of the nearest-neighbour search.
///
/// 12 of the 16 AVX2 registers, which leaves room for two loads and a broadcast. Every sum is one chain of fused multiply-adds in order.
struct RegisterTile {
    static let rows = 6
    static let columns = 16

    /// Left and right eight columns of each row.
    private(set) var left0 = Float8.zero, right0 = Float8.zero
    private(set) var left1 = Float8.zero, right1 = Float8.zero
    private(set) var left2 = Float8.zero, right2 = Float8.zero
    private(set) var left3 = Float8.zero, right3 = Float8.zero
    private(set) var left4 = Float8.zero, right4 = Float8.zero
    private(set) var left5 = Float8.zero, right5 = Float8.zero

    /// Sums over k of a(row, k) * b(k, column).
    ///
    /// - Parameters:
    ///   - a0: the first row, its values `aStep` apart; a1 ... a5: the others, which may be the same ones.
    ///   - b: sixteen values side by side for each k, `bStep` from one k to the next.
    @inline(__always)
    init(
        _ depth: Int, _ a0: UnsafePointer<Float>, _ a1: UnsafePointer<Float>, _ a2: UnsafePointer<Float>,
        _ a3: UnsafePointer<Float>, _ a4: UnsafePointer<Float>, _ a5: UnsafePointer<Float>, aStep: Int,
        _ b: UnsafePointer<Float>, bStep: Int
    ) {
        var panel = b
        var at = 0
        for _ in 0..<depth {
            let left = load8(panel)
            let right = load8(panel + 8)
            var value = Float8(repeating: a0[at])
            left0 = fma8(value, left, left0)
            right0 = fma8(value, right, right0)
            value = Float8(repeating: a1[at])
            left1 = fma8(value, left, left1)
            right1 = fma8(value, right, right1)
            value = Float8(repeating: a2[at])
            left2 = fma8(value, left, left2)
            right2 = fma8(value, right, right2)
            value = Float8(repeating: a3[at])
            left3 = fma8(value, left, left3)
            right3 = fma8(value, right, right3)
            value = Float8(repeating: a4[at])
            left4 = fma8(value, left, left4)
            right4 = fma8(value, right, right4)
            value = Float8(repeating: a5[at])
            left5 = fma8(value, left, left5)
            right5 = fma8(value, right, right5)
            panel += bStep
            at &+= aStep
        }
    }

    /// Calls `body` with each row in order.
    @inline(__always)
    func forEachRow(_ body: (_ row: Int, _ left: Float8, _ right: Float8) -> Void) {
        body(0, left0, right0)
        body(1, left1, right1)
        body(2, left2, right2)
        body(3, left3, right3)
        body(4, left4, right4)
        body(5, left5, right5)
    }
}
