/// Antialiased resizing along one axis: which inputs an output takes, and with what weights (Pillow's and torchvision's definition: the
/// filter is stretched by the factor of reduction, weights are normalised, inputs outside do not count).
///
/// Every output takes the same number of inputs, some with weight 0, and outputs are padded to whole vectors with outputs of nothing.
struct ResamplingAxis {
    /// First input of each output; never less than the one before, unless mirrored.
    let starts: UnsafeMutablePointer<Int32>
    /// `taps` weights for each output.
    let weights: FloatPointer
    /// Inputs that each output takes.
    let taps: Int
    /// Outputs, the padding included.
    let padded: Int

    /// Values of scratch memory that an axis takes at most. A crop takes no more than the whole image: taps grow with the inputs.
    static func scratchCount(inputs: Int, outputs: Int) -> Int {
        Planes.padded(outputs) * (4 * ((inputs + outputs - 1) / outputs) + 8)
    }

    /// Outputs `offset ..< offset + outputs` of a resize from `inputs` to `fullOutputs`, the last one first when `mirrored`.
    init(
        _ interpolation: ViewSpec.Interpolation, inputs: Int, fullOutputs: Int, offset: Int, outputs: Int, mirrored: Bool = false,
        scratch: FloatPointer
    ) {
        padded = Planes.padded(outputs)
        starts = UnsafeMutableRawPointer(scratch).bindMemory(to: Int32.self, capacity: padded)
        weights = scratch + padded
        let scale = Double(inputs) / Double(fullOutputs)
        let stretch = max(1, scale)
        let support = Self.support(interpolation) * stretch

        func interval(_ output: Int) -> (first: Int, end: Int) {
            let center = (Double(offset + output) + 0.5) * scale
            let first = min(max(0, Int(center - support + 0.5)), inputs - 1)
            return (first, max(first + 1, min(inputs, Int(center + support + 0.5))))
        }
        var taps = 1
        for output in 0..<outputs {
            let (first, end) = interval(output)
            taps = max(taps, end - first)
        }
        self.taps = taps

        for place in 0..<outputs {
            let output = mirrored ? outputs - 1 - place : place
            let (first, end) = interval(output)
            let start = min(first, inputs - taps)
            let row = weights + place * taps
            for j in 0..<taps { row[j] = 0 }
            let center = (Double(offset + output) + 0.5) * scale
            var sum = 0.0
            for input in first..<end {
                let weight = Self.filter(interpolation, (Double(input) - center + 0.5) / stretch)
                row[input - start] = Float(weight)
                sum += weight
            }
            if sum != 0 {
                let inverse = Float(1 / sum)
                for input in first..<end { row[input - start] *= inverse }
            } else {
                row[first - start] = 1
            }
            starts[place] = Int32(start)
        }
        for place in outputs..<padded {
            starts[place] = starts[outputs - 1]
            for j in 0..<taps { weights[place * taps + j] = 0 }
        }
    }

    /// Inputs to either side at equal size.
    private static func support(_ interpolation: ViewSpec.Interpolation) -> Double { interpolation == .bilinear ? 1 : 2 }

    @inline(__always)
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
