import Testing

@testable import CARL

/// A convolution that normalises on the way in, against one that is handed the normalised values.
@Suite("Convolution input")
struct ConvolutionInputTests {
    static let shapes: [ConvolutionShape] = [
        // Pointwise, Winograd in parts, in stages and at stride 2, patches.
        shape(4, 9, 7, 24, 40, kernel: 1), shape(50, 8, 8, 64, 64), shape(4, 5, 9, 24, 40), shape(260, 1, 1, 320, 328),
        shape(40, 16, 12, 32, 48, stride: 2), shape(4, 9, 7, 13, 5), shape(4, 12, 12, 16, 24, kernel: 5),
        shape(4, 9, 7, 24, 40, kernel: 1, stride: 2),
    ]

    private static func shape(
        _ batch: Int, _ height: Int, _ width: Int, _ inChannels: Int, _ outChannels: Int, kernel: Int = 3,
        stride: Int = 1
    ) -> ConvolutionShape {
        ConvolutionShape(
            batch: batch, height: height, width: width, inChannels: inChannels, outChannels: outChannels,
            kernel: kernel, stride: stride,
            padding: kernel / 2, groups: 2)
    }

    @Test func theShapesReachEveryMethod() {
        #expect(Set(Self.shapes.map { ConvolutionMethod.choose($0) }) == [.pointwise, .winograd, .im2col])
    }

    @Test(arguments: shapes, [1, 2, 3])
    func normalisingOnTheWayChangesNothing(_ shape: ConvolutionShape, threads: Int) throws {
        let compute = try Compute(threads: threads)
        let workspace = compute.workspace
        var random = RandomStream(seed: 3, purpose: .initialWeights, minor: UInt64(shape.weightCount))
        var layout = ParameterLayout()
        let below = BatchNorm(&layout, "below", shape.inChannels)
        let layer = Convolution(
            &layout, "layer", shape.inChannels, shape.outChannels, kernel: shape.kernel, stride: shape.stride,
            padding: shape.padding)
        let above = BatchNorm(&layout, "above", shape.outChannels)
        let parameters = try FloatBuffer(layout.parameterCount)
        let statistics = try FloatBuffer(layout.statisticCount)
        for i in 0..<parameters.count { parameters.base[i] = random.uniform(-0.5, 1) }
        func fill(_ x: Activation) { for i in 0..<x.count { x.base[i] = random.normal() } }
        func memory(_ gradients: FloatBuffer) -> ModelMemory {
            ModelMemory(parameters: parameters.base, statistics: statistics.base, gradients: gradients.base)
        }
        func moments(_ norm: BatchNorm, _ y: Activation, _ memory: ModelMemory) throws -> BatchNorm.Tape {
            let parts = BatchNorm.parts(y)
            let moments = try norm.takeMoments(parts.numbers, compute)
            for part in 0..<parts.count { moments.add(part, parts[part], y.base) }
            return try norm.finish(moments, memory, compute)
        }
        let gradients = [try FloatBuffer(layout.parameterCount), try FloatBuffer(layout.parameterCount)]

        let x = try workspace.takeActivation(shape.batch, shape.height, shape.width, shape.inChannels, groups: 2)
        fill(x)
        let tape = try moments(below, x, memory(gradients[0]))
        let normalised = try workspace.takeActivation(like: x)
        try below.apply(x, tape, relu: true, into: normalised, compute)
        let y = try workspace.takeActivation(shape.batch, shape.outHeight, shape.outWidth, shape.outChannels, groups: 2)
        let expectedY = try workspace.takeActivation(like: y)
        try layer.forward(normalised, into: expectedY, memory(gradients[0]), compute)
        try layer.forward(x, pending: tape, into: y, memory(gradients[1]), compute)
        #expect(difference(y, expectedY) < 1e-6)

        let dz = try workspace.takeActivation(like: y)
        fill(dz)
        let aboveTape = try moments(above, expectedY, memory(gradients[0]))
        let dy = try workspace.takeActivation(like: y)
        try above.backward(dz, .relu, expectedY, aboveTape, into: dy, memory(gradients[0]), compute)
        let pending = try above.backward(dz, .relu, expectedY, aboveTape, memory(gradients[1]), compute)
        let dx = try workspace.takeActivation(like: x)
        let expectedDx = try workspace.takeActivation(like: x)
        try layer.weightGradient(normalised, .init(dy, pending: nil), memory(gradients[0]), compute)
        try layer.weightGradient(x, pending: tape, .init(pending), memory(gradients[1]), compute)
        try layer.dataGradient(
            x, .init(dy, pending: nil), into: expectedDx, accumulate: false, memory(gradients[0]), compute)
        try layer.dataGradient(x, .init(pending), into: dx, accumulate: false, memory(gradients[1]), compute)
        #expect(difference(dx, expectedDx) < 1e-6)
        let error = relativeError(
            Values(gradients[1].base, layout.parameterCount), Values(gradients[0].base, layout.parameterCount))
        #expect(error < 1e-6)
        withExtendedLifetime((parameters, statistics, gradients)) {}
    }

    private func difference(_ a: Activation, _ b: Activation) -> Double {
        relativeError(Values(a.base, a.count), Values(b.base, b.count))
    }
}
