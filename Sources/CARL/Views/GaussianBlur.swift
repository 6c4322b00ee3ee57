/// Gaussian blur of square planes as torchvision's GaussianBlur: an odd kernel of about a tenth of the side (at least 3), weights
/// exp(-x^2 / 2 sigma^2) normalised, edges reflected without repeating the outermost pixel.
enum GaussianBlur {
    static func radius(size: Int) -> Int { min(max(1, size / 20), max(size - 1, 0)) }

    /// Values of scratch memory it takes: two padded planes and the weights.
    static func scratchCount(size: Int) -> Int { (size + 2 * radius(size: size)) * (size + 8) + 2 * radius(size: size) + 1 }

    static func blur(_ plane: FloatPointer, size: Int, sigma: Float, scratch: FloatPointer) {
        let r = radius(size: size)
        if r == 0 { return }
        let taps = 2 * r + 1
        let weights = scratch
        var sum = 0.0
        for j in 0..<taps {
            let x = Double(j - r) / Double(sigma)
            let weight = exponential(-0.5 * x * x)
            weights[j] = Float(weight)
            sum += weight
        }
        for j in 0..<taps { weights[j] = Float(Double(weights[j]) / sum) }
        // Columns first: rows above and below, vectorised along the row.
        let padded = size + 2 * r
        let rows = scratch + taps
        for y in 0..<size {
            let target = rows + r
            for x in 0..<size { target[x] = 0 }
            for j in 0..<taps {
                let source = plane + reflect(y + j - r, size) * size
                let weight = weights[j]
                for x in 0..<size { target[x] += weight * source[x] }
            }
            // The row, mirrored at its ends, waits in its own line until all columns are done.
            let line = rows + padded + y * size
            for x in 0..<r {
                rows[r - 1 - x] = target[x + 1]
                rows[r + size + x] = target[size - 2 - x]
            }
            for x in 0..<size { line[x] = 0 }
            for j in 0..<taps {
                let weight = weights[j]
                for x in 0..<size { line[x] += weight * rows[x &+ j] }
            }
        }
        plane.update(from: rows + padded, count: size * size)
    }

    private static func reflect(_ i: Int, _ size: Int) -> Int {
        i < 0 ? -i : i >= size ? 2 * size - 2 - i : i
    }
}
