/// Looks for NaN and infinities.
enum FiniteValues {
    /// Whether all of `count` values are finite.
    static func all(_ values: UnsafePointer<Float>, _ count: Int) -> Bool {
        // 0 times a value is 0 for finite values and NaN for the others.
        var sum = Float8.zero
        var tail: Float = 0
        var i = 0
        while i &+ 8 <= count {
            sum += load8(values + i) * 0
            i &+= 8
        }
        while i < count {
            tail += values[i] * 0
            i &+= 1
        }
        return sum.sum() + tail == 0
    }
}
