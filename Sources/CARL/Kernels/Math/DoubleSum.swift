/// A sum of products in float64, where no square of a Float32 overflows or vanishes; in eight sums, so that additions
/// need not wait for each other.
struct DoubleSum {
    private var sums = SIMD8<Double>.zero
    private var rest = 0.0

    var value: Double { sums.sum() + rest }

    @inline(__always)
    mutating func add(_ a: Float8, times b: Float8) { sums.addProduct(SIMD8<Double>(a), SIMD8<Double>(b)) }

    /// Of values that fill no vector.
    @inline(__always)
    mutating func add(_ a: Float, times b: Float) { rest += Double(a) * Double(b) }

    /// a . b of `count` values.
    static func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Double {
        var sum = DoubleSum()
        var i = 0
        while i &+ 8 <= count {
            sum.add(load8(a + i), times: load8(b + i))
            i &+= 8
        }
        while i < count {
            sum.add(a[i], times: b[i])
            i &+= 1
        }
        return sum.value
    }
}
