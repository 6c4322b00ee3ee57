#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A 2-D convolution layer without bias, NHWC.
struct Convolution {
    let name: String
    let inChannels: Int
    let outChannels: Int
    let kernel: Int
    let stride: Int
    let padding: Int
    /// Offset of the weights, (kernel * kernel * IC, OC) as `ConvolutionShape` says.
    let weight: Int

    init(
        _ layout: inout ParameterLayout, _ name: String, _ inChannels: Int, _ outChannels: Int,
        kernel: Int, stride: Int = 1, padding: Int = 0, kind: ParameterKind = .convolutionWeight
    ) {
        self.name = name
        self.inChannels = inChannels
        self.outChannels = outChannels
        self.kernel = kernel
        self.stride = stride
        self.padding = padding
        weight = layout.add("\(name).weight", [outChannels, inChannels, kernel, kernel], kind)
    }

    func shape(_ x: Activation) -> ConvolutionShape {
        ConvolutionShape(
            batch: x.batch, height: x.height, width: x.width, inChannels: inChannels, outChannels: outChannels,
            kernel: kernel, stride: stride, padding: padding, groups: x.groups)
    }

    /// y = conv(x), where x may still have to be normalised by `pending` and rectified. `epilogue` as described at its
    /// type; it is called for `parts`, and reads `alongside`, memory laid out like y.
    func forward(
        _ x: Activation, pending: BatchNorm.Tape? = nil, into y: Activation, _ memory: ModelMemory, _ compute: Compute,
        alongside: [StoredValues] = [], epilogue: Epilogue? = nil
    ) throws {
        let shape = shape(x)
        let weights = memory.parameters + weight
        try measured(.forward, shape, compute) { method in
            switch method {
            case .pointwise:
                try PointwiseConvolution.forward(
                    .init(x, pending: pending), weights, .init(y), shape, compute, alongside: alongside,
                    epilogue: epilogue)
            case .winograd:
                try WinogradConvolution.forward(
                    .init(x, pending: pending), weights, .init(y), shape, compute, alongside: alongside,
                    epilogue: epilogue)
            case .im2col:
                let format = compute.format(rows: shape.outRows, columns: outChannels, depth: shape.patch)
                try withPixels(x, pending, for: format, compute) {
                    try Im2colConvolution.forward($0, weights, .init(y), shape, compute, epilogue: epilogue)
                }
            }
        }
    }

    /// The parts for which `epilogue` is called.
    func parts(_ shape: ConvolutionShape, _ compute: Compute) -> PartNumbers {
        switch ConvolutionMethod.choose(shape, compute.products) {
        case .pointwise: PointwiseConvolution.parts(shape).numbers
        case .winograd: WinogradConvolution.parts(shape)
        case .im2col: Im2colConvolution.parts(shape).numbers
        }
    }

    /// The parts for which the data gradient's `epilogue` is called.
    func gradientParts(_ shape: ConvolutionShape, _ compute: Compute) -> PartNumbers {
        switch ConvolutionMethod.choose(shape, compute.products) {
        case .pointwise: PointwiseConvolution.gradientParts(shape).numbers
        case .winograd: WinogradConvolution.gradientParts(shape)
        case .im2col: Im2colConvolution.imageParts(shape).numbers
        }
    }

    /// Adds the weight gradient to `memory.gradients`; x and `pending` as in `forward`.
    func weightGradient(
        _ x: Activation, pending: BatchNorm.Tape? = nil, _ dy: ConvolutionInput, _ memory: ModelMemory,
        _ compute: Compute
    ) throws {
        guard let gradients = memory.gradients else { return }
        let shape = shape(x)
        let dw = gradients + weight
        try measured(.weightGradient, shape, compute) { method in
            switch method {
            case .pointwise: try PointwiseConvolution.weightGradient(.init(x, pending: pending), dy, dw, shape, compute)
            case .winograd: try WinogradConvolution.weightGradient(.init(x, pending: pending), dy, dw, shape, compute)
            case .im2col:
                let format = compute.format(rows: shape.patch, columns: outChannels, depth: shape.outRows)
                try withPixels(x, pending, for: format, compute) {
                    try Im2colConvolution.weightGradient($0, dy, dw, shape, compute)
                }
            }
        }
    }

    /// The gradient of the layer's input, shaped like `x`: written to `dx`, or added to it. `epilogue` is called for
    /// `gradientParts`, and reads `alongside`, memory laid out like dx.
    func dataGradient(
        _ x: Activation, _ dy: ConvolutionInput, into dx: Activation, accumulate: Bool, _ memory: ModelMemory,
        _ compute: Compute,
        alongside: [StoredValues] = [], epilogue: Epilogue? = nil
    ) throws {
        let shape = shape(x)
        let weights = memory.parameters + weight
        try measured(.dataGradient, shape, compute) { method in
            switch method {
            case .pointwise:
                try PointwiseConvolution.dataGradient(
                    dy, weights, .init(dx), shape, compute, accumulate: accumulate, epilogue: epilogue)
            case .winograd:
                try WinogradConvolution.dataGradient(
                    dy, weights, .init(dx), shape, compute, accumulate: accumulate, alongside: alongside,
                    epilogue: epilogue)
            case .im2col:
                try Im2colConvolution.dataGradient(
                    dy, weights, .init(dx), shape, compute, accumulate: accumulate, epilogue: epilogue)
            }
        }
    }

    /// Both gradients, as of `weightGradient` and `dataGradient`, that of the data only with a `dx`: in one pass over
    /// the pixels where that spares reading large maps twice.
    func gradients(
        _ x: Activation, pending: BatchNorm.Tape? = nil, _ dy: ConvolutionInput, into dx: Activation?,
        accumulate: Bool, _ memory: ModelMemory, _ compute: Compute, alongside: [StoredValues] = [],
        epilogue: Epilogue? = nil
    ) throws {
        let shape = shape(x)
        if let dx, let gradients = memory.gradients, ConvolutionMethod.choose(shape, compute.products) == .pointwise,
            PointwiseConvolution.joinsGradients(shape)
        {
            return try measured(.gradients, shape, compute) { _ in
                try PointwiseConvolution.gradients(
                    .init(x, pending: pending), dy, memory.parameters + weight, addTo: gradients + weight, .init(dx),
                    shape, compute, accumulate: accumulate, alongside: alongside, epilogue: epilogue)
            }
        }
        try weightGradient(x, pending: pending, dy, memory, compute)
        if let dx {
            try dataGradient(
                x, dy, into: dx, accumulate: accumulate, memory, compute, alongside: alongside, epilogue: epilogue)
        }
    }

    /// Lends the pixels of x, normalised in memory of their own when that is pending: rounded where the product with
    /// operands of `format` that reads them would round them.
    private func withPixels(
        _ x: Activation, _ pending: BatchNorm.Tape?, for format: ProductFormat, _ compute: Compute,
        _ body: (StoredValues) throws -> Void
    ) throws {
        guard pending != nil else { return try body(x.stored) }
        let normalised = try compute.workspace.takeActivation(
            like: x, storage: format == .float32 ? .float32 : x.storage)
        defer { compute.workspace.give(normalised) }
        let input = ConvolutionInput(x, pending: pending)
        try ConvolutionOutput(normalised).write(BatchNorm.parts(x), compute) { _, rows, written in
            input.copy(rows, to: written + rows.lowerBound * x.channels, rowStride: x.channels)
        }
        try body(normalised.stored)
    }

    private func measured(
        _ work: Profile.Work, _ shape: ConvolutionShape, _ compute: Compute, _ body: (ConvolutionMethod) throws -> Void
    ) rethrows {
        let method = ConvolutionMethod.choose(shape, compute.products)
        try compute.measured(
            name, work, method: method.rawValue, operations: (work == .gradients ? 2 : 1) * shape.operations,
            values: shape.inRows * inChannels + shape.outRows * outChannels + shape.weightCount
        ) { try body(method) }
    }
}

/// How a convolution is computed.
enum ConvolutionMethod: String {
    /// 1x1, stride 1: one matrix product.
    case pointwise
    /// 3x3, stride 1 or 2, padding 1: fewer multiplications.
    case winograd
    /// Windows gathered tile by tile, then a matrix product. Right for every shape.
    case im2col

    /// False if `CARL_WINOGRAD` is 0 when the first method is chosen: then everything is computed directly, to compare
    /// numbers with.
    static let usesWinograd = getenv("CARL_WINOGRAD").map { String(cString: $0) != "0" } ?? true

    /// - Parameter products: the operands that matrix products may have.
    static func choose(_ shape: ConvolutionShape, _ products: ProductFormat = .float32) -> ConvolutionMethod {
        if shape.kernel == 1 && shape.stride == 1 && shape.padding == 0 { return .pointwise }
        guard usesWinograd && WinogradPlan.pays(shape) else { return .im2col }
        return products != .float32 && BFloat16Rule.beatsWinograd(shape) ? .im2col : .winograd
    }
}
