import Testing

@testable import CARL

/// Plain float64 matrices of the tests, and the bridge to the library's Float32 memory.
struct Values {
    var data: [Double]

    init(_ data: [Double]) { self.data = data }

    /// Normal numbers that Float32 holds exactly, so that both sides compute from the same input.
    init(random count: Int, _ random: inout RandomStream, scale: Double = 1) {
        data = (0..<count).map { _ in Double(random.normal() * Float(scale)) }
    }

    init(_ pointer: FloatPointer, _ count: Int) { data = (0..<count).map { Double(pointer[$0]) } }

    func buffer() throws -> FloatBuffer {
        let buffer = try FloatBuffer(data.count)
        for (i, value) in data.enumerated() { buffer.base[i] = Float(value) }
        return buffer
    }

    func activation(_ batch: Int, _ height: Int, _ width: Int, _ channels: Int) throws -> Activation {
        Activation(buffer: try buffer(), batch: batch, height: height, width: width, channels: channels)
    }
}

/// |a - b| / |b| over all values, in the l2 norm; |a| where b is all 0.
func relativeError(_ a: Values, _ b: Values) -> Double {
    precondition(a.data.count == b.data.count)
    let difference = zip(a.data, b.data).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
    let size = b.data.reduce(0.0) { $0 + $1 * $1 }.squareRoot()
    return size > 0 ? difference / size : difference
}

/// The gradient of `loss` by central differences.
func numericalGradient(_ at: Values, step: Double = 1e-6, _ loss: (Values) -> Double) -> Values {
    var point = at
    return Values(
        at.data.indices.map { i in
            point.data[i] = at.data[i] + step
            let up = loss(point)
            point.data[i] = at.data[i] - step
            let down = loss(point)
            point.data[i] = at.data[i]
            return (up - down) / (2 * step)
        })
}

func dot(_ a: Values, _ b: Values) -> Double { zip(a.data, b.data).reduce(0.0) { $0 + $1.0 * $1.1 } }

/// Direct convolution and its gradients, as the definition reads. Weights are (k, k, in, out).
enum DirectConvolution {
    static func forEach(_ s: ConvolutionShape, _ body: (_ x: Int, _ w: Int, _ y: Int) -> Void) {
        for n in 0..<s.batch {
            for oy in 0..<s.outHeight {
                for ox in 0..<s.outWidth {
                    for ky in 0..<s.kernel {
                        for kx in 0..<s.kernel {
                            let iy = oy * s.stride - s.padding + ky
                            let ix = ox * s.stride - s.padding + kx
                            guard iy >= 0, iy < s.height, ix >= 0, ix < s.width else { continue }
                            for i in 0..<s.inChannels {
                                for o in 0..<s.outChannels {
                                    body(
                                        ((n * s.height + iy) * s.width + ix) * s.inChannels + i,
                                        ((ky * s.kernel + kx) * s.inChannels + i) * s.outChannels + o,
                                        ((n * s.outHeight + oy) * s.outWidth + ox) * s.outChannels + o)
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    static func forward(_ x: Values, _ w: Values, _ s: ConvolutionShape) -> Values {
        var y = Values([Double](repeating: 0, count: s.outRows * s.outChannels))
        forEach(s) { y.data[$2] += x.data[$0] * w.data[$1] }
        return y
    }

    static func dataGradient(_ dy: Values, _ w: Values, _ s: ConvolutionShape) -> Values {
        var dx = Values([Double](repeating: 0, count: s.inRows * s.inChannels))
        forEach(s) { dx.data[$0] += dy.data[$2] * w.data[$1] }
        return dx
    }

    static func weightGradient(_ x: Values, _ dy: Values, _ s: ConvolutionShape) -> Values {
        var dw = Values([Double](repeating: 0, count: s.weightCount))
        forEach(s) { dw.data[$1] += dy.data[$2] * x.data[$0] }
        return dw
    }
}

/// Linear layers of `w` (outputs, inputs) on rows of `inputs` values, by definition.
struct DirectLinear {
    let rows: Int
    let inputs: Int
    let outputs: Int

    private func forEach(_ body: (_ x: Int, _ w: Int, _ y: Int) -> Void) {
        for row in 0..<rows {
            for o in 0..<outputs {
                for i in 0..<inputs { body(row * inputs + i, o * inputs + i, row * outputs + o) }
            }
        }
    }

    func forward(_ x: Values, _ w: Values, bias: [Double]) -> Values {
        var y = Values((0..<rows * outputs).map { bias[$0 % outputs] })
        forEach { y.data[$2] += x.data[$0] * w.data[$1] }
        return y
    }

    func dataGradient(_ dy: Values, _ w: Values) -> Values {
        var dx = Values([Double](repeating: 0, count: rows * inputs))
        forEach { dx.data[$0] += dy.data[$2] * w.data[$1] }
        return dx
    }

    func weightGradient(_ x: Values, _ dy: Values) -> Values {
        var dw = Values([Double](repeating: 0, count: outputs * inputs))
        forEach { dw.data[$1] += dy.data[$2] * x.data[$0] }
        return dw
    }
}
