import Testing

@testable import CARL

/// Layers whose products have bfloat16 operands against the definition on rounded operands, in float64.
@Suite struct BFloat16LayerTests {
    /// 1x1, 1x1 of stride 2, 3x3 of stride 2, first layers' 7x7 and 5x5.
    static let shapes: [ConvolutionShape] = [
        (3, 9, 7, 72, 65, 1, 1, 0), (2, 9, 8, 96, 80, 1, 2, 0), (2, 9, 9, 64, 72, 3, 2, 1), (1, 23, 19, 3, 64, 7, 2, 3),
        (2, 12, 11, 13, 70, 5, 1, 2),
        // Windows that overlap in memory: pairs of an even and of an odd distance from one to the next.
        (1, 23, 48, 3, 64, 7, 2, 3), (2, 11, 24, 3, 64, 5, 1, 2), (1, 9, 48, 1, 70, 7, 2, 3),
    ].map {
        ConvolutionShape(
            batch: $0.0, height: $0.1, width: $0.2, inChannels: $0.3, outChannels: $0.4, kernel: $0.5, stride: $0.6,
            padding: $0.7)
    }

    @Test(arguments: shapes, [1, 3]) func convolution(_ s: ConvolutionShape, threads: Int) throws {
        var random = RandomStream(seed: 7, purpose: .initialWeights, minor: UInt64(s.weightCount))
        let x = Values(random: s.inRows * s.inChannels, &random)
        let w = Values(random: s.weightCount, &random)
        let dy = Values(random: s.outRows * s.outChannels, &random)
        let compute = try Compute(threads: threads, precision: .emulatedBF16)
        #expect(compute.format(rows: s.outRows, columns: s.outChannels, depth: s.patch) == .emulatedBFloat16)
        #expect(ConvolutionMethod.choose(s, compute.products) != .winograd)
        var layout = ParameterLayout()
        let layer = Convolution(
            &layout, "c", s.inChannels, s.outChannels, kernel: s.kernel, stride: s.stride, padding: s.padding)
        let parameters = try w.buffer()
        let gradients = try FloatBuffer(s.weightCount)
        let memory = ModelMemory(parameters: parameters.base, statistics: parameters.base, gradients: gradients.base)
        let input = try x.activation(s.batch, s.height, s.width, s.inChannels)
        let output = try dy.activation(s.batch, s.outHeight, s.outWidth, s.outChannels)
        let gradient = try dy.activation(s.batch, s.outHeight, s.outWidth, s.outChannels)
        let dx = Activation(
            buffer: try FloatBuffer(s.inRows * s.inChannels), batch: s.batch, height: s.height, width: s.width,
            channels: s.inChannels)
        try layer.forward(input, into: output, memory, compute)
        try layer.weightGradient(input, .init(gradient, pending: nil), memory, compute)
        try layer.dataGradient(
            input, .init(gradient, pending: nil), into: dx, accumulate: false, memory, compute)
        let wanted = DirectConvolution.forward(x.rounded, w.rounded, s)
        #expect(relativeError(Values(output.base, output.count), wanted) < 1e-6)
        #expect(
            relativeError(
                Values(dx.base, dx.count), DirectConvolution.dataGradient(dy.rounded, w.rounded, s)) < 1e-6)
        // Where windows are read as they overlap, the weights' gradient is float32.
        let (a, g) = OverlappingWindows.paysForWeights(s) ? (x, dy) : (x.rounded, dy.rounded)
        #expect(
            relativeError(Values(gradients.base, s.weightCount), DirectConvolution.weightGradient(a, g, s)) < 1e-6)
        // Operands were rounded indeed: 2^-9 of each at most.
        let error = relativeError(Values(output.base, output.count), DirectConvolution.forward(x, w, s))
        #expect(error > 1e-4 && error < 0x1p-8)
        withExtendedLifetime((parameters, gradients)) {}
    }

    @Test(arguments: [true, false]) func linear(_ small: Bool) throws {
        let (rows, inputs, outputs) = small ? (7, 96, 130) : (70, 131, 96)
        var random = RandomStream(seed: 8, purpose: .initialWeights)
        let compute = try Compute(threads: 2, precision: .emulatedBF16)
        var layout = ParameterLayout()
        let layer = Linear(&layout, "l", inputs, outputs)
        let x = Values(random: rows * inputs, &random)
        let dy = Values(random: rows * outputs, &random)
        let values = Values(random: layout.parameterCount, &random)
        let (parameters, gradients) = (try values.buffer(), try FloatBuffer(layout.parameterCount))
        let memory = ModelMemory(parameters: parameters.base, statistics: parameters.base, gradients: gradients.base)
        let input = try x.activation(rows, 1, 1, inputs)
        let y = try layer.forward(input, memory, compute)
        let dx = try layer.backward(input, try dy.activation(rows, 1, 1, outputs), memory, compute)
        // A sum over few rows is not worth rounding for; the bias is never rounded.
        let weights = Values(Array(values.data[layer.weight..<layer.weight + inputs * outputs]))
        let (a, w, g) = (x.rounded, weights.rounded, dy.rounded)
        let direct = DirectLinear(rows: rows, inputs: inputs, outputs: outputs)
        let bias = Array(values.data[layer.bias..<layer.bias + outputs])
        #expect(relativeError(Values(y.base, y.count), direct.forward(a, w, bias: bias)) < 1e-6)
        #expect(relativeError(Values(dx.base, dx.count), direct.dataGradient(g, w)) < 1e-6)
        let weightGradient = Values(gradients.base + layer.weight, inputs * outputs)
        let wanted = small ? direct.weightGradient(x, dy) : direct.weightGradient(a, g)
        #expect(relativeError(weightGradient, wanted) < 1e-6)
        withExtendedLifetime((parameters, gradients)) {}
    }

    @Test func rowLinear() throws {
        let (rows, inputs, outputs) = (207, 104, 392)
        var random = RandomStream(seed: 9, purpose: .initialWeights)
        var layout = ParameterLayout()
        let layer = RowLinear(&layout, "l", inputs, outputs)
        let values = Values(random: layout.parameterCount, &random)
        let (x, dy) = (Values(random: rows * inputs, &random), Values(random: rows * outputs, &random))
        let (parameters, input, gradient) = (try values.buffer(), try x.buffer(), try dy.buffer())
        let memory = ModelMemory(parameters: parameters.base, statistics: parameters.base, gradients: nil)
        let w = Values(Array(values.data[layer.weight..<layer.weight + inputs * outputs])).rounded
        let (a, g) = (x.rounded, dy.rounded)
        let direct = DirectLinear(rows: rows, inputs: inputs, outputs: outputs)
        let bias = Array(values.data[layer.bias..<layer.bias + outputs])
        let results = try [1, 2, 3].map { threads in
            let compute = try Compute(threads: threads, precision: .emulatedBF16)
            let (y, dx) = (try FloatBuffer(rows * outputs), try FloatBuffer(rows * inputs))
            try layer.forward(rows: rows, into: y.base, memory, compute) { part, _ in
                UnsafePointer(input.base) + part.lowerBound * inputs
            }
            try layer.dataGradient(gradient.base, rows: rows, into: dx.base, memory, compute)
            return (Values(y.base, y.count), Values(dx.base, dx.count))
        }
        #expect(relativeError(results[0].0, direct.forward(a, w, bias: bias)) < 1e-6)
        #expect(relativeError(results[0].1, direct.dataGradient(g, w)) < 1e-6)
        #expect(results.allSatisfy { $0.0.data == results[0].0.data && $0.1.data == results[0].1.data })
        withExtendedLifetime((parameters, input, gradient)) {}
    }

    private func shape(_ batch: Int, _ side: Int, _ from: Int, _ to: Int, _ kernel: Int, _ stride: Int)
        -> ConvolutionShape
    {
        ConvolutionShape(
            batch: batch, height: side, width: side, inChannels: from, outChannels: to, kernel: kernel, stride: stride,
            padding: kernel / 2)
    }

    /// Who takes which method, and that without bfloat16 nothing changes.
    @Test func theRule() {
        func method(_ s: ConvolutionShape) -> ConvolutionMethod { .choose(s, .bfloat16) }
        // 3x3 of stride 1: a quarter of the multiplications beats half the time for each.
        #expect(method(shape(128, 32, 64, 64, 3, 1)) == .winograd)
        #expect(method(shape(128, 4, 512, 512, 3, 1)) == .winograd)
        // Of stride 2 Winograd spares less.
        #expect(method(shape(128, 32, 64, 128, 3, 2)) == .im2col)
        #expect(ConvolutionMethod.choose(shape(128, 32, 64, 128, 3, 2)) == .winograd)
        #expect(method(shape(128, 32, 64, 128, 1, 2)) == .im2col)
        #expect(method(shape(128, 32, 64, 128, 1, 1)) == .pointwise)
        #expect(BFloat16Rule.pays(rows: 1 << 17, columns: 64, depth: 256))
        #expect(BFloat16Rule.pays(rows: 256, columns: 512, depth: 512))
        // A few rows and few columns are computed as whole tiles either way.
        #expect(BFloat16Rule.pays(rows: 1, columns: 4096, depth: 4096))
        #expect(BFloat16Rule.pays(rows: 4096, columns: 10, depth: 512))
        // Of little depth most of the work is other than products.
        #expect(!BFloat16Rule.pays(rows: 4096, columns: 32, depth: 27))
        #expect(!BFloat16Rule.pays(rows: 4096, columns: 64, depth: 16))
        #expect(!BFloat16Rule.pays(rows: 4096, columns: 4096, depth: 1))
        #expect(!BFloat16Rule.pays(rows: 0, columns: 0, depth: 0))
    }

    @Test func precisionOfTheProcessor() throws {
        #expect(try Precision.bf16.products(hasBFloat16: true) == .bfloat16)
        #expect(try Precision.auto.products(hasBFloat16: true) == .bfloat16)
        #expect(try Precision.auto.products(hasBFloat16: false) == .float32)
        #expect(try Precision.float32.products(hasBFloat16: true) == .float32)
        #expect(try Precision.emulatedBF16.products(hasBFloat16: true) == .emulatedBFloat16)
        let error = #expect(throws: CARLError.self) { try Precision.bf16.products(hasBFloat16: false) }
        let text = "\(try #require(error))"
        for part in ["\"precision\"", "got \"bf16\"", "AVX512_BF16", "\"float32\"", "\"auto\"", "\"bf16-emulated\""] {
            #expect(text.contains(part))
        }
        let resolved = try Configuration(json: #"{"precision": "auto"}"#)
        #expect(resolved.precision == (Precision.hasBFloat16 ? .bf16 : .float32))
        #expect(try Configuration(json: "{}").precision == .float32)
    }
}
