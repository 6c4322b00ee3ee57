import Synchronization

/// The rows of a matrix, checked to be finite, given out scaled to unit length. A row of zeros stays zero.
///
/// A row of extreme norm, whose inverse Float32 could not hold, is first multiplied by the power of two that brings its
/// norm into [1, 2). Powers of two round nothing: a row and its double have the same unit row, bit for bit.
struct UnitRows {
    let count: Int
    let dimension: Int
    private let base: UnsafePointer<Float>
    private let norms: HeapArray<Double>

    /// - Throws: `CARLError.invalidArgument` that names the first row with NaN or infinity.
    init(_ base: UnsafePointer<Float>, _ count: Int, _ dimension: Int, name: String, _ compute: Compute) throws {
        (self.base, self.count, self.dimension) = (base, count, dimension)
        norms = try HeapArray(count, repeating: 0, for: "the norms of \(count) rows")
        let target = norms.base
        let firstBad = Atomic<Int>(count)
        compute.parallelRanges(count, grain: max(1, (1 << 15) / dimension)) { _, range in
            for row in range {
                let values = base + row &* dimension
                target[row] = DoubleSum.dot(values, values, dimension).squareRoot()
                if !target[row].isFinite {
                    firstBad.min(row, ordering: .relaxed)
                    return
                }
                if row & 0xffff == 0, Cancellation.isRequested { return }
            }
        }
        try Cancellation.check()
        let row = firstBad.load(ordering: .relaxed)
        if row < count {
            let column = (0..<dimension).first { !base[row * dimension + $0].isFinite } ?? 0
            throw CARLError.invalidArgument(
                "row \(row) of \(name) is not finite: column \(column) is \(base[row * dimension + column])")
        }
    }

    /// Packs the rows from `first` to `panels` panels of `width` rows, (panels, dimension, width). Places behind the
    /// last row, or behind `first + limit`, are zero.
    func pack(_ first: Int, limit: Int, panels: Int, width: Int, to target: FloatPointer) {
        let end = min(count, first + limit)
        for place in 0..<panels * width {
            let panel = target + place / width * width * dimension + place % width
            let row = first + place
            if row >= end {
                for i in 0..<dimension { panel[i &* width] = 0 }
                continue
            }
            let source = base + row * dimension
            let norm = norms.base[row]
            if norm == 0 || (0x1p-60...0x1p60).contains(norm) {
                let inverse = norm == 0 ? 0 : Float(1 / norm)
                for i in 0..<dimension { panel[i &* width] = source[i] * inverse + 0 }  // + 0 turns -0 into 0
            } else {
                let power = Double(sign: .plus, exponent: -norm.exponent, significand: 1)
                let inverse = Float(1 / (norm * power))
                for i in 0..<dimension { panel[i &* width] = Float(Double(source[i]) * power) * inverse + 0 }
            }
        }
    }
}
