/// Encoder, projection head and prototypes: the shape of the model, and the operations on any memory of that shape.
public struct Model {
    let layout: ParameterLayout
    let encoder: ResNet
    let head: ProjectionHead
    /// Offset of the prototypes, (K, D).
    let prototypes: Int
    let prototypeCount: Int

    /// - Throws: `CARLError.configuration` when the model would need more memory than can be addressed sensibly.
    init(_ configuration: Configuration) throws {
        var layout = ParameterLayout()
        encoder = ResNet(
            &layout, prefix: "encoder.", configuration.encoder, stem: configuration.stem, width: configuration.width,
            inChannels: configuration.inChannels, zeroInitResidual: configuration.zeroInitResidual)
        head = ProjectionHead(
            &layout, prefix: "projector.", inputs: encoder.features, widths: configuration.projector,
            activation: configuration.projectorActivation)
        prototypeCount = configuration.prototypes
        prototypes = layout.add("prototypes.weight", [configuration.prototypes, head.outputs], .prototypes)
        self.layout = layout
        // Parameters, gradients and moments are four such memories.
        guard layout.parameterCount <= 1 << 32 else {
            throw CARLError.configuration(
                "the model would have \(layout.parameterCount) parameters, more than 2^32: make \"prototypes\", \"projector\" or \"width\" smaller")
        }
    }

    func initialize(_ parameters: FloatPointer, _ statistics: FloatPointer, seed: UInt64) throws {
        try layout.initialize(parameters, statistics, seed: seed)
    }

    /// What evaluation can give for an image.
    public enum Output: Int32, Sendable {
        /// Encoder features, F values.
        case features = 0
        /// The projection head's output, D values.
        case projection = 1
        /// Softmax over all prototypes, K values.
        case probabilities = 2
        /// Similarities to all prototypes divided by the temperature, K values.
        case logits = 3
    }

    func width(_ output: Output) -> Int {
        switch output {
        case .features: encoder.features
        case .projection: head.outputs
        case .probabilities, .logits: prototypeCount
        }
    }

    /// Evaluation of one batch x, written to `out` (B, width(output)).
    func evaluate(
        _ x: Activation, _ output: Output, _ options: AssignmentOptions, _ memory: ModelMemory, into out: FloatPointer, _ compute: Compute
    ) throws {
        let workspace = compute.workspace
        let features = try encoder.evaluate(x, memory, compute)
        defer { workspace.give(features) }
        if output == .features {
            out.update(from: features.base, count: features.count)
            return
        }
        let z = try head.evaluate(features, memory, compute)
        defer { workspace.give(z) }
        if output == .projection {
            out.update(from: z.base, count: z.count)
            return
        }
        try ConsistentAssignment(options, compute).logits(
            z.base, z.rows, memory.parameters + prototypes, prototypeCount, head.outputs, into: out)
        if output == .probabilities {
            let k = prototypeCount
            compute.parallelRanges(z.rows, grain: max(1, (1 << 12) / k)) { _, range in
                for row in range { AssignmentRows.softmax(out + row * k, k) }
            }
        }
    }
}
