/// Rows divided by their l2 norm. Rows shorter than 1e-12 are divided by that instead, as torch does.
enum UnitLength {
    static let shortest = 1e-12

    /// What a row is divided by.
    static func length(_ row: UnsafePointer<Float>, _ n: Int) -> Double {
        max(DoubleSum.dot(row, row, n).squareRoot(), shortest)
    }

    /// unit (rows, n) = x / |x|; `inverses` (rows) get 1 / |x|. `unit` may be `x`.
    static func forward(
        _ x: UnsafePointer<Float>, _ rows: Int, _ n: Int, into unit: FloatPointer, inverses: FloatPointer,
        _ compute: Compute
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
                let radial = inverse < 0.999 / shortest ? DoubleSum.dot(u, g, n) : 0
                for i in 0..<n { g[i] = Float((Double(g[i]) - radial * Double(u[i])) * inverse) }
            }
        }
    }
}
