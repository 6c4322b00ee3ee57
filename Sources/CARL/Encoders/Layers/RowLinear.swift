/// A linear layer over the rows of a large activation, y (rows, out) = x (rows, in) W^T + b with torch's weight
/// (out, in): the rows are taken in parts, which what comes before can make and what comes after can change while they
/// are in cache. Widths are multiples of 8.
struct RowLinear {
    let name: String
    let inputs: Int
    let outputs: Int
    let weight: Int
    let bias: Int

    init(_ layout: inout ParameterLayout, _ name: String, _ inputs: Int, _ outputs: Int) {
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        weight = layout.add("\(name).weight", [outputs, inputs], .transformerWeight)
        bias = layout.add("\(name).bias", [outputs], .normShift)
    }

    /// Rows of a part of a forward pass at most: many, since each part brings all weights to its core's cache.
    static let mostRows = 104

    /// Parts of a forward pass: whole tiles of the micro-kernel, a number of them that the threads share evenly. No
    /// result depends on how rows are cut.
    static func parts(_ rows: Int, _ compute: Compute, atMost mostRows: Int = mostRows) -> RowParts {
        let parts = (rows + mostRows - 1) / mostRows
        let even = (parts + compute.workers - 1) / compute.workers * compute.workers
        let tile = MicroKernel.rows
        return RowParts(rows, size: ((rows + even - 1) / even + tile - 1) / tile * tile, groups: 1)
    }

    /// Lends the weights as the forward product of so many rows reads them.
    func withWeights<Result>(
        rows: Int, _ memory: ModelMemory, _ compute: Compute, _ body: (PackedGEMM.Right) throws -> Result
    ) throws -> Result {
        try PackedMatrix.with(
            memory.parameters + weight, rows: rows, depth: inputs, columns: outputs, transposed: true, forward: true,
            compute, body)
    }

    /// Outputs done at a time, so that they are still in cache for what follows: whole panels.
    static let outputsAtATime = 192

    /// Some rows of y = x W^T + b.
    func multiply(
        _ x: UnsafePointer<Float>, _ rows: Int, _ weights: PackedGEMM.Right, into y: FloatPointer,
        _ memory: ModelMemory
    ) {
        forOutputs { multiply(x, rows, weights, $0, into: y + $0.lowerBound, stride: outputs, memory) }
    }

    /// Calls `body` with ranges of outputs, one after the other.
    func forOutputs(_ body: (_ columns: Range<Int>) -> Void) {
        for first in stride(from: 0, to: outputs, by: Self.outputsAtATime) {
            body(first..<min(outputs, first + Self.outputsAtATime))
        }
    }

    /// Some outputs, a range of `forOutputs`, of some rows, y with `stride` from one row to the next.
    func multiply(
        _ x: UnsafePointer<Float>, _ rows: Int, _ weights: PackedGEMM.Right, _ columns: Range<Int>,
        into y: FloatPointer, stride: Int, _ memory: ModelMemory
    ) {
        PackedGEMM.multiply(
            rows, columns.count, inputs, .init(base: x, rowStride: inputs, depthStride: 1),
            weights.from(column: columns.lowerBound), y, stride, accumulate: false,
            bias: memory.parameters + bias + columns.lowerBound)
    }

    /// The share of some inputs, x (rows, inputs.count), in some rows of x W^T + b: those of the first inputs are
    /// written with the bias, further ones added.
    func multiply(
        _ x: UnsafePointer<Float>, _ rows: Int, _ weights: PackedGEMM.Right, inputs: Range<Int>, into y: FloatPointer,
        _ memory: ModelMemory
    ) {
        PackedGEMM.multiply(
            rows, outputs, inputs.count, .init(base: x, rowStride: inputs.count, depthStride: 1),
            weights.from(depth: inputs.lowerBound), y, outputs, accumulate: inputs.lowerBound > 0,
            bias: memory.parameters + bias)
    }

    /// y = x W^T + b.
    ///
    /// - Parameters:
    ///   - x: gives the first of the rows of a part, which it may make in memory for `mostRows` rows.
    func forward(
        rows count: Int, into y: FloatPointer, _ memory: ModelMemory, _ compute: Compute,
        x: (_ rows: Range<Int>, _ scratch: FloatPointer) -> UnsafePointer<Float>
    ) throws {
        let parts = Self.parts(count, compute)
        let scratch = try compute.scratch(parts.size * inputs)
        try measured(.forward, count, compute) {
            try withWeights(rows: count, memory, compute) { weights in
                compute.parallel(parts.count) { part, worker in
                    let rows = parts[part]
                    multiply(
                        x(rows, scratch[worker]), rows.count, weights, into: y + rows.lowerBound * outputs, memory)
                }
            }
        }
    }

    /// dx = dy W.
    func dataGradient(
        _ dy: UnsafePointer<Float>, rows count: Int, into dx: FloatPointer, _ memory: ModelMemory, _ compute: Compute
    ) throws {
        let parts = Self.parts(count, compute)
        try measured(.dataGradient, count, compute) {
            try withTransposedWeights(rows: count, memory, compute) { weights in
                compute.parallel(parts.count) { part, _ in
                    let rows = parts[part]
                    PackedGEMM.multiply(
                        rows.count, inputs, outputs,
                        .init(base: dy + rows.lowerBound * outputs, rowStride: outputs, depthStride: 1), weights,
                        dx + rows.lowerBound * inputs, inputs, accumulate: false)
                }
            }
        }
    }

    /// Adds the gradients of weight and bias.
    func weightGradient(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows count: Int, _ memory: ModelMemory,
        _ compute: Compute
    ) throws {
        guard let gradients = memory.gradients else { return }
        try measured(.weightGradient, count, compute) {
            try RowProductSum.add(
                to: gradients + weight, outputs, inputs, rows: count, dy: .init(x, channels: inputs),
                columnSums: gradients + bias, compute
            ) { rows, _ in dy + rows.lowerBound * outputs }
        }
    }

    /// Lends the weights as the data gradient's product of so many rows reads them.
    func withTransposedWeights<Result>(
        rows: Int, _ memory: ModelMemory, _ compute: Compute, _ body: (PackedGEMM.Right) throws -> Result
    ) throws -> Result {
        try PackedMatrix.with(
            memory.parameters + weight, rows: rows, depth: outputs, columns: inputs, forward: false, compute, body)
    }

    private func measured(_ work: Profile.Work, _ rows: Int, _ compute: Compute, _ body: () throws -> Void) rethrows {
        try compute.measured(
            name, work, operations: 2 * Double(rows) * Double(inputs) * Double(outputs),
            values: rows * (inputs + outputs) + inputs * outputs, body)
    }
}
