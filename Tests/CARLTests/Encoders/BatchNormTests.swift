import Testing

@testable import CARL

@Suite struct BatchNormTests {
    /// Training forward in float64: (rows, channels), scale and shift per channel, optional skip, optional ReLU.
    static func reference(
        _ y: Values, _ channels: Int, scale: [Double], shift: [Double], skip: Values? = nil, relu: Bool
    ) -> Values {
        let rows = y.data.count / channels
        var z = y
        for c in 0..<channels {
            let column = (0..<rows).map { y.data[$0 * channels + c] }
            let mean = column.reduce(0, +) / Double(rows)
            let variance = column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rows)
            for r in 0..<rows {
                var value = (column[r] - mean) / (variance + 1e-5).squareRoot() * scale[c] + shift[c]
                if let skip { value += skip.data[r * channels + c] }
                z.data[r * channels + c] = relu ? max(value, 0) : value
            }
        }
        return z
    }

    @Test(
        arguments: [(2, 1), (7, 5), (9, 8), (20, 15), (64, 16), (33, 17), (50, 31), (4000, 24), (3, 130)],
        [false, true])
    func forwardAndBackward(_ shape: (Int, Int), relu: Bool) throws {
        let (rows, channels) = shape
        var random = RandomStream(seed: 3, purpose: .initialWeights, minor: UInt64(rows))
        // A mean that is large beside the deviation must not cost accuracy.
        let y = Values(Values(random: rows * channels, &random).data.map { Double(Float($0 + 20)) })
        let dz = Values(random: rows * channels, &random)
        let scale = (0..<channels).map { _ in Double(random.uniform(0.5, 1.5)) }
        let shift = (0..<channels).map { _ in Double(random.uniform(-0.5, 0.5)) }
        var layout = ParameterLayout()
        let norm = BatchNorm(&layout, "n", channels)
        let parameters = try FloatBuffer(layout.parameterCount)
        let gradients = try FloatBuffer(layout.parameterCount)
        let statistics = try FloatBuffer(layout.statisticCount)
        for c in 0..<channels {
            parameters.base[norm.scale + c] = Float(scale[c])
            parameters.base[norm.shift + c] = Float(shift[c])
            statistics.base[norm.runningMean + c] = 1
            statistics.base[norm.runningVariance + c] = 2
        }
        let memory = ModelMemory(parameters: parameters.base, statistics: statistics.base, gradients: gradients.base)
        let compute = try Compute(threads: 2)
        let input = try y.activation(rows, 1, 1, channels)
        let output = try y.activation(rows, 1, 1, channels)
        let parts = RowParts(rows, size: 10, groups: 1)
        let moments = try norm.takeMoments(parts.numbers, compute)
        for part in 0..<parts.count { moments.add(part, parts[part], input.base) }
        let tape = try norm.finish(moments, memory, compute)
        try norm.apply(input, tape, relu: relu, into: output, compute)
        let expected = Self.reference(y, channels, scale: scale, shift: shift, relu: relu)
        #expect(relativeError(Values(output.base, output.count), expected) < 2e-5)

        // Running statistics: 0.9 of the old, 0.1 of the new, the variance unbiased.
        for c in 0..<channels {
            let column = (0..<rows).map { y.data[$0 * channels + c] }
            let mean = column.reduce(0, +) / Double(rows)
            let variance = column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(rows - 1)
            #expect(abs(Double(statistics.base[norm.runningMean + c]) - (0.9 + 0.1 * mean)) < 1e-5)
            #expect(abs(Double(statistics.base[norm.runningVariance + c]) - (1.8 + 0.1 * variance)) < 1e-5)
        }

        let gradient = try dz.activation(rows, 1, 1, channels)
        try norm.backward(gradient, relu ? .relu : .nothing, input, tape, into: gradient, memory, compute)
        withExtendedLifetime((parameters, statistics)) {}
        if rows * channels > 600 { return }
        let loss = { (y: Values, scale: [Double], shift: [Double]) in
            dot(Self.reference(y, channels, scale: scale, shift: shift, relu: relu), dz)
        }
        // With two rows the gradient is a difference of nearly equal terms as large as dz: float32 is judged by those.
        let byInput = numericalGradient(y) { loss($0, scale, shift) }
        let error = Values(zip(Values(gradient.base, gradient.count).data, byInput.data).map { $0 - $1 })
        #expect(dot(error, error).squareRoot() < 1e-3 * max(dot(byInput, byInput), 0.01 * dot(dz, dz)).squareRoot())
        let byScale = numericalGradient(Values(scale)) { loss(y, $0.data, shift) }
        let byShift = numericalGradient(Values(shift)) { loss(y, scale, $0.data) }
        #expect(relativeError(Values(gradients.base + norm.scale, channels), byScale) < 1e-3)
        #expect(relativeError(Values(gradients.base + norm.shift, channels), byShift) < 1e-3)
    }

    /// Values so large that the square of their sum is no Float32, while the sum of their squares is: the variance is
    /// theirs. Where that is none either it is no number, and never 0.
    @Test(arguments: [1, 16, 37, 64]) func variancesOfLargeValues(_ channels: Int) throws {
        let rows = 512
        let y = try FloatBuffer(rows * channels)
        let (mean, deviation) = (try FloatBuffer(channels), try FloatBuffer(channels))
        func moments(_ factor: Float) -> [Float] {
            var random = RandomStream(seed: 3, purpose: .initialWeights)
            for i in 0..<y.count { y.base[i] = random.normal() * factor }
            ColumnKernels.moments(y.base, rows, channels, mean: mean.base, deviation: deviation.base)
            return Array(deviation.values)
        }
        let plain = moments(1)
        for exponent in [10, 40, 56, 58] {
            let factor = Float(sign: .plus, exponent: exponent, significand: 1)
            for (large, small) in zip(moments(factor), plain) { #expect(large / factor / factor == small) }
        }
        #expect(moments(0x1p64).allSatisfy { !$0.isFinite })
    }

    @Test func addsTheSkipAndNormalisesItOnTheWay() throws {
        let (rows, channels) = (50, 19)
        var random = RandomStream(seed: 4, purpose: .initialWeights)
        let y = Values(random: rows * channels, &random)
        let skip = Values(random: rows * channels, &random)
        var layout = ParameterLayout()
        let norm = BatchNorm(&layout, "n", channels)
        let parameters = try FloatBuffer(layout.parameterCount)
        let statistics = try FloatBuffer(layout.statisticCount)
        for c in 0..<channels { parameters.base[norm.scale + c] = 1 }
        let memory = ModelMemory(parameters: parameters.base, statistics: statistics.base, gradients: nil)
        let compute = try Compute(threads: 1)
        func tape(_ values: Values) throws -> (Activation, BatchNorm.Tape) {
            let input = try values.activation(rows, 1, 1, channels)
            let moments = try norm.takeMoments(PartNumbers(groups: 1, perGroup: 1), compute)
            moments.add(0, 0..<rows, input.base)
            return (input, try norm.finish(moments, memory, compute))
        }
        let (input, inputTape) = try tape(y)
        let (skipInput, skipTape) = try tape(skip)
        let ones = [Double](repeating: 1, count: channels)
        let zeros = [Double](repeating: 0, count: channels)
        let output = try y.activation(rows, 1, 1, channels)
        try norm.apply(input, inputTape, skip: skipInput, relu: true, into: output, compute)
        let plain = Self.reference(y, channels, scale: ones, shift: zeros, skip: skip, relu: true)
        #expect(relativeError(Values(output.base, output.count), plain) < 1e-5)
        try norm.apply(input, inputTape, skip: skipInput, skipTape: skipTape, relu: true, into: output, compute)
        let normalisedSkip = Self.reference(skip, channels, scale: ones, shift: zeros, relu: false)
        withExtendedLifetime((parameters, statistics)) {}
        let both = Self.reference(y, channels, scale: ones, shift: zeros, skip: normalisedSkip, relu: true)
        #expect(relativeError(Values(output.base, output.count), both) < 1e-5)
    }
}
