import Foundation
import Testing

@testable import CARL

/// The parts of a transformer block that work on rows against float64: few rows and many, hidden columns that are no
/// whole number of those done at a time.
@Suite struct TransformerLayerTests {
    /// x (rows, inputs) times w^T, w (outputs, inputs).
    private static func product(_ x: [Double], _ w: [Double], _ rows: Int, _ inputs: Int, _ outputs: Int) -> [Double] {
        var y = [Double](repeating: 0, count: rows * outputs)
        for row in 0..<rows {
            for o in 0..<outputs {
                var sum = 0.0
                for i in 0..<inputs { sum += x[row * inputs + i] * w[o * inputs + i] }
                y[row * outputs + o] = sum
            }
        }
        return y
    }

    /// w (rows, columns) as (columns, rows).
    private static func transposed(_ w: [Double], _ columns: Int, _ rows: Int) -> [Double] {
        (0..<rows * columns).map { w[$0 % rows * columns + $0 / rows] }
    }

    @Test(arguments: [1, 3, 197], [16, 80, 96]) func perceptron(_ rows: Int, _ width: Int) throws {
        let hidden = 4 * width
        var random = RandomStream(seed: 11, purpose: .initialWeights, minor: UInt64(rows * 1000 + width))
        let x = Values(random: rows * width, &random)
        let dy = Values(random: rows * width, &random)
        var layout = ParameterLayout()
        let perceptron = TransformerPerceptron(&layout, "mlp", width)
        let values = Values(random: layout.parameterCount, &random, scale: 0.2)
        let parameters = try values.buffer()
        let memory = ModelMemory(parameters: parameters.base, statistics: parameters.base, gradients: nil)
        func slice(_ from: Int, _ count: Int) -> [Double] { Array(values.data[from..<from + count]) }
        let w1 = slice(perceptron.expansion.weight, hidden * width)
        let w2 = slice(perceptron.contraction.weight, hidden * width)
        let (b1, b2) = (slice(perceptron.expansion.bias, hidden), slice(perceptron.contraction.bias, width))

        var h = Self.product(x.data, w1, rows, width, hidden)
        for i in h.indices { h[i] += b1[i % hidden] }
        func phi(_ x: Double) -> Double { 0.5 * erfc(-x / 2.0.squareRoot()) }
        let activated = h.map { $0 * phi($0) }
        var y = Self.product(activated, w2, rows, hidden, width)
        for i in y.indices { y[i] += b2[i % width] }
        var dHidden = Self.product(dy.data, Self.transposed(w2, hidden, width), rows, width, hidden)
        for i in h.indices { dHidden[i] *= phi(h[i]) + h[i] * exp(-h[i] * h[i] / 2) / (2 * Double.pi).squareRoot() }
        let dx = Self.product(dHidden, Self.transposed(w1, width, hidden), rows, hidden, width)

        let compute = try Compute(threads: 1)
        let (input, gradient) = (try x.buffer(), try dy.buffer())
        let scratch = try FloatBuffer(rows * TransformerPerceptron.scratchWidth)
        let (kept, again) = (try FloatBuffer(rows * hidden), try FloatBuffer(rows * hidden))
        let (gotHidden, got, unkept) =
            (try FloatBuffer(rows * hidden), try FloatBuffer(rows * width), try FloatBuffer(rows * width))
        try perceptron.expansion.withWeights(rows: rows, memory, compute) { first in
            try perceptron.contraction.withWeights(rows: rows, memory, compute) { second in
                perceptron.forward(
                    input.base, rows, first, second, hidden: kept.base, scratch: scratch.base, into: got.base, memory)
                perceptron.forward(
                    input.base, rows, first, second, hidden: nil, scratch: scratch.base, into: unkept.base, memory)
            }
        }
        #expect(relativeError(Values(got.base, rows * width), Values(y)) < 2e-6)
        #expect(relativeError(Values(kept.base, rows * hidden), Values(h)) < 2e-6)
        #expect((0..<rows * width).allSatisfy { got.base[$0] == unkept.base[$0] })
        try perceptron.expansion.withTransposedWeights(rows: rows, memory, compute) { first in
            try perceptron.contraction.withTransposedWeights(rows: rows, memory, compute) { second in
                perceptron.backward(
                    gradient.base, rows, first, second, hidden: kept.base, activated: again.base,
                    dHidden: gotHidden.base, dx: got.base)
            }
        }
        #expect(relativeError(Values(again.base, rows * hidden), Values(activated)) < 2e-6)
        #expect(relativeError(Values(gotHidden.base, rows * hidden), Values(dHidden)) < 2e-6)
        #expect(relativeError(Values(got.base, rows * width), Values(dx)) < 2e-6)
        withExtendedLifetime(parameters) {}
    }

    /// Weights that each thread sums by itself, and such as the threads share.
    @Test(arguments: [1, 3, 197], [(24, 104), (392, 680)])
    func linearLayer(_ rows: Int, _ widths: (Int, Int)) throws {
        let (inputs, outputs) = widths
        var random = RandomStream(seed: 12, purpose: .initialWeights, minor: UInt64(rows * 1000 + inputs))
        let x = Values(random: rows * inputs, &random)
        let dy = Values(random: rows * outputs, &random)
        var layout = ParameterLayout()
        let layer = RowLinear(&layout, "l", inputs, outputs)
        let values = Values(random: layout.parameterCount, &random)
        let (parameters, gradients) = (try values.buffer(), try FloatBuffer(layout.parameterCount))
        let memory = ModelMemory(parameters: parameters.base, statistics: parameters.base, gradients: gradients.base)
        let w = Values(Array(values.data[layer.weight..<layer.weight + inputs * outputs]))
        let direct = DirectLinear(rows: rows, inputs: inputs, outputs: outputs)
        let bias = Array(values.data[layer.bias..<layer.bias + outputs])
        let db = (0..<outputs).map { o in (0..<rows).reduce(0.0) { $0 + dy.data[$1 * outputs + o] } }

        let compute = try Compute(threads: 2)
        let (input, gradient) = (try x.buffer(), try dy.buffer())
        let (y, gotInput) = (try FloatBuffer(rows * outputs), try FloatBuffer(rows * inputs))
        try layer.forward(rows: rows, into: y.base, memory, compute) { rows, _ in
            UnsafePointer(input.base + rows.lowerBound * inputs)
        }
        try layer.dataGradient(gradient.base, rows: rows, into: gotInput.base, memory, compute)
        gradients.fill(0)
        try layer.weightGradient(input.base, gradient.base, rows: rows, memory, compute)
        #expect(relativeError(Values(y.base, rows * outputs), direct.forward(x, w, bias: bias)) < 2e-6)
        #expect(relativeError(Values(gotInput.base, rows * inputs), direct.dataGradient(dy, w)) < 2e-6)
        #expect(
            relativeError(Values(gradients.base + layer.weight, inputs * outputs), direct.weightGradient(x, dy)) < 2e-6)
        #expect(relativeError(Values(gradients.base + layer.bias, outputs), Values(db)) < 2e-6)
        withExtendedLifetime((parameters, input, gradient)) {}
    }

    /// Rows of more than one stage. Biases' gradients are sums of parts of rows, and those of large weights chains
    /// along all rows, for any number of threads.
    @Test(arguments: [(24, 104), (392, 680)])
    func gradientsOfManyRows(_ widths: (Int, Int)) throws {
        let (inputs, outputs) = widths
        let rows = 1100
        var random = RandomStream(seed: 13, purpose: .initialWeights, minor: UInt64(inputs))
        let x = try Values(random: rows * inputs, &random).buffer()
        let dy = Values(random: rows * outputs, &random)
        let gradient = try dy.buffer()
        var layout = ParameterLayout()
        let layer = RowLinear(&layout, "l", inputs, outputs)
        let db = (0..<outputs).map { o in (0..<rows).reduce(0.0) { $0 + dy.data[$1 * outputs + o] } }
        var (weights, biases): ([[Float]], [[Float]]) = ([], [])
        for threads in [1, 3] {
            let gradients = try FloatBuffer(layout.parameterCount)
            let memory = ModelMemory(parameters: x.base, statistics: x.base, gradients: gradients.base)
            try layer.weightGradient(x.base, gradient.base, rows: rows, memory, try Compute(threads: threads))
            weights.append((0..<inputs * outputs).map { gradients.base[layer.weight + $0] })
            biases.append((0..<outputs).map { gradients.base[layer.bias + $0] })
        }
        #expect(biases[0] == biases[1])
        #expect(relativeError(Values(biases[0].map(Double.init)), Values(db)) < 2e-6)
        let isShared = inputs * outputs > 1 << 18
        if isShared { #expect(weights[0] == weights[1]) }
        #expect(
            relativeError(Values(weights[0].map(Double.init)), Values(weights[1].map(Double.init))) < 1e-6)
        withExtendedLifetime((x, gradient)) {}
    }
}
