extension EncoderKind {
    /// Uses what only larger networks use, on the smallest memory that there can be: for what Swift's runtime makes at
    /// the first time. A configuration for it would take megabytes.
    public static func rehearse() throws {
        let compute = try Compute(threads: 1)
        try rehearseTransformer(compute)
        for stride in [1, 2] { try rehearseConvolution(stride: stride, compute) }
    }

    private static func rehearseTransformer(_ compute: Compute) throws {
        var options = EncoderOptions()
        (options.patchSize, options.positionGrid) = (4, 2)
        var layout = ParameterLayout()
        let encoder: any Encoder = VisionTransformer(&layout, prefix: "", .init(width: 64, depth: 2), options)
        try withMemory(layout) { memory in
            let x = try zeros(2, 8, 8, 3, compute)
            let pass = try encoder.forward(x, memory, compute)
            try pass.backward(pass.features, nil)
            compute.workspace.give(try encoder.evaluate(x, memory, compute))
            compute.workspace.give(x)
        }
    }

    /// With so many channels and pixels Winograd's method pays.
    private static func rehearseConvolution(stride: Int, _ compute: Compute) throws {
        var layout = ParameterLayout()
        let layer = Convolution(&layout, "", 8, 16, kernel: 3, stride: stride, padding: 1)
        try withMemory(layout) { memory in
            let x = try zeros(4, 16, 16, 8, compute)
            let y = try zeros(4, 16 / stride, 16 / stride, 16, compute)
            try layer.forward(x, into: y, memory, compute)
            try layer.weightGradient(x, .init(y, pending: nil), memory, compute)
            compute.workspace.give(y)
            compute.workspace.give(x)
        }
    }

    private static func withMemory(_ layout: ParameterLayout, _ body: (ModelMemory) throws -> Void) throws {
        let parameters = try FloatBuffer(layout.parameterCount)
        let gradients = try FloatBuffer(layout.parameterCount)
        try withExtendedLifetime((parameters, gradients)) {
            try body(
                ModelMemory(parameters: parameters.base, statistics: parameters.base, gradients: gradients.base))
        }
    }

    private static func zeros(_ batch: Int, _ height: Int, _ width: Int, _ channels: Int, _ compute: Compute) throws
        -> Activation
    {
        let x = try compute.workspace.takeActivation(batch, height, width, channels)
        x.base.update(repeating: 0, count: x.count)
        return x
    }
}
