import Foundation
import Testing

@testable import CARL

/// Linear layers, pools, activation functions and l2 normalisation against float64 and finite differences.
@Suite struct SmallLayerTests {
    @Test(arguments: [(1, 1, 1), (5, 3, 7), (33, 17, 9), (64, 40, 24)])
    func linear(_ shape: (Int, Int, Int)) throws {
        let (rows, inputs, outputs) = shape
        var random = RandomStream(seed: 8, purpose: .initialWeights)
        let x = Values(random: rows * inputs, &random)
        let w = Values(random: outputs * inputs, &random)
        let b = Values(random: outputs, &random)
        let dy = Values(random: rows * outputs, &random)
        var layout = ParameterLayout()
        let layer = Linear(&layout, "l", inputs, outputs)
        let parameters = try FloatBuffer(layout.parameterCount)
        let gradients = try FloatBuffer(layout.parameterCount)
        for (i, value) in w.data.enumerated() { parameters.base[layer.weight + i] = Float(value) }
        for (i, value) in b.data.enumerated() { parameters.base[layer.bias + i] = Float(value) }
        let memory = ModelMemory(parameters: parameters.base, statistics: parameters.base, gradients: gradients.base)
        let compute = try Compute(threads: 2)
        let input = try x.activation(rows, 1, 1, inputs)
        let y = try layer.forward(input, memory, compute)
        let dx = try layer.backward(input, try dy.activation(rows, 1, 1, outputs), memory, compute)
        withExtendedLifetime(parameters) {}
        func forward(_ x: Values, _ w: Values, _ b: Values) -> Values {
            DirectLinear(rows: rows, inputs: inputs, outputs: outputs).forward(x, w, bias: b.data)
        }
        #expect(relativeError(Values(y.base, y.count), forward(x, w, b)) < 1e-5)
        if rows * outputs * inputs > 2000 { return }
        let byX = numericalGradient(x) { dot(forward($0, w, b), dy) }
        let byW = numericalGradient(w) { dot(forward(x, $0, b), dy) }
        let byB = numericalGradient(b) { dot(forward(x, w, $0), dy) }
        #expect(relativeError(Values(dx.base, dx.count), byX) < 1e-3)
        #expect(relativeError(Values(gradients.base + layer.weight, w.data.count), byW) < 1e-3)
        #expect(relativeError(Values(gradients.base + layer.bias, outputs), byB) < 1e-3)
    }

    @Test(arguments: [(1, 1, 1, 1), (2, 7, 5, 3), (1, 8, 8, 17), (3, 2, 9, 8)])
    func maxPool(_ shape: (Int, Int, Int, Int)) throws {
        let (n, h, w, c) = shape
        var random = RandomStream(seed: 9, purpose: .initialWeights)
        let x = Values(random: n * h * w * c, &random)
        let compute = try Compute(threads: 2)
        let input = try x.activation(n, h, w, c)
        let y = try MaxPool.forward(input, compute)
        let dy = Values(random: y.count, &random)
        let dx = try MaxPool.backward(input, y, try dy.activation(n, y.height, y.width, c), compute)
        func forward(_ x: Values) -> Values {
            var result: [Double] = []
            for image in 0..<n {
                for oy in 0..<(h - 1) / 2 + 1 {
                    for ox in 0..<(w - 1) / 2 + 1 {
                        for channel in 0..<c {
                            var best = -Double.infinity
                            for iy in oy * 2 - 1...oy * 2 + 1 where iy >= 0 && iy < h {
                                for ix in ox * 2 - 1...ox * 2 + 1 where ix >= 0 && ix < w {
                                    best = max(best, x.data[((image * h + iy) * w + ix) * c + channel])
                                }
                            }
                            result.append(best)
                        }
                    }
                }
            }
            return Values(result)
        }
        #expect(Values(y.base, y.count).data == forward(x).data)
        #expect(relativeError(Values(dx.base, dx.count), numericalGradient(x) { dot(forward($0), dy) }) < 1e-3)
    }

    @Test func maxPoolGivesTiesToTheFirstPixel() throws {
        let compute = try Compute(threads: 1)
        let input = try Values([Double](repeating: 1, count: 4)).activation(1, 2, 2, 1)
        let y = try MaxPool.forward(input, compute)
        let dx = try MaxPool.backward(input, y, try Values([5]).activation(1, 1, 1, 1), compute)
        #expect(Values(dx.base, 4).data == [5, 0, 0, 0])
    }

    @Test(arguments: [(1, 1, 1, 1), (3, 5, 2, 9)])
    func globalAveragePool(_ shape: (Int, Int, Int, Int)) throws {
        let (n, h, w, c) = shape
        var random = RandomStream(seed: 10, purpose: .initialWeights)
        let x = Values(random: n * h * w * c, &random)
        let dy = Values(random: n * c, &random)
        let compute = try Compute(threads: 2)
        let input = try x.activation(n, h, w, c)
        let y = try GlobalAveragePool.forward(input, compute)
        let dx = try GlobalAveragePool.backward(input, try dy.activation(n, 1, 1, c), compute)
        func forward(_ x: Values) -> Values {
            Values(
                (0..<n * c).map { at in
                    (0..<h * w).reduce(0.0) { $0 + x.data[(at / c * h * w + $1) * c + at % c] } / Double(h * w)
                })
        }
        #expect(relativeError(Values(y.base, y.count), forward(x)) < 1e-6)
        #expect(relativeError(Values(dx.base, dx.count), numericalGradient(x) { dot(forward($0), dy) }) < 1e-5)
    }

    @Test func activationFunctions() {
        for x in stride(from: -6.0, through: 6.0, by: 0.37) {
            let gelu = { (x: Double) in 0.5 * x * (1 + erf(x / 2.0.squareRoot())) }
            #expect(abs(Double(ActivationFunction.gelu.value(Float(x))) - gelu(x)) < 1e-6)
            let slope = (gelu(x + 1e-5) - gelu(x - 1e-5)) / 2e-5
            #expect(abs(Double(ActivationFunction.gelu.slope(Float(x))) - slope) < 1e-5)
            #expect(ActivationFunction.relu.value(Float(x)) == Float(max(x, 0)))
            #expect(ActivationFunction.relu.slope(Float(x)) == (x > 0 ? 1 : 0))
        }
    }

    @Test(arguments: [(1, 1), (4, 3), (9, 33)])
    func unitLength(_ shape: (Int, Int)) throws {
        let (rows, n) = shape
        var random = RandomStream(seed: 11, purpose: .initialWeights)
        let x = Values(random: rows * n, &random)
        let g = Values(random: rows * n, &random)
        let compute = try Compute(threads: 2)
        let unit = try FloatBuffer(rows * n)
        let inverses = try FloatBuffer(rows)
        let input = try x.buffer()
        UnitLength.forward(input.base, rows, n, into: unit.base, inverses: inverses.base, compute)
        withExtendedLifetime(input) {}
        func forward(_ x: Values) -> Values {
            Values(
                (0..<rows * n).map { at in
                    let row = at / n * n
                    return x.data[at] / (0..<n).reduce(0.0) { $0 + x.data[row + $1] * x.data[row + $1] }.squareRoot()
                })
        }
        #expect(relativeError(Values(unit.base, rows * n), forward(x)) < 1e-6)
        let gradient = try g.buffer()
        UnitLength.backward(unit.base, inverses.base, rows, n, gradient.base, compute)
        withExtendedLifetime((unit, inverses)) {}
        let expected = numericalGradient(x) { dot(forward($0), g) }
        let size = expected.data.reduce(0.0) { max($0, abs($1)) }
        for i in 0..<rows * n { #expect(abs(Double(gradient.base[i]) - expected.data[i]) < 1e-3 * max(size, 1e-3)) }
    }

    @Test func unitLengthOfZeroIsZeroAndFinite() throws {
        let compute = try Compute(threads: 1)
        let zero = try FloatBuffer(4)
        let unit = try FloatBuffer(4)
        let inverse = try FloatBuffer(1)
        UnitLength.forward(zero.base, 1, 4, into: unit.base, inverses: inverse.base, compute)
        #expect(unit.values.allSatisfy { $0 == 0 })
        let gradient = try FloatBuffer(4)
        gradient.fill(1)
        UnitLength.backward(unit.base, inverse.base, 1, 4, gradient.base, compute)
        withExtendedLifetime((zero, inverse)) {}
        #expect(gradient.values.allSatisfy { $0.isFinite })
    }
}
