/// Encoder, projection head and objective: the shape of the model, and the operations on any memory of that shape.
public struct Model {
    let layout: ParameterLayout
    let encoder: any Encoder
    let head: ProjectionHead
    let objective: any Objective

    /// - Parameters:
    ///   - configuration: resolved.
    ///   - objective: makes another objective than the configuration's, for embeddings of a width.
    /// - Throws: `CARLError.configuration` when the model would need more memory than can be addressed sensibly.
    init(
        _ configuration: Configuration,
        objective: ((inout ParameterLayout, _ dimension: Int) -> any Objective)? = nil
    ) throws {
        var layout = ParameterLayout()
        encoder = configuration.encoder.make(&layout, prefix: "encoder.", configuration.encoderOptions)
        layout.group = .head
        head = ProjectionHead(
            &layout, prefix: "projector.", inputs: encoder.features, widths: configuration.projector,
            activation: configuration.projectorActivation)
        self.objective =
            objective?(&layout, head.outputs)
            ?? configuration.objective.make(&layout, configuration, dimension: head.outputs)
        self.layout = layout
        if self.objective.usesMaps && configuration.recompute {
            throw CARLError.configuration("\"recompute\" must be false: the objective needs the views' feature maps")
        }
        // Parameters, gradients and moments are four such memories.
        guard layout.parameterCount <= 1 << 32 else {
            throw CARLError.configuration(
                """
                the model would have \(layout.parameterCount) parameters, more than 2^32: make \"prototypes\", \
                \"projector\" or \"width\" smaller
                """)
        }
    }

    func width(_ output: ModelOutput) throws -> Int {
        switch output {
        case .features: encoder.features
        case .projection: head.outputs
        case .probabilities, .logits: try objective.width(output)
        }
    }

    /// Evaluation of one batch x, written to `out` (B, width(output)).
    func evaluate(
        _ x: Activation, _ output: ModelOutput, _ memory: ModelMemory, into out: FloatPointer, _ compute: Compute
    ) throws {
        let workspace = compute.workspace
        let features = try encoder.evaluate(x, memory, compute)
        defer { workspace.give(features) }
        if output == .features { return out.update(from: features.base, count: features.count) }
        let z = try head.evaluate(features, memory, compute)
        defer { workspace.give(z) }
        if output == .projection { return out.update(from: z.base, count: z.count) }
        try objective.evaluate(z, output, memory, into: out, compute)
    }
}

extension Configuration {
    var encoderOptions: EncoderOptions {
        EncoderOptions(
            stem: stem, width: width, inChannels: inChannels, zeroInitResidual: zeroInitResidual, patchSize: patchSize,
            registers: registers, layerScale: layerScale, pool: pool, positionGrid: positionGrid, dropPath: dropPath)
    }
}

/// A model with values: what evaluation needs, and what another network can take its encoder from.
public struct TrainedModel {
    /// Resolved.
    public let configuration: Configuration
    let model: Model
    let parameters: FloatBuffer
    let statistics: FloatBuffer

    var memory: ModelMemory { ModelMemory(parameters: parameters.base, statistics: statistics.base, gradients: nil) }
}
