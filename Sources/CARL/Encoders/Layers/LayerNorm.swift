/// Layer normalisation (Ba, Kiros, Hinton, arXiv 1607.06450) of rows (rows, C): each is brought to mean 0 and variance
/// 1, then scaled and shifted by channel. C is a multiple of 16.
///
/// Forward keeps mean and 1 / deviation of each row; normalised rows are computed again where backward needs them.
struct LayerNorm {
    static let epsilon: Float = 1e-6

    let channels: Int
    let scale: Int
    let shift: Int

    /// - Parameter channels: a multiple of 16, so that there is no gap between scale and shift.
    init(_ layout: inout ParameterLayout, _ name: String, _ channels: Int) {
        precondition(channels % 16 == 0)
        self.channels = channels
        scale = layout.add("\(name).weight", [channels], .normScale)
        shift = layout.add("\(name).bias", [channels], .normShift)
    }

    /// y = norm(x) for some rows; `moments`, if given, gets mean and 1 / deviation of each.
    func apply(
        _ x: UnsafePointer<Float>, _ rows: Int, into y: FloatPointer, moments: FloatPointer? = nil,
        _ memory: ModelMemory
    ) {
        let (a, b) = (memory.parameters + scale, memory.parameters + shift)
        for row in 0..<rows {
            let (from, to) = (x + row * channels, y + row * channels)
            let (mean, inverse) = self.moments(from)
            if let moments { (moments[2 * row], moments[2 * row + 1]) = (mean, inverse) }
            var c = 0
            while c < channels {
                store8(fma8((load8(from + c) - mean) * inverse, load8(a + c), load8(b + c)), to + c)
                c &+= 8
            }
        }
    }

    private func moments(_ x: UnsafePointer<Float>) -> (mean: Float, inverse: Float) {
        var sum = Float8.zero
        var c = 0
        while c < channels {
            sum += load8(x + c)
            c &+= 8
        }
        let mean = sum.sum() / Float(channels)
        var squares = Float8.zero
        c = 0
        while c < channels {
            let deviation = load8(x + c) - mean
            squares = fma8(deviation, deviation, squares)
            c &+= 8
        }
        let variance = squares.sum() / Float(channels)
        // One that overflows would make every row its shift, which looks like a result.
        return (mean, variance.isFinite ? 1 / (variance + Self.epsilon).squareRoot() : .nan)
    }

    /// From the gradient dy of norm(x) for some rows: adds that of x to dx, those of scale and shift to `sums` (2, C),
    /// and writes norm(x) to y, which may be dy.
    func backward(
        _ x: UnsafePointer<Float>, moments: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ rows: Int,
        addingTo dx: FloatPointer, sums: FloatPointer, normalised y: FloatPointer, _ memory: ModelMemory
    ) {
        let (a, b) = (memory.parameters + scale, memory.parameters + shift)
        let (scaleSums, shiftSums) = (sums, sums + channels)
        let share = 1 / Float(channels)
        for row in 0..<rows {
            let at = row * channels
            let (mean, inverse) = (moments[2 * row], moments[2 * row + 1])
            var (sum, product) = (Float8.zero, Float8.zero)
            var c = 0
            while c < channels {
                let g = load8(dy + at + c)
                let centred = (load8(x + at + c) - mean) * inverse
                let scaled = g * load8(a + c)
                sum += scaled
                product = fma8(scaled, centred, product)
                store8(fma8(g, centred, load8(scaleSums + c)), scaleSums + c)
                store8(load8(shiftSums + c) + g, shiftSums + c)
                c &+= 8
            }
            let meanGradient = sum.sum() * share
            let meanProduct = product.sum() * share
            c = 0
            while c < channels {
                let centred = (load8(x + at + c) - mean) * inverse
                let change = load8(dy + at + c) * load8(a + c) - meanGradient - centred * meanProduct
                store8(fma8(change, Float8(repeating: inverse), load8(dx + at + c)), dx + at + c)
                store8(fma8(centred, load8(a + c), load8(b + c)), y + at + c)
                c &+= 8
            }
        }
    }

    /// From `gradient`, that of norm(x): adds that of x to dx and those of scale and shift to the parameters'.
    /// `gradient` becomes norm(x).
    func backward(
        _ x: Activation, moments: UnsafePointer<Float>, _ gradient: Activation, addingTo dx: Activation,
        _ memory: ModelMemory, _ compute: Compute
    ) throws {
        // Scale and shift lie one behind the other.
        let sums = try RowSums(x.rows, values: 2 * channels, compute)
        compute.parallel(sums.parts.count) { part, _ in
            let rows = sums.parts[part]
            let at = rows.lowerBound * channels
            backward(
                x.base + at, moments: moments + 2 * rows.lowerBound, gradient.base + at, rows.count,
                addingTo: dx.base + at, sums: sums[part], normalised: gradient.base + at, memory)
        }
        sums.add(to: memory.gradients.map { $0 + scale }, compute)
    }
}
