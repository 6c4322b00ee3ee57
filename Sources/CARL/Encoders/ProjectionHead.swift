/// A multilayer perceptron from features (B, F) to the embedding z (B, D): linear layers, BatchNorm and an activation
/// between, nothing after the last. State names count modules as a torch Sequential of Linear, BatchNorm1d, activation,
/// ..., Linear does.
struct ProjectionHead {
    let linears: [Linear]
    let norms: [BatchNorm]
    let activation: ActivationFunction
    /// D.
    let outputs: Int

    /// - Parameter widths: outputs of the linear layers in order, at least one; the last is D.
    init(_ layout: inout ParameterLayout, prefix: String, inputs: Int, widths: [Int], activation: ActivationFunction) {
        var linears: [Linear] = []
        var norms: [BatchNorm] = []
        var width = inputs
        for (i, next) in widths.enumerated() {
            linears.append(Linear(&layout, "\(prefix)\(3 * i)", width, next))
            if i < widths.count - 1 { norms.append(BatchNorm(&layout, "\(prefix)\(3 * i + 1)", next)) }
            width = next
        }
        self.linears = linears
        self.norms = norms
        self.activation = activation
        outputs = width
    }

    /// What a forward pass leaves for backward, per hidden layer: the linear result, the normalised one, and that after
    /// the activation.
    struct Tape {
        let x: Activation
        let hidden: [(linear: Activation, norm: BatchNorm.Tape, normalised: Activation?, result: Activation)]

        func release(_ workspace: Workspace) {
            for layer in hidden {
                workspace.give(layer.linear)
                workspace.give(layer.norm.memory)
                if let normalised = layer.normalised { workspace.give(normalised) }
                workspace.give(layer.result)
            }
            workspace.give(x)
        }
    }

    /// Training mode. Takes over x.
    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> (z: Activation, tape: Tape) {
        let workspace = compute.workspace
        var hidden: [(linear: Activation, norm: BatchNorm.Tape, normalised: Activation?, result: Activation)] = []
        var input = x
        for (i, norm) in norms.enumerated() {
            let linear = try linears[i].forward(input, memory, compute)
            let parts = BatchNorm.parts(linear)
            let moments = try norm.takeMoments(parts.numbers, compute)
            compute.parallel(parts.count) { part, _ in moments.add(part, parts[part], linear.base) }
            let tape = try norm.finish(moments, memory, compute)
            let result = try workspace.takeActivation(like: linear)
            if activation == .relu {
                try norm.apply(linear, tape, relu: true, into: result, compute)
                hidden.append((linear, tape, nil, result))
            } else {
                let normalised = try workspace.takeActivation(like: linear)
                try norm.apply(linear, tape, relu: false, into: normalised, compute)
                activation.forward(normalised, into: result, compute)
                hidden.append((linear, tape, normalised, result))
            }
            input = result
        }
        let z = try linears[linears.count - 1].forward(input, memory, compute)
        return (z, Tape(x: x, hidden: hidden))
    }

    /// Evaluation mode. x stays the caller's.
    func evaluate(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let workspace = compute.workspace
        var input = x
        for (i, norm) in norms.enumerated() {
            let linear = try linears[i].forward(input, memory, compute)
            if i > 0 { workspace.give(input) }
            try norm.withEvaluationFactors(memory, compute) { scale, shift in
                ColumnKernels.affine(
                    linear.stored, linear.rows, norm.channels, scale, shift, skip: nil, skipScale: nil, skipShift: nil,
                    relu: activation == .relu, linear.base)
            }
            if activation != .relu { activation.forward(linear, into: linear, compute) }
            input = linear
        }
        let z = try linears[linears.count - 1].forward(input, memory, compute)
        if !norms.isEmpty { workspace.give(input) }
        return z
    }

    /// From the gradient of z to that of the features, which is returned. Consumes `gradient` and the tape.
    func backward(_ gradient: Activation, _ tape: Tape, _ memory: ModelMemory, _ compute: Compute) throws -> Activation
    {
        let workspace = compute.workspace
        var flowing = gradient
        for i in (0..<linears.count).reversed() {
            let input = i > 0 ? tape.hidden[i - 1].result : tape.x
            let below = try linears[i].backward(input, flowing, memory, compute)
            workspace.give(flowing)
            flowing = below
            if i > 0 {
                let layer = tape.hidden[i - 1]
                if let normalised = layer.normalised { activation.backward(normalised, flowing, compute) }
                try norms[i - 1].backward(
                    flowing, layer.normalised == nil ? .relu : .nothing, layer.linear, layer.norm, into: flowing,
                    memory, compute)
            }
        }
        tape.release(workspace)
        return flowing
    }
}
