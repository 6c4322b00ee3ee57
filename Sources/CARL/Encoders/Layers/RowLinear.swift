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

    /// Rows of a part of a forward pass at most.
    private static let mostRows = 96

    /// Parts of a forward pass: whole tiles of the micro-kernel, a number of them that the threads share evenly. No
    /// result depends on how rows are cut.
    static func parts(_ rows: Int, _ compute: Compute, atMost mostRows: Int = mostRows) -> RowParts {
        let parts = (rows + mostRows - 1) / mostRows
        let even = (parts + compute.workers - 1) / compute.workers * compute.workers
        let tile = MicroKernel.rows
        return RowParts(rows, size: ((rows + even - 1) / even + tile - 1) / tile * tile, groups: 1)
    }

    /// y + b for rows `rows`, whose products with the weights lie in y.
    func addBias(_ y: FloatPointer, _ rows: Int, _ memory: ModelMemory) {
        let b = memory.parameters + bias
        for row in 0..<rows {
            let values = y + row * outputs
            var c = 0
            while c < outputs {
                store8(load8(values + c) + load8(b + c), values + c)
                c &+= 8
            }
        }
    }

    /// Lends the weights as the forward product reads them.
    func withWeights<Result>(
        _ memory: ModelMemory, _ compute: Compute, _ body: (PackedGEMM.Right) throws -> Result
    ) throws -> Result {
        try PackedMatrix.with(
            memory.parameters + weight, depth: inputs, columns: outputs, transposed: true, forward: true, compute, body)
    }

    /// Some rows of y = x W^T + b.
    func multiply(
        _ x: UnsafePointer<Float>, _ rows: Int, _ weights: PackedGEMM.Right, into y: FloatPointer,
        _ memory: ModelMemory
    ) {
        PackedGEMM.multiply(
            rows, outputs, inputs, .init(base: x, rowStride: inputs, depthStride: 1), weights, y, outputs,
            accumulate: false)
        addBias(y, rows, memory)
    }

    /// y = x W^T + b.
    ///
    /// - Parameters:
    ///   - x: gives the first of the rows of a part, which it may make in memory for `mostRows` rows.
    ///   - epilogue: called with the rows that are final.
    func forward(
        rows count: Int, into y: FloatPointer, _ memory: ModelMemory, _ compute: Compute,
        x: (_ rows: Range<Int>, _ scratch: FloatPointer) -> UnsafePointer<Float>,
        epilogue: (_ rows: Range<Int>) -> Void = { _ in }
    ) throws {
        let parts = Self.parts(count, compute)
        let scratch = try compute.scratch(parts.size * inputs)
        try measured(.forward, count, compute) {
            try withWeights(memory, compute) { weights in
                compute.parallel(parts.count) { part, worker in
                    let rows = parts[part]
                    multiply(
                        x(rows, scratch[worker]), rows.count, weights, into: y + rows.lowerBound * outputs, memory)
                    epilogue(rows)
                }
            }
        }
    }

    /// dx = dy W, in the parts of `RowSums`. `epilogue` is called with the rows that are final.
    func dataGradient(
        _ dy: UnsafePointer<Float>, rows count: Int, into dx: FloatPointer, _ memory: ModelMemory, _ compute: Compute,
        epilogue: Epilogue = { _, _ in }
    ) throws {
        let parts = RowSums.parts(count)
        try measured(.dataGradient, count, compute) {
            try PackedMatrix.with(
                memory.parameters + weight, depth: outputs, columns: inputs, forward: false, compute
            ) { weights in
                compute.parallel(parts.count) { part, _ in
                    let rows = parts[part]
                    PackedGEMM.multiply(
                        rows.count, inputs, outputs,
                        .init(base: dy + rows.lowerBound * outputs, rowStride: outputs, depthStride: 1), weights,
                        dx + rows.lowerBound * inputs, inputs, accumulate: false)
                    epilogue(part, rows)
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
                to: gradients + weight, outputs, inputs, rows: count, dy: .init(x, channels: inputs), compute
            ) { rows, target, rowStride in
                for (i, row) in rows.enumerated() {
                    (target + i * rowStride).update(from: dy + row * outputs, count: outputs)
                }
            }
            try RowSums(count, values: outputs, compute).add(to: gradients + bias, compute) { rows, sums in
                RowSums.columns(dy + rows.lowerBound * outputs, rows.count, outputs, into: sums)
            }
        }
    }

    private func measured(_ work: Profile.Work, _ rows: Int, _ compute: Compute, _ body: () throws -> Void) rethrows {
        try compute.measured(
            name, work, operations: 2 * Double(rows) * Double(inputs) * Double(outputs),
            values: rows * (inputs + outputs) + inputs * outputs, body)
    }
}
