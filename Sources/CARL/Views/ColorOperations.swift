/// Colour operations on a group of rows of a view's planes, with torchvision's definitions. Values are clamped to 0 ... 255 after each operation but
/// not rounded to bytes, which is where results differ from Pillow's (docs/views.md says by how much).
enum ColorOperations {
    typealias Step = (operation: ViewParameters.ColorOperation, amount: Float)

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

    /// Writes the luma of three planes over the first.
    static func gray(_ values: FloatPointer, _ planes: Planes) {
        let (g, b) = (values + planes.planeStride, values + 2 * planes.planeStride)
        for i in stride(from: 0, to: planes.groupCount, by: FloatLane.scalarCount) {
            storeLane(luma(loadLane(values + i), loadLane(g + i), loadLane(b + i)), values + i)
        }
    }

    /// Inverts values of 128 and above, `count` of them, whole vectors.
    static func solarize(_ values: FloatPointer, _ count: Int) {
        for i in stride(from: 0, to: count, by: 8) {
            let v = load8(values + i)
            store8(v.replacing(with: 255 - v, where: v .>= 128), values + i)
        }
    }

    @inline(__always)
    private static func clamp(_ v: FloatLane) -> FloatLane { minLane(maxLane(v, .zero), FloatLane(repeating: 255)) }

    /// ITU-R 601 luma, the weights of Pillow's mode "L".
    @inline(__always)
    private static func luma(_ r: FloatLane, _ g: FloatLane, _ b: FloatLane) -> FloatLane {
        fmaLane(r, FloatLane(repeating: 0.299), fmaLane(g, FloatLane(repeating: 0.587), b * 0.114))
    }

    /// v * factor + shift.
    private static func blend(_ values: FloatPointer, _ count: Int, factor: Float, shift: Float) {
        let (factors, shifts) = (FloatLane(repeating: factor), FloatLane(repeating: shift))
        for i in stride(from: 0, to: count, by: FloatLane.scalarCount) {
            storeLane(clamp(fmaLane(loadLane(values + i), factors, shifts)), values + i)
        }
    }

    /// Away from or towards the pixel's own luma.
    private static func saturation(_ red: FloatPointer, _ green: FloatPointer, _ blue: FloatPointer, _ count: Int, _ factor: Float) {
        let factors = FloatLane(repeating: factor)
        for i in stride(from: 0, to: count, by: FloatLane.scalarCount) {
            let (r, g, b) = (loadLane(red + i), loadLane(green + i), loadLane(blue + i))
            let gray = luma(r, g, b) * (1 - factor)
            storeLane(clamp(fmaLane(r, factors, gray)), red + i)
            storeLane(clamp(fmaLane(g, factors, gray)), green + i)
            storeLane(clamp(fmaLane(b, factors, gray)), blue + i)
        }
    }

    /// Turns the hue by `shift` of the circle, -0.5 ... 0.5.
    ///
    /// Through HSV without branches: with h in sixths of the circle, channel n of the result is
    /// v - delta * clamp(min(k, 4 - k), 0, 1), k = (n + h) mod 6, n = 5, 3, 1 for red, green, blue.
    private static func hue(_ red: FloatPointer, _ green: FloatPointer, _ blue: FloatPointer, _ count: Int, _ shift: Float) {
        for i in stride(from: 0, to: count, by: FloatLane.scalarCount) {
            let (r, g, b) = (loadLane(red + i), loadLane(green + i), loadLane(blue + i))
            let top = maxLane(maxLane(r, g), b)
            let delta = top - minLane(minLane(r, g), b)
            let inverse = FloatLane(repeating: 1) / delta.replacing(with: 1, where: delta .== 0)
            var h = (r - g) * inverse + 4
            h.replace(with: (b - r) * inverse + 2, where: top .== g)
            h.replace(with: (g - b) * inverse, where: top .== r)
            h += 6 * shift + 6
            storeLane(channel(5, h, top, delta), red + i)
            storeLane(channel(3, h, top, delta), green + i)
            storeLane(channel(1, h, top, delta), blue + i)
        }
    }

    @inline(__always)
    private static func channel(_ n: Float, _ h: FloatLane, _ top: FloatLane, _ delta: FloatLane) -> FloatLane {
        // h is 2 ... 14, so two conditional subtractions bring k into 0 ..< 6.
        var k = h + n
        k.replace(with: k - 12, where: k .>= 12)
        k.replace(with: k - 6, where: k .>= 6)
        let ramp = maxLane(minLane(minLane(k, 4 - k), FloatLane(repeating: 1)), .zero)
        return clamp(top - delta * ramp)
    }
}
