/// Inverse Euclidean norms of the rows of a matrix, and the check that every value is finite.
///
/// Rows of extreme norm, whose products could overflow or vanish in Float32, count as multiplied by the power of two that
/// brings the norm into [1, 2); `inverse` is then that of the scaled row. Powers of two round nothing.
struct RowNorms {
    /// 1 / norm of each (scaled) row, 0 for a row of zeros.
    let inverse: FloatBuffer
    /// Whether some row has to be scaled.
    let hasExtremes: Bool
    private let base: UnsafePointer<Float>
    private let dimension: Int

    /// - Throws: `CARLError.invalidArgument` that names the first row with NaN or infinity.
    init(_ base: UnsafePointer<Float>, _ rows: Int, _ dimension: Int, name: String, _ compute: Compute) throws {
        (self.base, self.dimension) = (base, dimension)
        let inverse = try FloatBuffer(rows, zeroed: false)
        let target = inverse.base
        var firstBad = [Int](repeating: rows, count: compute.threads)
        var extremes = [Bool](repeating: false, count: compute.threads)
        firstBad.withUnsafeMutableBufferPointer { firstBad in
            extremes.withUnsafeMutableBufferPointer { extremes in
                compute.parallelRanges(rows, grain: max(1, 1 << 15 / dimension)) { worker, range in
                    for row in range {
                        let norm = Self.norm(base + row &* dimension, dimension)
                        if !norm.isFinite {
                            firstBad[worker] = min(firstBad[worker], row)
                            return
                        }
                        let scale = Self.powerOfTwo(norm)
                        if scale != 1 { extremes[worker] = true }
                        target[row] = norm > 0 ? Float(1 / (norm * scale)) : 0
                    }
                }
            }
        }
        if let row = firstBad.min(), row < rows {
            let column = (0..<dimension).first { !base[row * dimension + $0].isFinite } ?? 0
            throw CARLError.invalidArgument(
                "row \(row) of \(name) is not finite: column \(column) is \(base[row * dimension + column])")
        }
        self.inverse = inverse
        hasExtremes = extremes.contains(true)
    }

    /// 1 / norm of the row itself, 0 for a row of zeros.
    func exactInverse(_ row: Int) -> Double {
        let norm = Self.norm(base + row * dimension, dimension)
        return norm > 0 ? 1 / norm : 0
    }

    /// What the row is to be multiplied with before `inverse` applies.
    func powerOfTwo(_ row: Int) -> Double { Self.powerOfTwo(Self.norm(base + row * dimension, dimension)) }

    private static func powerOfTwo(_ norm: Double) -> Double {
        norm == 0 || (0x1p-60...0x1p60).contains(norm) ? 1 : Double(sign: .plus, exponent: -norm.exponent, significand: 1)
    }

    /// In Float64: no square of a Float32 overflows or vanishes there.
    private static func norm(_ row: UnsafePointer<Float>, _ dimension: Int) -> Double {
        var sums = SIMD8<Double>.zero
        var i = 0
        while i &+ 8 <= dimension {
            let values = SIMD8<Double>(load8(row + i))
            sums.addProduct(values, values)
            i &+= 8
        }
        var sum = sums.sum()
        while i < dimension {
            sum += Double(row[i]) * Double(row[i])
            i &+= 1
        }
        return sum.squareRoot()
    }
}
