/// Antialiased resizing along one axis: which inputs an output takes, and with what weights (Pillow's and torchvision's definition: the
/// filter is stretched by the factor of reduction, weights are normalised, inputs outside do not count).
struct ResamplingAxis {
    /// First input of each output, and the number of inputs each takes.
    let starts: UnsafeMutablePointer<Int32>
    let counts: UnsafeMutablePointer<Int32>
    /// `taps` weights for each output, of which the first `counts` are used.
    let weights: FloatPointer
    let taps: Int
    let outputs: Int

    /// Largest number of inputs of an output.
    static func taps(_ interpolation: ViewSpec.Interpolation, inputs: Int, fullOutputs: Int) -> Int {
        let scale = max(1, Double(inputs) / Double(fullOutputs))
        return min(inputs, Int((support(interpolation) * scale).rounded(.up)) * 2 + 1)
    }

    /// Values of scratch memory that an axis takes.
    static func scratchCount(_ interpolation: ViewSpec.Interpolation, inputs: Int, fullOutputs: Int, outputs: Int) -> Int {
        outputs * (taps(interpolation, inputs: inputs, fullOutputs: fullOutputs) + 2)
    }

    private static func support(_ interpolation: ViewSpec.Interpolation) -> Double { interpolation == .bilinear ? 1 : 2 }

    /// Outputs `offset ..< offset + outputs` of a resize from `inputs` to `fullOutputs`.
    init(
        _ interpolation: ViewSpec.Interpolation, inputs: Int, fullOutputs: Int, offset: Int, outputs: Int, scratch: FloatPointer
    ) {
        let taps = Self.taps(interpolation, inputs: inputs, fullOutputs: fullOutputs)
        self.taps = taps
        self.outputs = outputs
        let integers = UnsafeMutableRawPointer(scratch).bindMemory(to: Int32.self, capacity: 2 * outputs)
        starts = integers
        counts = integers + outputs
        weights = scratch + 2 * outputs
        let scale = Double(inputs) / Double(fullOutputs)
        let stretch = max(1, scale)
        let support = Self.support(interpolation) * stretch
        for i in 0..<outputs {
            let center = (Double(offset + i) + 0.5) * scale
            let first = max(0, Int(center - support + 0.5))
            let last = max(first + 1, min(inputs, Int(center + support + 0.5)))
            let start = min(first, inputs - 1)
            let count = min(taps, min(last, inputs) - start)
            let row = weights + i * taps
            var sum = 0.0
            for j in 0..<count {
                let weight = Self.filter(interpolation, (Double(start + j) - center + 0.5) / stretch)
                row[j] = Float(weight)
                sum += weight
            }
            if sum != 0 { for j in 0..<count { row[j] = Float(Double(row[j]) / sum) } } else { row[0] = 1 }
            starts[i] = Int32(start)
            counts[i] = Int32(max(1, count))
        }
    }

    private static func filter(_ interpolation: ViewSpec.Interpolation, _ x: Double) -> Double {
        let x = abs(x)
        switch interpolation {
        case .bilinear: return x < 1 ? 1 - x : 0
        case .bicubic:
            // Keys' cubic with a = -0.5
            if x < 1 { return (1.5 * x - 2.5) * x * x + 1 }
            return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0
        }
    }
}

/// Resizes a part of an image of bytes to planes of Float32 in 0 ... 255.
enum Resampling {
    /// - Parameters:
    ///   - pixels: first byte of the part's top left pixel.
    ///   - width: pixels of the part in a row.
    ///   - rows: memory for vertical.outputs * width * channels values.
    ///   - planes: channels planes of vertical.outputs * horizontal.outputs values, each padded to whole vectors.
    ///   - flip: mirror left and right.
    static func resize(
        _ pixels: UnsafePointer<UInt8>, rowStride: Int, width: Int, channels: Int, vertical: ResamplingAxis,
        horizontal: ResamplingAxis, flip: Bool, rows: FloatPointer, planes: FloatPointer
    ) {
        let rowValues = width &* channels
        for y in 0..<vertical.outputs {
            let weights = vertical.weights + y &* vertical.taps
            let source = pixels + Int(vertical.starts[y]) &* rowStride
            blendRows(source, rowStride, weights, Int(vertical.counts[y]), rowValues, rows + y &* rowValues)
        }
        let outputs = horizontal.outputs
        let plane = ColorOperations.padded(vertical.outputs &* outputs)
        for y in 0..<vertical.outputs {
            let row = rows + y &* rowValues
            for x in 0..<outputs {
                let weights = horizontal.weights + x &* horizontal.taps
                let source = row + Int(horizontal.starts[x]) &* channels
                let target = planes + (y &* outputs &+ (flip ? outputs &- 1 &- x : x))
                let count = Int(horizontal.counts[x])
                if channels == 3 {
                    var r: Float = 0, g: Float = 0, b: Float = 0
                    for j in 0..<count {
                        let w = weights[j]
                        r += w * source[3 &* j]
                        g += w * source[3 &* j &+ 1]
                        b += w * source[3 &* j &+ 2]
                    }
                    target[0] = clamp(r)
                    target[plane] = clamp(g)
                    target[2 &* plane] = clamp(b)
                } else {
                    for c in 0..<channels {
                        var sum: Float = 0
                        for j in 0..<count { sum += weights[j] * source[j &* channels &+ c] }
                        target[c &* plane] = clamp(sum)
                    }
                }
            }
        }
    }

    /// Bicubic weights overshoot at edges.
    @inline(__always)
    private static func clamp(_ x: Float) -> Float { min(max(x, 0), 255) }

    /// A weighted sum of rows of bytes.
    private static func blendRows(
        _ source: UnsafePointer<UInt8>, _ rowStride: Int, _ weights: UnsafePointer<Float>, _ count: Int, _ values: Int,
        _ target: FloatPointer
    ) {
        // Row by row, so that the compiler widens bytes to floats eight at a time.
        let first = weights[0]
        for i in 0..<values { target[i] = Float(source[i]) * first }
        for j in 1..<max(count, 1) {
            let row = source + j &* rowStride
            let weight = weights[j]
            for i in 0..<values { target[i] += Float(row[i]) * weight }
        }
    }
}
