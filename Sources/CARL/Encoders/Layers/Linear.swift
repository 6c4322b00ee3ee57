/// y (rows, out) = x (rows, in) W^T + b, with torch's weight (out, in).
struct Linear {
    let name: String
    let inputs: Int
    let outputs: Int
    let weight: Int
    let bias: Int

    init(_ layout: inout ParameterLayout, _ name: String, _ inputs: Int, _ outputs: Int) {
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        weight = layout.add("\(name).weight", [outputs, inputs], .linearWeight)
        bias = layout.add("\(name).bias", [outputs], .bias)
    }

    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let y = try compute.workspace.takeActivation(x.rows, 1, 1, outputs, groups: x.groups)
        let b = memory.parameters + bias
        measured(.forward, x.rows, compute) {
            for row in 0..<x.rows { (y.base + row * outputs).update(from: b, count: outputs) }
            compute.multiply(
                x.rows, outputs, inputs, x.base, inputs, memory.parameters + weight, inputs, transposeB: true, y.base,
                outputs,
                accumulate: true, format: compute.format(rows: x.rows, columns: outputs, depth: inputs))
        }
        return y
    }

    /// Adds the gradients of weight and bias, and returns the gradient of x.
    func backward(_ x: Activation, _ dy: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        if let gradients = memory.gradients {
            measured(.weightGradient, x.rows, compute) {
                compute.multiply(
                    outputs, inputs, x.rows, dy.base, outputs, transposeA: true, x.base, inputs, gradients + weight,
                    inputs,
                    accumulate: true, format: compute.format(rows: outputs, columns: inputs, depth: x.rows))
                ColumnKernels.sums(dy.base, dy.rows, outputs, into: gradients + bias)
            }
        }
        let dx = try compute.workspace.takeActivation(x.rows, 1, 1, inputs, groups: x.groups)
        measured(.dataGradient, x.rows, compute) {
            compute.multiply(
                x.rows, inputs, outputs, dy.base, outputs, memory.parameters + weight, inputs, dx.base, inputs,
                format: compute.format(rows: x.rows, columns: inputs, depth: outputs))
        }
        return dx
    }

    private func measured(_ work: Profile.Work, _ rows: Int, _ compute: Compute, _ body: () -> Void) {
        compute.measured(
            name, work, operations: 2 * Double(rows) * Double(inputs) * Double(outputs),
            values: rows * (inputs + outputs) + inputs * outputs, body)
    }
}
