/// Colour operations on a group of rows of a view's planes, with torchvision's definitions. Values are clamped to 0 ... 255 after each operation but
/// not rounded to bytes, which is where results differ from Pillow's (docs/views.md says by how much).
enum ColorOperations {
    enum Operation: Int, CaseIterable { case brightness, contrast, saturation, hue }

    typealias Step = (operation: Operation, amount: Float)

    /// Draws torchvision's ColorJitter: a factor for each operation whose strength is above 0, in random order.
    static func draw(_ strengths: [Float], _ random: inout RandomStream) -> [Step] {
        let amounts = Operation.allCases.map { operation -> Float in
            let strength = strengths[operation.rawValue]
            if operation == .hue { return random.uniform(-strength, strength) }
            return random.uniform(max(0, 1 - strength), 1 + strength)
        }
        return random.permutation(Operation.allCases.count).compactMap { number in
            let place = Int(number)
            guard strengths[place] > 0, let operation = Operation(rawValue: place) else { return nil }
            return (operation, amounts[place])
        }
    }

    /// Applies `steps` in turn to the group at `values` (a group of rows of the first plane). Saturation and hue need three channels and leave others
    /// as they are.
    ///
    /// - Parameter means: what contrast turns about, one number a channel.
    static func apply(_ steps: ArraySlice<Step>, _ values: FloatPointer, _ planes: Planes, means: FloatPointer) {
        let (count, stride) = (planes.groupCount, planes.planeStride)
        for (operation, amount) in steps {
            switch operation {
            case .brightness:
                for c in 0..<planes.channels { blend(values + c * stride, count, factor: amount, shift: 0) }
            case .contrast:
                for c in 0..<planes.channels { blend(values + c * stride, count, factor: amount, shift: (1 - amount) * means[c]) }
            case .saturation:
                if planes.channels == 3 { saturation(values, values + stride, values + 2 * stride, count, amount) }
            case .hue:
                if planes.channels == 3 { hue(values, values + stride, values + 2 * stride, count, amount) }
            }
        }
    }

    /// Adds each plane's values in a group of rows to `sums`.
    static func addSums(_ values: FloatPointer, _ planes: Planes, _ sums: UnsafeMutablePointer<Double>) {
        for c in 0..<planes.channels {
            let plane = values + c * planes.planeStride
            var sum = FloatLane.zero
            for i in stride(from: 0, to: planes.groupCount, by: FloatLane.scalarCount) { sum += loadLane(plane + i) }
            sums[c] += Double(sum.sum())
        }
    }

    /// What contrast turns about: the mean luma for three channels, each channel's own mean for others.
    static func means(_ sums: UnsafeMutablePointer<Double>, _ planes: Planes, _ means: FloatPointer) {
        let count = Double(planes.size * planes.size)
        if planes.channels == 3 {
            let mean = Float((0.299 * sums[0] + 0.587 * sums[1] + 0.114 * sums[2]) / count)
            (means[0], means[1], means[2]) = (mean, mean, mean)
        } else {
            for c in 0..<planes.channels { means[c] = Float(sums[c] / count) }
        }
    }

    // The loops below go value by value, which the compiler turns into vectors as wide as the processor's. Comparisons of Swift's own vectors come out
    // lane by lane when there are several of them.

    /// Writes the luma of three planes over the first.
    static func gray(_ values: FloatPointer, _ planes: Planes) {
        let (g, b) = (values + planes.planeStride, values + 2 * planes.planeStride)
        for i in 0..<planes.groupCount { values[i] = luma(values[i], g[i], b[i]) }
    }

    /// v * factor + shift.
    private static func blend(_ values: FloatPointer, _ count: Int, factor: Float, shift: Float) {
        for i in 0..<count { values[i] = clamp(shift.addingProduct(values[i], factor)) }
    }

    /// Away from or towards the pixel's own luma.
    private static func saturation(_ red: FloatPointer, _ green: FloatPointer, _ blue: FloatPointer, _ count: Int, _ factor: Float) {
        for i in 0..<count {
            let (r, g, b) = (red[i], green[i], blue[i])
            let gray = luma(r, g, b) * (1 - factor)
            red[i] = clamp(gray.addingProduct(r, factor))
            green[i] = clamp(gray.addingProduct(g, factor))
            blue[i] = clamp(gray.addingProduct(b, factor))
        }
    }

    /// Turns the hue by `shift` of the circle, -0.5 ... 0.5.
    ///
    /// Through HSV without branches: with h in sixths of the circle, channel n of the result is
    /// v - delta * clamp(min(k, 4 - k), 0, 1), k = (n + h) mod 6, n = 5, 3, 1 for red, green, blue.
    private static func hue(_ red: FloatPointer, _ green: FloatPointer, _ blue: FloatPointer, _ count: Int, _ shift: Float) {
        let turn = 6 * shift + 6
        for i in 0..<count {
            let (r, g, b) = (red[i], green[i], blue[i])
            let top = larger(larger(r, g), b)
            let delta = top - smaller(smaller(r, g), b)
            // For a gray pixel all differences are 0, and so is the change.
            let inverse = 1 / larger(delta, 1e-20)
            let fromRed = (g - b) * inverse
            let fromGreen = (b - r) * inverse + 2
            let fromBlue = (r - g) * inverse + 4
            let other = top == g ? fromGreen : fromBlue
            let h = (top == r ? fromRed : other) + turn
            red[i] = channel(5, h, top, delta)
            green[i] = channel(3, h, top, delta)
            blue[i] = channel(1, h, top, delta)
        }
    }

    @inline(__always)
    private static func channel(_ n: Float, _ h: Float, _ top: Float, _ delta: Float) -> Float {
        let sum = n + h
        // A k that rounding leaves just outside 0 ..< 6 gives what one just inside gives.
        let k = sum - 6 * (sum * (1 / 6)).rounded(.down)
        let ramp = smaller(larger(smaller(k, 4 - k), 0), 1)
        return larger(top - delta * ramp, 0)
    }

    /// ITU-R 601 luma, the weights of Pillow's mode "L".
    @inline(__always)
    private static func luma(_ r: Float, _ g: Float, _ b: Float) -> Float { (b * 0.114).addingProduct(g, 0.587).addingProduct(r, 0.299) }

    @inline(__always) private static func clamp(_ v: Float) -> Float { smaller(larger(v, 0), 255) }
    @inline(__always) private static func larger(_ a: Float, _ b: Float) -> Float { a > b ? a : b }
    @inline(__always) private static func smaller(_ a: Float, _ b: Float) -> Float { a < b ? a : b }
}
