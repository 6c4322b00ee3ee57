/// Rows divided by their l2 norm. Rows shorter than 1e-12 are divided by that instead, as torch does.
enum UnitLength {
    static let shortest = 1e-12

    /// Sum of products in float64, in four sums so that additions need not wait for each other.
    @inline(__always)
    private static func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ n: Int) -> Double {
        var sums = SIMD4<Double>.zero
        var i = 0
        while i &+ 4 <= n {
            sums[0] += Double(a[i]) * Double(b[i])
            sums[1] += Double(a[i &+ 1]) * Double(b[i &+ 1])
            sums[2] += Double(a[i &+ 2]) * Double(b[i &+ 2])
            sums[3] += Double(a[i &+ 3]) * Double(b[i &+ 3])
            i &+= 4
        }
        var rest = 0.0
        while i < n {
            rest += Double(a[i]) * Double(b[i])
            i &+= 1
        }
        return sums.sum() + rest
    }

    /// What a row is divided by.
    static func length(_ row: UnsafePointer<Float>, _ n: Int) -> Double { max(dot(row, row, n).squareRoot(), shortest) }

    /// unit (rows, n) = x / |x|; `inverses` (rows) get 1 / |x|. `unit` may be `x`.
    static func forward(
        _ x: UnsafePointer<Float>, _ rows: Int, _ n: Int, into unit: FloatPointer, inverses: FloatPointer, _ compute: Compute
    ) {
        compute.parallelRanges(rows, grain: max(1, (1 << 13) / max(n, 1))) { _, range in
            for row in range {
                let source = x + row &* n
                let inverse = 1 / length(source, n)
                inverses[row] = Float(inverse)
                let target = unit + row &* n
                for i in 0..<n { target[i] = Float(Double(source[i]) * inverse) }
            }
        }
    }

    /// gradient (rows, n) of the unit rows becomes that of the rows before: (g - u (u . g)) / |x|. In place.
    static func backward(
        _ unit: UnsafePointer<Float>, _ inverses: UnsafePointer<Float>, _ rows: Int, _ n: Int, _ gradient: FloatPointer,
        _ compute: Compute
    ) {
        compute.parallelRanges(rows, grain: max(1, (1 << 13) / max(n, 1))) { _, range in
            for row in range {
                let u = unit + row &* n
                let g = gradient + row &* n
                let inverse = Double(inverses[row])
                // Below the shortest length the divisor is a constant.
                let radial = inverse < 0.999 / shortest ? dot(u, g, n) : 0
                for i in 0..<n { g[i] = Float((Double(g[i]) - radial * Double(u[i])) * inverse) }
            }
        }
    }
}
