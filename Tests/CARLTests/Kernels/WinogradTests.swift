import Testing

@testable import CARL

/// Winograd convolution against a direct convolution in Double.
@Suite("Winograd convolution")
struct WinogradTests {
    static let sizes = [1, 2, 3, 4, 5, 7, 9, 13]
    static let channels = [1, 3, 16, 17, 64]

    @Test func theShapesReachEveryWayOfCuttingUp() {
        func check<Algorithm: WinogradForwardAlgorithm>(_: Algorithm.Type, stride: Int) {
            let plans = Self.shapes.filter { $0.stride == stride }.map { shape in
                WinogradPlan(
                    shape,
                    WinogradGrid<Algorithm>(
                        batch: shape.batch, source: (shape.height, shape.width),
                        target: (shape.outHeight, shape.outWidth)))
            }
            #expect(plans.contains { $0.partsPerStage == 1 && $0.parts.count > 1 })
            #expect(plans.contains { $0.partsPerStage > 1 && $0.parts.count > 1 && $0.parts.count <= $0.partsPerStage })
            #expect(plans.contains { $0.partsPerStage > 1 && $0.parts.count > $0.partsPerStage })
        }
        check(WinogradStride1.self, stride: 1)
        check(WinogradStride1Five.self, stride: 1)
        check(WinogradStride1Three.self, stride: 1)
        check(WinogradStride2.self, stride: 2)
    }

    static let shapes =
        stride1Shapes
        + stride1Shapes.map { shape($0.batch, $0.height, $0.width, $0.inChannels, $0.outChannels, stride: 2) } + [
            shape(18, 64, 60, 8, 24, stride: 2), shape(70, 16, 9, 256, 264, stride: 2),
            shape(6, 9, 13, 16, 24, groups: 3), shape(18, 32, 32, 8, 24, groups: 2),
            shape(72, 4, 7, 264, 256, groups: 3),
            shape(18, 64, 60, 8, 24, stride: 2, groups: 2),
        ]

    /// Every pair of height and width, with channel pairs and batches that take turns so that all of them occur.
    static let stride1Shapes: [ConvolutionShape] =
        sizes.flatMap { height in
            sizes.enumerated().map { index, width in
                let turn = height * 3 + index
                return shape(1 + turn % 3, height, width, channels[turn % 5], channels[(turn / 2 + index) % 5])
            }
        } + channels.flatMap { ic in channels.map { oc in shape(9, 5, 9, ic, oc) } } + [
            shape(3, 13, 13, 64, 64), shape(9, 32, 32, 8, 24), shape(3, 4, 4, 256, 256), shape(70, 4, 7, 264, 256),
            shape(300, 1, 1, 320, 328),
            shape(17, 32, 32, 8, 24), shape(40, 21, 23, 9, 8), shape(30, 20, 20, 24, 40), shape(40, 10, 10, 40, 24),
            shape(50, 5, 5, 264, 256), shape(60, 3, 3, 256, 328), shape(30, 15, 6, 17, 24),
        ]

    static func shape(
        _ batch: Int, _ height: Int, _ width: Int, _ ic: Int, _ oc: Int, stride: Int = 1, groups: Int = 1
    ) -> ConvolutionShape {
        ConvolutionShape(
            batch: batch, height: height, width: width, inChannels: ic, outChannels: oc, kernel: 3, stride: stride,
            padding: 1,
            groups: groups)
    }

    @Test(arguments: shapes)
    func forwardAgreesWithDirectConvolution(_ shape: ConvolutionShape) throws {
        let data = try Case(shape)
        let y = try run(data.y) { y, compute in
            try WinogradConvolution.forward(
                data.input, data.weights, .init(y, channels: shape.outChannels), shape, compute, epilogue: nil)
        }
        expectClose(y, data.forward())
    }

    @Test(arguments: shapes)
    func dataGradientAgreesWithDirectConvolution(_ shape: ConvolutionShape) throws {
        let data = try Case(shape)
        let expected = data.dataGradient()
        let written = try run(data.x) { dx, compute in
            try WinogradConvolution.dataGradient(
                data.gradient, data.weights, .init(dx, channels: shape.inChannels), shape, compute, accumulate: false,
                epilogue: nil)
        }
        expectClose(written, expected)
        let added = try run(data.x) { dx, compute in
            try WinogradConvolution.dataGradient(
                data.gradient, data.weights, .init(dx, channels: shape.inChannels), shape, compute, accumulate: true,
                epilogue: nil)
        }
        expectClose(added, zip(expected, data.x).map { $0 + Double($1) })
    }

    @Test(arguments: shapes)
    func weightGradientIsAdded(_ shape: ConvolutionShape) throws {
        let data = try Case(shape)
        let dw = try run(data.weights) { dw, compute in
            try WinogradConvolution.weightGradient(data.input, data.gradient, dw, shape, compute)
        }
        expectClose(dw, zip(data.weightGradient(), data.weights).map { $0 + Double($1) })
    }

    @Test(arguments: shapes)
    func rowsDoneCoversAllRowsOnceAndInOrder(_ shape: ConvolutionShape) throws {
        let data = try Case(shape)
        let parts = WinogradConvolution.parts(shape).count
        var ranges = [Range<Int>?](repeating: nil, count: parts)
        var early = [Float](repeating: .nan, count: data.y.count)
        let oc = shape.outChannels
        let y = try run(data.y, threads: 1) { y, compute in
            try WinogradConvolution.forward(
                data.input, data.weights, .init(y, channels: shape.outChannels), shape, compute
            ) { part, rows, values in
                #expect(values == y)
                #expect(ranges[part] == nil)
                ranges[part] = rows
                for i in rows.lowerBound * oc..<rows.upperBound * oc { early[i] = y[i] }
            }
        }
        var next = 0
        let group = shape.outRows / shape.groups
        for rows in ranges {
            guard let rows else { Issue.record("a part was not reported"); continue }
            #expect(rows.lowerBound == next)
            #expect(rows.lowerBound / group == (rows.upperBound - 1) / group, "a part of two groups")
            next = rows.upperBound
        }
        #expect(next == shape.outRows)
        #expect(early == y, "rows were reported before they were final")
    }

    @Test(arguments: [
        shape(3, 13, 13, 17, 64), shape(9, 32, 32, 8, 24), shape(40, 7, 5, 16, 16), shape(70, 4, 7, 264, 256),
        shape(17, 32, 32, 8, 24), shape(40, 21, 23, 9, 8), shape(18, 64, 60, 8, 24, stride: 2),
        shape(70, 16, 9, 256, 264, stride: 2), shape(30, 20, 20, 24, 40), shape(50, 5, 5, 264, 256),
        shape(60, 3, 3, 256, 328),
    ])
    func resultsDoNotDependOnThreads(_ shape: ConvolutionShape) throws {
        let data = try Case(shape)
        var first: [[Float]]?
        for threads in 1...3 {
            let results = [
                try run(data.y, threads: threads) { y, compute in
                    try WinogradConvolution.forward(
                        data.input, data.weights, .init(y, channels: shape.outChannels), shape, compute, epilogue: nil)
                },
                try run(data.x, threads: threads) { dx, compute in
                    try WinogradConvolution.dataGradient(
                        data.gradient, data.weights, .init(dx, channels: shape.inChannels), shape, compute,
                        accumulate: true, epilogue: nil)
                },
                try run(data.weights, threads: threads) { dw, compute in
                    try WinogradConvolution.weightGradient(data.input, data.gradient, dw, shape, compute)
                },
            ]
            if let first {
                #expect(first[0] == results[0] && first[1] == results[1])
                // Small weight gradients are summed by each thread over tiles of its own.
                let scale = first[2].reduce(0) { max($0, abs($1)) }
                for (a, b) in zip(first[2], results[2]) { #expect(abs(a - b) <= 1e-5 * scale) }
            } else {
                first = results
            }
        }
    }

    @Test(arguments: [shape(17, 32, 32, 8, 24), shape(18, 64, 60, 8, 24, stride: 2), shape(70, 4, 7, 264, 256)])
    func weightGradientsOfAsManyThreadsAreTheSame(_ shape: ConvolutionShape) throws {
        let data = try Case(shape)
        let results = try (0..<3).map { _ in
            try run(data.weights, threads: 3) { dw, compute in
                try WinogradConvolution.weightGradient(data.input, data.gradient, dw, shape, compute)
            }
        }
        #expect(results[0] == results[1] && results[0] == results[2])
    }

    /// Tiles of the size with the fewest multiplications, so that feature maps that are no multiple of four waste little.
    @Test(arguments: [
        (32, 32, WinogradTileSize.four), (28, 28, .four), (56, 56, .four), (20, 20, .five), (10, 10, .five),
        (5, 5, .five), (14, 14, .five), (15, 15, .five), (3, 3, .three), (6, 6, .three), (4, 4, .four), (7, 7, .four),
        (8, 8, .four), (1, 1, .three), (20, 4, .four),
    ])
    func tilesSuitTheMap(_ height: Int, _ width: Int, _ expected: WinogradTileSize) {
        #expect(WinogradTileSize.best(Self.shape(64, height, width, 64, 64)) == expected)
    }

    /// Of one image the filters count, which tiles of five have more values of.
    @Test func fewTilesHaveSmallFilters() {
        for side in [10, 14, 20] {
            #expect(WinogradTileSize.best(Self.shape(1, side, side, 256, 256)) != .five)
            #expect(WinogradTileSize.best(Self.shape(4, side, side, 256, 256)) == .five)
        }
        #expect(ConvolutionMethod.choose(Self.shape(1, 14, 14, 256, 256)) == .winograd)
        #expect(ConvolutionMethod.choose(Self.shape(1, 7, 7, 512, 512)) == .im2col)
    }

    @Test func isChosenWhereItIsPossibleAndPays() {
        #expect(ConvolutionMethod.choose(Self.shape(128, 32, 32, 64, 64)) == .winograd)
        #expect(ConvolutionMethod.choose(Self.shape(128, 28, 28, 16, 16)) == .winograd)
        #expect(ConvolutionMethod.choose(Self.shape(128, 4, 4, 512, 512)) == .winograd)
        #expect(ConvolutionMethod.choose(Self.shape(128, 32, 32, 64, 128, stride: 2)) == .winograd)
        #expect(ConvolutionMethod.choose(Self.shape(1, 8, 8, 256, 512, stride: 2)) == .im2col)
        #expect(ConvolutionMethod.choose(Self.shape(1, 4, 4, 512, 512)) == .im2col)
        #expect(ConvolutionMethod.choose(Self.shape(128, 32, 32, 3, 64)) == .im2col)
        #expect(ConvolutionMethod.choose(Self.shape(128, 2, 2, 64, 64)) == .im2col)
        for (kernel, stride, padding) in [(3, 3, 1), (3, 1, 0), (5, 1, 2)] {
            let shape = ConvolutionShape(
                batch: 128, height: 32, width: 32, inChannels: 64, outChannels: 64, kernel: kernel, stride: stride,
                padding: padding)
            #expect(ConvolutionMethod.choose(shape) == .im2col)
        }
    }

    @Test func memoryIsReusedFromCallToCall() throws {
        let shape = Self.shape(3, 13, 13, 17, 64)
        let data = try Case(shape)
        let compute = try Compute(threads: 2)
        var y = data.y
        var allocations = [Int]()
        for _ in 0..<3 {
            try y.withUnsafeMutableBufferPointer {
                try WinogradConvolution.forward(
                    data.input, data.weights,
                    .init($0.baseAddress!, channels: shape.outChannels), shape, compute, epilogue: nil)
            }
            allocations.append(compute.workspace.allocations)
        }
        #expect(allocations[0] > 0)
        #expect(allocations[1] == allocations[0] && allocations[2] == allocations[0])
    }

    /// Runs `body` on a copy of `initial` between guard values and checks that it leaves these alone.
    private func run(
        _ initial: [Float], threads: Int = 2, _ body: (FloatPointer, Compute) throws -> Void
    ) throws -> [Float] {
        let compute = try Compute(threads: threads)
        let margin = 512
        let mark: Float = 12345.5
        let guards = [Float](repeating: mark, count: margin)
        var memory = guards + initial + guards
        try memory.withUnsafeMutableBufferPointer { try body($0.baseAddress! + margin, compute) }
        #expect(memory.prefix(margin).allSatisfy { $0 == mark })
        #expect(memory.suffix(margin).allSatisfy { $0 == mark })
        return Array(memory[margin..<margin + initial.count])
    }

    /// Every value within 1e-4 of the largest expected one.
    private func expectClose(_ values: [Float], _ expected: [Double]) {
        #expect(values.count == expected.count)
        let scale = expected.reduce(0) { max($0, abs($1)) }
        var worst = 0.0
        for (a, b) in zip(values, expected) {
            let error = abs(Double(a) - b)
            worst = error.isNaN ? .infinity : max(worst, error)
        }
        #expect(scale > 0)
        #expect(worst < 1e-4 * scale)
    }

    /// Random data of a shape and its convolutions, straight from the definition.
    private struct Case {
        let shape: ConvolutionShape
        let x: [Float]
        let weights: [Float]
        let y: [Float]
        let dy: [Float]
        private let memory: FloatBuffer
        /// x and dy as the convolutions take them.
        let input: ConvolutionInput
        let gradient: ConvolutionInput

        init(_ shape: ConvolutionShape) throws {
            self.shape = shape
            var random = SplitMix(state: UInt64(shape.batch * 1_000_003 + shape.height * 1009 + shape.width))
            func values(_ count: Int) -> [Float] { (0..<count).map { _ in Float.random(in: -1...1, using: &random) } }
            x = values(shape.inRows * shape.inChannels)
            weights = values(shape.weightCount)
            y = values(shape.outRows * shape.outChannels)
            dy = values(shape.outRows * shape.outChannels)
            memory = try FloatBuffer(x.count + dy.count)
            memory.base.update(from: x, count: x.count)
            (memory.base + x.count).update(from: dy, count: dy.count)
            input = ConvolutionInput(memory.base, channels: shape.inChannels)
            gradient = ConvolutionInput(memory.base + x.count, channels: shape.outChannels)
        }

        func forward() -> [Double] {
            var y = [Double](repeating: 0, count: dy.count)
            forEachTap { output, input, filter in
                for i in 0..<shape.inChannels {
                    let value = Double(x[input + i])
                    for o in 0..<shape.outChannels {
                        y[output + o] += value * Double(weights[filter + i * shape.outChannels + o])
                    }
                }
            }
            return y
        }

        func dataGradient() -> [Double] {
            var dx = [Double](repeating: 0, count: x.count)
            forEachTap { output, input, filter in
                for i in 0..<shape.inChannels {
                    var sum = 0.0
                    for o in 0..<shape.outChannels {
                        sum += Double(dy[output + o]) * Double(weights[filter + i * shape.outChannels + o])
                    }
                    dx[input + i] += sum
                }
            }
            return dx
        }

        func weightGradient() -> [Double] {
            var dw = [Double](repeating: 0, count: weights.count)
            forEachTap { output, input, filter in
                for i in 0..<shape.inChannels {
                    let value = Double(x[input + i])
                    for o in 0..<shape.outChannels {
                        dw[filter + i * shape.outChannels + o] += value * Double(dy[output + o])
                    }
                }
            }
            return dw
        }

        /// Where the channels of an output pixel, of an input pixel its window covers, and of the weights between them
        /// start.
        private func forEachTap(_ body: (_ output: Int, _ input: Int, _ filter: Int) -> Void) {
            let (h, w, s) = (shape.height, shape.width, shape.stride)
            for n in 0..<shape.batch {
                for oy in 0..<shape.outHeight {
                    for ox in 0..<shape.outWidth {
                        for ky in 0..<3 where (0..<h).contains(oy * s + ky - 1) {
                            for kx in 0..<3 where (0..<w).contains(ox * s + kx - 1) {
                                body(
                                    ((n * shape.outHeight + oy) * shape.outWidth + ox) * shape.outChannels,
                                    ((n * h + oy * s + ky - 1) * w + ox * s + kx - 1) * shape.inChannels,
                                    (ky * 3 + kx) * shape.inChannels * shape.outChannels)
                            }
                        }
                    }
                }
            }
        }
    }

    /// splitmix64, for the same data in every run.
    private struct SplitMix: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
    }
}
