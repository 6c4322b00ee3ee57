/// Gaussian blur of a view's planes as torchvision's GaussianBlur: an odd kernel, by default of about a tenth of the side (at least 3), weights
/// exp(-x^2 / 2 sigma^2) normalised, edges reflected without repeating the outermost pixel.
///
/// Taps whose weight is below a millionth of the middle one's are left out: together they move a value by less than 0.001 of 255.
struct GaussianBlur {
    /// Pixels to either side that count.
    let radius: Int
    private let weights: FloatPointer
    /// Where the values of an output's taps lie, from its own on.
    private let offsets: UnsafeMutablePointer<Int32>
    /// A row whose columns are blurred, mirrored at its ends.
    private let line: FloatPointer

    /// Half the kernel, less the middle, when none is given.
    static func standardRadius(size: Int) -> Int { max(1, size / 20) }

    /// Values of scratch memory for a kernel of `radius` to either side.
    static func scratchCount(size: Int, radius: Int) -> Int {
        let radius = min(radius, size - 1)
        return 2 * (2 * radius + 1) + Planes.padded(size) + 2 * radius
    }

    /// - Parameter radius: pixels to either side; at most `size` - 1 of them are used.
    init(sigma: Float, size: Int, radius: Int, scratch: FloatPointer) {
        let allowed = min(radius, size - 1)
        // exp(-x^2 / 2) is a millionth at 5.257.
        let reach = min(allowed, Int(min(5.257 * Double(sigma), Double(size)).rounded(.down)))
        self.radius = reach
        weights = scratch
        offsets = UnsafeMutableRawPointer(scratch + 2 * allowed + 1).bindMemory(to: Int32.self, capacity: 2 * allowed + 1)
        line = scratch + 2 * (2 * allowed + 1)
        var sum = 0.0
        for j in 0...2 * reach {
            let x = Double(j - reach) / Double(sigma)
            let weight = exponential(-0.5 * x * x)
            weights[j] = Float(weight)
            sum += weight
        }
        for j in 0...2 * reach { weights[j] = Float(Double(weights[j]) / sum) }
    }

    /// Row `y` of a plane, blurred, to `target`, which has room for the padded row.
    func makeRow(_ y: Int, _ plane: FloatPointer, _ planes: Planes, _ target: FloatPointer) {
        let (size, pitch) = (planes.size, planes.pitch)
        let taps = 2 &* radius &+ 1
        for j in 0..<taps { offsets[j] = Int32(reflect(y &+ j &- radius, size) &* pitch) }
        combine(plane, taps, line + radius, pitch)
        for i in 1..<(radius &+ 1) {
            line[radius &- i] = line[radius &+ i]
            line[radius &+ size &- 1 &+ i] = line[radius &+ size &- 1 &- i]
        }
        for j in 0..<taps { offsets[j] = Int32(j) }
        combine(line, taps, target, pitch)
    }

    /// target[x] = sum over j of weights[j] * source[offsets[j] + x], for `count` values, whole vectors.
    private func combine(_ source: FloatPointer, _ taps: Int, _ target: FloatPointer, _ count: Int) {
        var x = 0
        while x &+ 32 <= count {
            var a = Float8.zero, b = a, c = a, d = a
            for j in 0..<taps {
                let from = source + (Int(offsets[j]) &+ x)
                let weight = Float8(repeating: weights[j])
                a = fma8(load8(from), weight, a)
                b = fma8(load8(from + 8), weight, b)
                c = fma8(load8(from + 16), weight, c)
                d = fma8(load8(from + 24), weight, d)
            }
            store8(a, target + x)
            store8(b, target + x + 8)
            store8(c, target + x + 16)
            store8(d, target + x + 24)
            x &+= 32
        }
        while x < count {
            var a = Float8.zero
            for j in 0..<taps { a = fma8(load8(source + (Int(offsets[j]) &+ x)), Float8(repeating: weights[j]), a) }
            store8(a, target + x)
            x &+= 8
        }
    }

    private func reflect(_ i: Int, _ size: Int) -> Int {
        i < 0 ? -i : i >= size ? 2 &* size &- 2 &- i : i
    }
}
