/// Loops over one row of logits s or of exponentials e = exp(s - max s). Rows have a multiple of eight values: the
/// places behind the last prototype hold logits of -infinity, hence exponentials of 0.
enum AssignmentRows {
    /// The number of values a row of `count` takes.
    static func stride(_ count: Int) -> Int { (count + 7) & ~7 }

    /// Calls `body(offset)` for every eight values.
    @inline(__always)
    private static func forEach8(_ n: Int, _ body: (_ at: Int) -> Void) {
        var i = 0
        while i < n {
            body(i)
            i &+= 8
        }
    }

    /// The largest value.
    static func maximum(_ row: UnsafePointer<Float>, _ n: Int) -> Float {
        var best = Float8(repeating: -Float.infinity)
        forEach8(n) { best = max8(best, load8(row + $0)) }
        return best.max()
    }

    /// The first place of a value among the first `count` of a row of `n`; 0 when it is not there, as in a row with
    /// NaN, whose largest value may be the padding's. An index into the prototypes in any case.
    static func place(of value: Float, _ row: UnsafePointer<Float>, _ count: Int, _ n: Int) -> Int {
        let wanted = Float8(repeating: value)
        var found = 0
        while found < n {
            let hits = Float8.zero.replacing(with: 1, where: load8(row + found) .== wanted)
            if hits.sum() > 0 { break }
            found &+= 8
        }
        while found < count {
            if row[found] == value { return found }
            found &+= 1
        }
        return 0
    }

    /// Values whose sum is kept in float32: sums of longer rows are put together in float64.
    private static let piece = 512

    /// The sum of `part` over the pieces of a row.
    @inline(__always)
    private static func sum(_ n: Int, _ part: (_ first: Int, _ count: Int) -> Float) -> Float {
        if n <= piece { return part(0, n) }
        var sum = 0.0
        for first in Swift.stride(from: 0, to: n, by: piece) { sum += Double(part(first, min(piece, n - first))) }
        return Float(sum)
    }

    /// e = exp(s - top). Returns their sum.
    static func exponentials(_ s: UnsafePointer<Float>, _ n: Int, less top: Float, into e: FloatPointer) -> Float {
        sum(n) { first, count in
            var sum = Float8.zero
            forEach8(count) { i in
                let value = exp8(load8(s + (first &+ i)) - top)
                store8(value, e + (first &+ i))
                sum += value
            }
            return sum.sum()
        }
    }

    static func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ n: Int) -> Float {
        sum(n) { first, count in
            var sum = Float8.zero
            forEach8(count) { sum = fma8(load8(a + (first &+ $0)), load8(b + (first &+ $0)), sum) }
            return sum.sum()
        }
    }

    /// sum exp((a - topA) + (b - topB)) from logits, as exp(top) * sum, where top is the largest exponent.
    static func logitDot(
        _ a: UnsafePointer<Float>, _ topA: Float, _ b: UnsafePointer<Float>, _ topB: Float, _ n: Int
    ) -> (top: Float, sum: Float) {
        var best = Float8(repeating: -Float.infinity)
        forEach8(n) { best = max8(best, (load8(a + $0) - topA) + (load8(b + $0) - topB)) }
        let top = best.max()
        var sum = Float8.zero
        forEach8(n) { sum += exp8(((load8(a + $0) - topA) + (load8(b + $0) - topB)) - top) }
        return (top, sum.sum())
    }

    /// sums += e * scale.
    static func add(_ e: UnsafePointer<Float>, _ n: Int, scale: Float, to sums: FloatPointer) {
        let factor = Float8(repeating: scale)
        forEach8(n) { store8(fma8(load8(e + $0), factor, load8(sums + $0)), sums + $0) }
    }

    /// out = c0 + c1 * g; only c0 without g.
    static func linear(_ c0: Float, _ c1: Float, _ g: UnsafePointer<Float>?, _ n: Int, into out: FloatPointer) {
        let constant = Float8(repeating: c0)
        guard let g else {
            forEach8(n) { store8(constant, out + $0) }
            return
        }
        let factor = Float8(repeating: c1)
        forEach8(n) { store8(fma8(load8(g + $0), factor, constant), out + $0) }
    }

    /// row *= factor.
    static func scale(_ row: FloatPointer, _ n: Int, by factor: Float) {
        let factor = Float8(repeating: factor)
        forEach8(n) { store8(load8(row + $0) * factor, row + $0) }
    }

    /// out *= e.
    static func multiply(_ out: FloatPointer, by e: UnsafePointer<Float>, _ n: Int) {
        forEach8(n) { store8(load8(out + $0) * load8(e + $0), out + $0) }
    }

    /// out -= weight * exp((a - topA) + (b - topB) - top): the share of each prototype in the agreement, from logits.
    static func subtractShares(
        _ a: UnsafePointer<Float>, _ topA: Float, _ b: UnsafePointer<Float>, _ topB: Float, top: Float, weight: Float,
        _ n: Int,
        from out: FloatPointer
    ) {
        let factor = Float8(repeating: -weight)
        forEach8(n) { i in
            let share = exp8(((load8(a + i) - topA) + (load8(b + i) - topB)) - top)
            store8(fma8(share, factor, load8(out + i)), out + i)
        }
    }

    /// Softmax of each of `rows` dense rows of `count` values, in place.
    static func softmax(_ values: FloatPointer, rows: Int, _ count: Int, _ compute: Compute) {
        compute.parallelRanges(rows, grain: max(1, (1 << 12) / count)) { _, range in
            for row in range { softmax(values + row * count, count) }
        }
    }

    /// Logits become probabilities, in place, for a row of any number of values.
    static func softmax(_ row: FloatPointer, _ count: Int) {
        var top = -Float.infinity
        for i in 0..<count where row[i] > top { top = row[i] }
        let whole = count & ~7
        var sum = Double(exponentials(row, whole, less: top, into: row))
        for i in whole..<count {
            row[i] = Float(exponential(Double(row[i]) - Double(top)))
            sum += Double(row[i])
        }
        let inverse = Float(1 / sum)
        for i in 0..<count { row[i] *= inverse }
    }
}
