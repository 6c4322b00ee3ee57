/// Colour operations on planes of Float32 in 0 ... 255, `count` values each, with torchvision's definitions. Values are clamped after each
/// operation but not rounded to bytes, which is where results differ from Pillow's, by up to about one step of 255 an operation.
enum ColorOperations {
    /// Rounds up to whole vectors: planes have room for that many values.
    static func padded(_ count: Int) -> Int { (count + 7) & ~7 }

    @inline(__always)
    private static func clamp(_ v: Float8) -> Float8 { min8(max8(v, .zero), Float8(repeating: 255)) }

    /// ITU-R 601 luma, the weights of Pillow's mode "L".
    @inline(__always)
    private static func luma(_ r: Float8, _ g: Float8, _ b: Float8) -> Float8 {
        fma8(r, Float8(repeating: 0.299), fma8(g, Float8(repeating: 0.587), b * 0.114))
    }

    /// v * factor.
    static func brightness(_ planes: FloatPointer, _ values: Int, _ factor: Float) {
        for i in stride(from: 0, to: values, by: 8) { store8(clamp(load8(planes + i) * factor), planes + i) }
    }

    /// Away from or towards the mean: of the luma for three channels, of the channel for others.
    static func contrast(_ planes: FloatPointer, channels: Int, _ count: Int, _ factor: Float) {
        let size = padded(count)
        if channels == 3 {
            var sum = 0.0
            for i in 0..<count {
                sum += Double(planes[i]) * 0.299 + Double(planes[size &+ i]) * 0.587 + Double(planes[2 &* size &+ i]) * 0.114
            }
            blend(planes, 3 * size, towards: Float(sum / Double(count)), factor)
            return
        }
        for c in 0..<channels {
            let plane = planes + c * size
            var sum = 0.0
            for i in 0..<count { sum += Double(plane[i]) }
            blend(plane, size, towards: Float(sum / Double(count)), factor)
        }
    }

    private static func blend(_ values: FloatPointer, _ count: Int, towards mean: Float, _ factor: Float) {
        let shift = Float8(repeating: (1 - factor) * mean)
        for i in stride(from: 0, to: count, by: 8) {
            store8(clamp(fma8(load8(values + i), Float8(repeating: factor), shift)), values + i)
        }
    }

    /// Away from or towards the pixel's own luma. Three planes; factor 0 is grayscale.
    static func saturation(_ planes: FloatPointer, _ count: Int, _ factor: Float) {
        let size = padded(count)
        for i in stride(from: 0, to: size, by: 8) {
            let (r, g, b) = (load8(planes + i), load8(planes + size + i), load8(planes + 2 * size + i))
            let gray = luma(r, g, b) * (1 - factor)
            store8(clamp(fma8(r, Float8(repeating: factor), gray)), planes + i)
            store8(clamp(fma8(g, Float8(repeating: factor), gray)), planes + size + i)
            store8(clamp(fma8(b, Float8(repeating: factor), gray)), planes + 2 * size + i)
        }
    }

    /// Turns the hue by `shift` of the circle, -0.5 ... 0.5. Three planes.
    ///
    /// Through HSV without branches: with h in sixths of the circle, channel n of the result is
    /// v - delta * clamp(min(k, 4 - k), 0, 1), k = (n + h) mod 6, n = 5, 3, 1 for red, green, blue.
    static func hue(_ planes: FloatPointer, _ count: Int, _ shift: Float) {
        let size = padded(count)
        for i in stride(from: 0, to: size, by: 8) {
            let (r, g, b) = (load8(planes + i), load8(planes + size + i), load8(planes + 2 * size + i))
            let top = max8(max8(r, g), b)
            let low = r.replacing(with: g, where: g .< r)
            let delta = top - low.replacing(with: b, where: b .< low)
            let inverse = Float8(repeating: 1) / delta.replacing(with: 1, where: delta .== 0)
            var h = (r - g) * inverse + 4
            h.replace(with: (b - r) * inverse + 2, where: top .== g)
            h.replace(with: (g - b) * inverse, where: top .== r)
            h += 6 * shift + 6
            store8(channel(5, h, top, delta), planes + i)
            store8(channel(3, h, top, delta), planes + size + i)
            store8(channel(1, h, top, delta), planes + 2 * size + i)
        }
    }

    @inline(__always)
    private static func channel(_ n: Float, _ h: Float8, _ top: Float8, _ delta: Float8) -> Float8 {
        // h is 2 ... 14, so two conditional subtractions bring k into 0 ..< 6.
        var k = h + n
        k.replace(with: k - 12, where: k .>= 12)
        k.replace(with: k - 6, where: k .>= 6)
        let ramp = max8(min8(min8(k, 4 - k), Float8(repeating: 1)), .zero)
        return clamp(top - delta * ramp)
    }

    /// Inverts values of 128 and above.
    static func solarize(_ planes: FloatPointer, _ values: Int) {
        for i in stride(from: 0, to: values, by: 8) {
            let v = load8(planes + i)
            store8(v.replacing(with: 255 - v, where: v .>= 128), planes + i)
        }
    }
}
