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

    /// First values: convolutions He normal by fan-out, linear layers uniform in +-1/sqrt(fan-in), BatchNorm 1 and 0 (torchvision's and torch's choice);
    /// prototypes normal with standard deviation 1/sqrt(D), so of about unit length.
    func initialize(_ parameters: FloatPointer, _ statistics: FloatPointer, seed: UInt64) {
        for (i, slot) in layout.parameters.enumerated() {
            let values = parameters + slot.offset
            var random = RandomStream(seed: seed, purpose: .initialWeights, minor: UInt64(i))
            switch slot.kind {
            case .convolutionWeight:
                let fanOut = slot.shape[0] * slot.shape[2] * slot.shape[3]
                let deviation = Float((2 / Double(fanOut)).squareRoot())
                for j in 0..<slot.count { values[j] = random.normal() * deviation }
            case .linearWeight, .bias:
                // A bias follows its weight in the layout and shares the weight's fan-in.
                let fanIn = slot.kind == .bias ? layout.parameters[i - 1].shape[1] : slot.shape[1]
                let bound = Float(1 / Double(fanIn).squareRoot())
                for j in 0..<slot.count { values[j] = random.uniform(-bound, bound) }
            case .normScale: values.update(repeating: slot.initialScale, count: slot.count)
            case .normShift: values.update(repeating: 0, count: slot.count)
            case .prototypes:
                let deviation = Float(1 / Double(slot.shape[1]).squareRoot())
                for j in 0..<slot.count { values[j] = random.normal() * deviation }
            }
        }
        for slot in layout.statistics { (statistics + slot.offset).update(repeating: slot.initial, count: slot.count) }
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
