import Testing

@testable import CARL

@Suite struct ConvolutionTests {
    /// Odd shapes: batch 1, one channel, sizes and channels that are no multiple of a vector or a part.
    static let shapes: [ConvolutionShape] = [
        (1, 1, 1, 1, 1, 1, 1, 0), (2, 5, 3, 7, 9, 1, 1, 0), (3, 20, 20, 3, 17, 1, 1, 0), (2, 6, 7, 5, 3, 1, 2, 0),
        (1, 1, 1, 1, 1, 3, 1, 1), (2, 7, 5, 3, 8, 3, 1, 1), (1, 9, 9, 16, 17, 3, 1, 1), (3, 8, 8, 4, 6, 3, 2, 1),
        (2, 13, 11, 2, 5, 3, 2, 1), (2, 15, 14, 3, 4, 7, 2, 3), (1, 3, 2, 1, 2, 7, 2, 3), (4, 24, 24, 1, 8, 3, 1, 1),
        (2, 12, 12, 24, 24, 3, 1, 1),
        // Output rows of 24, 23 and 48 pixels: windows that overlap in memory.
        (2, 9, 48, 3, 17, 7, 2, 3), (1, 1, 46, 1, 3, 7, 2, 3), (3, 5, 24, 8, 33, 5, 1, 2), (1, 3, 72, 2, 5, 5, 3, 1),
        (2, 4, 48, 3, 64, 3, 1, 1), (1, 6, 28, 4, 40, 5, 1, 0),
        // Rows of 20, 28, 17 and 19 pixels, whose windows are gathered, but for the weight gradient.
        (2, 20, 20, 3, 16, 3, 1, 1), (1, 28, 28, 1, 12, 3, 1, 1), (2, 34, 33, 8, 24, 3, 2, 1),
        (1, 5, 38, 3, 65, 7, 2, 3),
    ].map {
        ConvolutionShape(
            batch: $0.0, height: $0.1, width: $0.2, inChannels: $0.3, outChannels: $0.4, kernel: $0.5, stride: $0.6,
            padding: $0.7)
    }

    private func run(_ s: ConvolutionShape, threads: Int) throws -> (y: Values, dx: Values, dw: Values, covered: [Int])
    {
        var random = RandomStream(seed: 5, purpose: .initialWeights, minor: UInt64(s.weightCount))
        let x = Values(random: s.inRows * s.inChannels, &random)
        let w = Values(random: s.weightCount, &random)
        let dy = Values(random: s.outRows * s.outChannels, &random)
        let compute = try Compute(threads: threads)
        var layout = ParameterLayout()
        let layer = Convolution(
            &layout, "c", s.inChannels, s.outChannels, kernel: s.kernel, stride: s.stride, padding: s.padding)
        let parameters = try w.buffer()
        let gradients = try FloatBuffer(s.weightCount)
        let memory = ModelMemory(parameters: parameters.base, statistics: parameters.base, gradients: gradients.base)
        let input = try x.activation(s.batch, s.height, s.width, s.inChannels)
        let output = try dy.activation(s.batch, s.outHeight, s.outWidth, s.outChannels)
        let gradient = try dy.activation(s.batch, s.outHeight, s.outWidth, s.outChannels)
        let covered = UnsafeMutablePointer<Int>.allocate(capacity: s.outRows)
        covered.initialize(repeating: 0, count: s.outRows)
        defer { covered.deallocate() }
        let dx = try FloatBuffer(s.inRows * s.inChannels)
        let dataGradient = Activation(
            buffer: dx, batch: s.batch, height: s.height, width: s.width, channels: s.inChannels)
        let parts = layer.parts(s, compute).count
        try layer.forward(input, into: output, memory, compute) { part, rows, _ in
            #expect(part >= 0 && part < parts)
            for row in rows { covered[row] += 1 }
        }
        try layer.weightGradient(input, .init(gradient, pending: nil), memory, compute)
        try layer.dataGradient(
            input, .init(gradient, pending: nil), into: dataGradient, accumulate: false, memory, compute)
        // Adding once more doubles it.
        try layer.dataGradient(
            input, .init(gradient, pending: nil), into: dataGradient, accumulate: true, memory, compute)
        withExtendedLifetime(parameters) {}
        return (
            Values(output.base, output.count), Values(Values(dx.base, dx.count).data.map { $0 / 2 }),
            Values(gradients.base, s.weightCount), (0..<s.outRows).map { covered[$0] }
        )
    }

    @Test(arguments: shapes) func agreesWithTheDefinition(_ s: ConvolutionShape) throws {
        var random = RandomStream(seed: 5, purpose: .initialWeights, minor: UInt64(s.weightCount))
        let x = Values(random: s.inRows * s.inChannels, &random)
        let w = Values(random: s.weightCount, &random)
        let dy = Values(random: s.outRows * s.outChannels, &random)
        for threads in [1, 3] {
            let result = try run(s, threads: threads)
            #expect(relativeError(result.y, DirectConvolution.forward(x, w, s)) < 1e-5)
            #expect(relativeError(result.dx, DirectConvolution.dataGradient(dy, w, s)) < 1e-5)
            #expect(relativeError(result.dw, DirectConvolution.weightGradient(x, dy, s)) < 1e-5)
            #expect(result.covered.allSatisfy { $0 == 1 })
        }
    }

    @Test func referenceGradientsAgreeWithFiniteDifferences() {
        let s = ConvolutionShape(
            batch: 2, height: 5, width: 4, inChannels: 2, outChannels: 3, kernel: 3, stride: 2, padding: 1)
        var random = RandomStream(seed: 1, purpose: .initialWeights)
        let x = Values(random: s.inRows * s.inChannels, &random)
        let w = Values(random: s.weightCount, &random)
        let dy = Values(random: s.outRows * s.outChannels, &random)
        let byX = numericalGradient(x) { dot(DirectConvolution.forward($0, w, s), dy) }
        let byW = numericalGradient(w) { dot(DirectConvolution.forward(x, $0, s), dy) }
        #expect(relativeError(DirectConvolution.dataGradient(dy, w, s), byX) < 1e-7)
        #expect(relativeError(DirectConvolution.weightGradient(x, dy, s), byW) < 1e-7)
    }

    /// Where weights stay, what is packed of them is kept: for windows that overlap in another order than for those
    /// that are gathered.
    @Test(arguments: [Precision.float32, .emulatedBF16]) func keptFiltersServeAllSizes(_ precision: Precision) throws {
        let (channels, filters, kernel) = (3, 64, 7)
        var layout = ParameterLayout()
        let layer = Convolution(&layout, "c", channels, filters, kernel: kernel, stride: 2, padding: 3)
        var random = RandomStream(seed: 6, purpose: .initialWeights)
        let w = try Values(random: channels * filters * kernel * kernel, &random).buffer()
        let memory = ModelMemory(parameters: w.base, statistics: w.base, gradients: nil)
        let kept = try Compute.forFixedWeights(threads: 2, precision: precision)
        for width in [48, 19, 48, 19] {
            let x = try Values(random: 2 * 20 * width * channels, &random).activation(2, 20, width, channels)
            let results = try [kept, Compute(threads: 2, precision: precision)].map { compute in
                let s = layer.shape(x)
                #expect(OverlappingWindows.pays(s) == (width == 48))
                let y = Activation(
                    buffer: try FloatBuffer(s.outRows * filters), batch: 2, height: s.outHeight, width: s.outWidth,
                    channels: filters)
                try layer.forward(x, into: y, memory, compute)
                return Values(y.base, y.count).data
            }
            #expect(results[0] == results[1])
        }
        withExtendedLifetime(w) {}
    }

    @Test func repeatsBitForBit() throws {
        for s in Self.shapes {
            let a = try run(s, threads: 2)
            let b = try run(s, threads: 2)
            #expect(a.y.data == b.y.data && a.dx.data == b.dx.data && a.dw.data == b.dw.data)
        }
    }
}
