import Testing

@testable import CARL

/// Both gradients of a 1x1 convolution in one pass over its pixels, beside the two that are computed one after the
/// other, and the definition.
@Suite("Joined gradients")
struct JoinedGradientsTests {
    /// Sides and channels that are no multiples of a tile, parts that the weights' product takes several of, and the
    /// last with few pixels; two views.
    static let shapes: [ConvolutionShape] = [
        (2, 47, 45, 5, 7), (2, 46, 45, 48, 80), (4, 33, 33, 16, 256), (6, 27, 27, 256, 64), (2, 46, 46, 200, 1040),
    ].map {
        ConvolutionShape(
            batch: $0.0, height: $0.1, width: $0.2, inChannels: $0.3, outChannels: $0.4, kernel: 1, stride: 1,
            padding: 0, groups: 2)
    }

    private struct Result {
        var dx: [Float] = []
        var dw: [Float] = []
        /// What the epilogue saw, by pixel, and of which part.
        var seen: [Float] = []
        var parts: [Int] = []
    }

    private static func random(_ count: Int, _ minor: UInt64) -> Values {
        var stream = RandomStream(seed: 17, purpose: .initialWeights, minor: minor)
        return Values(random: count, &stream)
    }

    /// `isStored`: the maps as bfloat16. The values are bfloat16 values either way.
    private func run(
        _ s: ConvolutionShape, joined: Bool, accumulate: Bool, threads: Int, precision: Precision = .float32,
        isStored: Bool = false
    ) throws -> Result {
        let compute = try Compute(threads: threads, precision: precision)
        var layout = ParameterLayout()
        let layer = Convolution(&layout, "c", s.inChannels, s.outChannels, kernel: 1)
        let norm = BatchNorm(&layout, "n", s.outChannels)
        let parameters = try Self.random(layout.parameterCount, 1).buffer()
        let statistics = try FloatBuffer(layout.statisticCount)
        let gradients = try FloatBuffer(layout.parameterCount)
        let memory = ModelMemory(
            parameters: parameters.base, statistics: statistics.base, gradients: gradients.base)
        func map(_ channels: Int, _ minor: UInt64) throws -> Activation {
            var map = try Self.random(s.outRows * channels, minor).rounded
                .activation(s.batch, s.height, s.width, channels)
            map.groups = 2
            return isStored ? try map.asBFloat16() : map
        }
        let (x, y, dz) = (try map(s.inChannels, 2), try map(s.outChannels, 3), try map(s.outChannels, 4))
        let dx = try map(s.inChannels, 5)
        // The gradient comes through a normalisation and a ReLU.
        let factors = try Self.random(4 * 2 * s.outChannels, 6).buffer()
        let coefficients = try Self.random(3 * 2 * s.outChannels, 7).buffer()
        let dy = ConvolutionInput(
            PendingNormalizationGradient(
                dz: dz, y: y, factors: .init(memory: factors, channels: s.outChannels), relu: true,
                coefficients: coefficients))
        var result = Result(
            seen: .init(repeating: .nan, count: dx.count), parts: .init(repeating: -1, count: s.outRows))
        try result.seen.withUnsafeMutableBufferPointer { seen in
            try result.parts.withUnsafeMutableBufferPointer { parts in
                let (seen, parts) = (seen.baseAddress!, parts.baseAddress!)
                let epilogue: Epilogue = { part, rows, values in
                    for row in rows { parts[row] = part }
                    for i in rows.lowerBound * s.inChannels..<rows.upperBound * s.inChannels { seen[i] = values[i] }
                }
                if joined {
                    try layer.gradients(x, dy, into: dx, accumulate: accumulate, memory, compute, epilogue: epilogue)
                } else {
                    try layer.weightGradient(x, dy, memory, compute)
                    try layer.dataGradient(
                        x, dy, into: dx, accumulate: accumulate, memory, compute, epilogue: epilogue)
                }
            }
        }
        result.dx = dx.floats
        result.dw = Array(gradients.values.prefix(s.weightCount))
        withExtendedLifetime((parameters, statistics, norm)) {}
        return result
    }

    @Test func theShapesAreJoined() {
        #expect(Self.shapes.allSatisfy(PointwiseConvolution.joinsGradients))
        #expect(Self.shapes.contains { PointwiseConvolution.gradientParts($0).size < RowProductSum.rowsPerPart })
        #expect(Self.shapes.contains { PointwiseConvolution.gradientParts($0).size > RowProductSum.rowsPerPart })
    }

    @Test(arguments: shapes, [false, true])
    func asOneAfterTheOther(_ s: ConvolutionShape, accumulate: Bool) throws {
        let one = try run(s, joined: false, accumulate: accumulate, threads: 1)
        for threads in [1, 2, 3] {
            let both = try run(s, joined: true, accumulate: accumulate, threads: threads)
            #expect(both.dx == one.dx)
            #expect(both.seen == one.seen)
            #expect(both.parts == one.parts)
            #expect(relativeError(Values(both.dw.map(Double.init)), Values(one.dw.map(Double.init))) < 2e-6)
            #expect(try run(s, joined: true, accumulate: accumulate, threads: threads).dw == both.dw)
        }
    }

    /// The gradients of the convolution of the gradient that the normalisation leaves, in float64.
    @Test(arguments: shapes.prefix(2)) func agreesWithTheDefinition(_ s: ConvolutionShape) throws {
        let (y, dz) = (
            Self.random(s.outRows * s.outChannels, 3).rounded.data,
            Self.random(s.outRows * s.outChannels, 4).rounded.data
        )
        let (factors, coefficients) = (Self.random(8 * s.outChannels, 6).data, Self.random(6 * s.outChannels, 7).data)
        let dy = Values(
            y.indices.map { i in
                let (group, c) = (i / (y.count / 2), i % s.outChannels)
                func factor(_ k: Int) -> Double { factors[(4 * group + k) * s.outChannels + c] }
                func coefficient(_ k: Int) -> Double { coefficients[(3 * group + k) * s.outChannels + c] }
                let g = y[i] * factor(2) + factor(3) > 0 ? dz[i] : 0
                return g * coefficient(0) + y[i] * coefficient(1) + coefficient(2)
            })
        let x = Self.random(s.inRows * s.inChannels, 2).rounded
        // The layer's weights are the first parameters.
        let w = Values(Array(Self.random(s.weightCount + 2 * s.outChannels, 1).data.prefix(s.weightCount)))
        let result = try run(s, joined: true, accumulate: false, threads: 2)
        #expect(
            relativeError(Values(result.dx.map(Double.init)), DirectConvolution.dataGradient(dy, w, s)) < 2e-6)
        #expect(
            relativeError(Values(result.dw.map(Double.init)), DirectConvolution.weightGradient(x, dy, s)) < 2e-6)
    }

    /// bfloat16 maps give the bits of float32 maps with the same values, rounded at the end.
    @Test(arguments: shapes.filter { $0.inChannels % 16 == 0 && $0.outChannels % 16 == 0 }, [1, 3])
    func ofStoredMaps(_ s: ConvolutionShape, threads: Int) throws {
        for format in bfloat16Formats {
            let precision: Precision = format == .bfloat16 ? .bf16 : .emulatedBF16
            for accumulate in [false, true] {
                let wanted = try run(s, joined: true, accumulate: accumulate, threads: threads, precision: precision)
                let stored = try run(
                    s, joined: true, accumulate: accumulate, threads: threads, precision: precision, isStored: true)
                #expect(stored.dw == wanted.dw)
                #expect(stored.seen == wanted.seen)
                #expect(stored.dx == wanted.dx.map { Float(bitPattern: BFloat16.rounded($0)) })
            }
        }
    }
}
