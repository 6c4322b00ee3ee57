import Testing

@testable import CARL

extension Activation {
    /// The values as float32, whatever they are stored as.
    var floats: [Float] { (0..<count).map { stored[$0] } }

    /// The same values, which are bfloat16 values, stored as such.
    func asBFloat16() throws -> Activation {
        let memory = try FloatBuffer((count + 1) / 2)
        let copy = Activation(
            buffer: memory, batch: batch, height: height, width: width, channels: channels, groups: groups,
            storage: .bfloat16)
        copy.stored.round(base, count)
        return copy
    }
}

private func rounded(_ values: [Float]) -> [Float] {
    values.map { Float(bitPattern: BFloat16.rounded($0)) }
}

/// Feature maps that are kept as bfloat16: the bits of the same layers on float32 memory that holds the same values,
/// rounded at the end.
@Suite struct StoredMapTests {
    /// 1x1 with many rows and with few, 1x1 and 3x3 of stride 2, 3x3 of stride 1 by either plan of Winograd's method,
    /// odd sides. Two views.
    static let shapes: [ConvolutionShape] = [
        (6, 9, 7, 64, 80, 1, 1, 0), (2, 3, 3, 256, 512, 1, 1, 0), (4, 9, 8, 96, 80, 1, 2, 0),
        (2, 9, 9, 64, 80, 3, 2, 1), (2, 3, 5, 128, 256, 3, 2, 1), (4, 17, 18, 48, 64, 3, 1, 1),
        (2, 5, 4, 384, 272, 3, 1, 1), (2, 1, 1, 16, 16, 3, 1, 1),
    ].map {
        ConvolutionShape(
            batch: $0.0, height: $0.1, width: $0.2, inChannels: $0.3, outChannels: $0.4, kernel: $0.5, stride: $0.6,
            padding: $0.7, groups: 2)
    }

    private struct Case {
        let s: ConvolutionShape
        let compute: Compute
        let layer: Convolution
        let before: BatchNorm
        let behind: BatchNorm
        let parameters: FloatBuffer
        let statistics: FloatBuffer
        let gradients: FloatBuffer
        var random = RandomStream(seed: 11, purpose: .initialWeights)

        init(_ s: ConvolutionShape, threads: Int, _ format: ProductFormat) throws {
            self.s = s
            compute = try Compute(threads: threads, precision: format == .bfloat16 ? .bf16 : .emulatedBF16)
            var layout = ParameterLayout()
            layer = Convolution(
                &layout, "c", s.inChannels, s.outChannels, kernel: s.kernel, stride: s.stride, padding: s.padding)
            before = BatchNorm(&layout, "b", s.inChannels)
            behind = BatchNorm(&layout, "n", s.outChannels)
            parameters = try Values(random: layout.parameterCount, &random).buffer()
            statistics = try FloatBuffer(layout.statisticCount)
            gradients = try FloatBuffer(layout.parameterCount)
        }

        var memory: ModelMemory {
            ModelMemory(parameters: parameters.base, statistics: statistics.base, gradients: gradients.base)
        }

        /// Random bfloat16 values in float32 memory.
        mutating func map(_ height: Int, _ width: Int, _ channels: Int) throws -> Activation {
            var map = try Values(random: s.batch * height * width * channels, &random).rounded
                .activation(s.batch, height, width, channels)
            map.groups = s.groups
            return map
        }

        /// The factors of a normalisation of a map.
        func tape(_ norm: BatchNorm, _ y: Activation) throws -> BatchNorm.Tape {
            let parts = BatchNorm.parts(y)
            let moments = try norm.takeMoments(parts.numbers, compute)
            for part in 0..<parts.count { moments.add(part, parts[part], y.base) }
            return try norm.finish(moments, memory, compute)
        }

        func takeGradients() -> [Float] {
            defer { gradients.fill(0) }
            return Array(gradients.values)
        }
    }

    @Test(arguments: shapes, [1, 3])
    func convolution(_ s: ConvolutionShape, threads: Int) throws {
        for format in bfloat16Formats {
            var c = try Case(s, threads: threads, format)
            let (compute, memory, layer) = (c.compute, c.memory, c.layer)
            let x = try c.map(s.height, s.width, s.inChannels)
            let y = try c.map(s.outHeight, s.outWidth, s.outChannels)
            let dz = try c.map(s.outHeight, s.outWidth, s.outChannels)
            let dx = try c.map(s.height, s.width, s.inChannels)
            let pending = try c.tape(c.before, x)
            let behind = try c.tape(c.behind, y)
            let (storedX, storedY, storedDZ) = (try x.asBFloat16(), try y.asBFloat16(), try dz.asBFloat16())
            #expect(compute.storage(channels: s.inChannels) == .bfloat16)

            for tape in [nil, pending] {
                // y, and what the epilogue sees of it.
                let plain = try compute.workspace.takeActivation(like: y)
                let stored = try compute.workspace.takeActivation(like: y, storage: .bfloat16)
                var seen = [Float](repeating: .nan, count: y.count)
                try layer.forward(x, pending: tape, into: plain, memory, compute)
                try seen.withUnsafeMutableBufferPointer { seen in
                    let seen = seen.baseAddress!
                    try layer.forward(storedX, pending: tape, into: stored, memory, compute) { _, rows, values in
                        for i in rows.lowerBound * s.outChannels..<rows.upperBound * s.outChannels {
                            seen[i] = values[i]
                        }
                    }
                }
                #expect(seen == plain.floats)
                #expect(stored.floats == rounded(plain.floats))
                // The weight gradient.
                let gradient = PendingNormalizationGradient(
                    dz: dz, y: y, factors: behind, relu: true, coefficients: try coefficients(c, dz, y, behind))
                let storedGradient = PendingNormalizationGradient(
                    dz: storedDZ, y: storedY, factors: behind, relu: true, coefficients: gradient.coefficients)
                _ = c.takeGradients()
                try layer.weightGradient(x, pending: tape, .init(gradient), memory, compute)
                let wanted = c.takeGradients()
                try layer.weightGradient(storedX, pending: tape, .init(storedGradient), memory, compute)
                #expect(c.takeGradients() == wanted)
                // The data gradient, written and added; sums of it as the layer below wants them.
                for accumulate in [false, true] {
                    let target = Activation(
                        buffer: try FloatBuffer(dx.count), batch: s.batch, height: s.height, width: s.width,
                        channels: s.inChannels, groups: s.groups)
                    target.base.update(from: dx.base, count: dx.count)
                    let storedTarget = try dx.asBFloat16()
                    try layer.dataGradient(x, .init(gradient), into: target, accumulate: accumulate, memory, compute)
                    var seen = [Float](repeating: .nan, count: dx.count)
                    try seen.withUnsafeMutableBufferPointer { seen in
                        let seen = seen.baseAddress!
                        try layer.dataGradient(
                            storedX, .init(storedGradient), into: storedTarget, accumulate: accumulate, memory, compute
                        ) { _, rows, values in
                            for i in rows.lowerBound * s.inChannels..<rows.upperBound * s.inChannels {
                                seen[i] = values[i]
                            }
                        }
                    }
                    #expect(seen == target.floats)
                    #expect(storedTarget.floats == rounded(target.floats))
                }
                withExtendedLifetime((plain, stored, gradient)) {}
            }
            withExtendedLifetime((c, x, y, dz, dx, storedX, storedY, storedDZ)) {}
        }
    }

    private func coefficients(_ c: Case, _ dz: Activation, _ y: Activation, _ tape: BatchNorm.Tape) throws
        -> FloatBuffer
    {
        let copy = Activation(
            buffer: try FloatBuffer(dz.count), batch: dz.batch, height: dz.height, width: dz.width,
            channels: dz.channels, groups: dz.groups)
        copy.base.update(from: dz.base, count: dz.count)
        return try c.behind.backward(copy, .relu, y, tape, c.memory, c.compute).coefficients
    }

    /// Normalising with a skip, and its backward pass, which writes the gradient behind the ReLU back.
    @Test(arguments: [1, 2]) func normalisation(threads: Int) throws {
        let shape = ConvolutionShape(
            batch: 4, height: 13, width: 11, inChannels: 16, outChannels: 48, kernel: 1, stride: 1, padding: 0,
            groups: 2)
        var c = try Case(shape, threads: threads, .emulatedBFloat16)
        let (y, skip, dz) = (try c.map(13, 11, 48), try c.map(13, 11, 48), try c.map(13, 11, 48))
        let (storedY, storedSkip, storedDZ) = (try y.asBFloat16(), try skip.asBFloat16(), try dz.asBFloat16())
        let tape = try c.tape(c.behind, y)
        let skipTape = try c.tape(c.behind, skip)
        for skipTape in [nil, skipTape] {
            let plain = try c.compute.workspace.takeActivation(like: y)
            let stored = try c.compute.workspace.takeActivation(like: y, storage: .bfloat16)
            try c.behind.apply(y, tape, skip: skip, skipTape: skipTape, relu: true, into: plain, c.compute)
            try c.behind.apply(
                storedY, tape, skip: storedSkip, skipTape: skipTape, relu: true, into: stored, c.compute)
            #expect(stored.floats == rounded(plain.floats))
            if skipTape != nil { continue }
            _ = c.takeGradients()
            let a = try c.behind.backward(dz, .sumAndRelu(plain), y, tape, c.memory, c.compute)
            let wanted = c.takeGradients()
            let b = try c.behind.backward(storedDZ, .sumAndRelu(stored), storedY, tape, c.memory, c.compute)
            #expect(c.takeGradients() == wanted)
            #expect(Array(a.coefficients.values) == Array(b.coefficients.values))
            #expect(storedDZ.floats == dz.floats)
            #expect(dz.floats.contains(0))
        }
        withExtendedLifetime((c, y, skip, dz)) {}
    }

    /// Rows of whole vectors only, and nothing without bfloat16 products.
    @Test func whatIsKeptRounded() throws {
        let compute = try Compute(threads: 1, precision: .emulatedBF16)
        #expect(compute.storage(channels: 64) == .bfloat16)
        #expect(compute.storage(channels: 40) == .float32)
        #expect(compute.storage(channels: 3) == .float32)
        #expect(try Compute(threads: 1).storage(channels: 64) == .float32)
        #expect(try compute.workspace.takeActivation(1, 2, 2, 16, storage: .bfloat16).buffer.count == 32)
    }
}
