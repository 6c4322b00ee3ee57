/// The perceptron of a transformer block, of D values to 4 D hidden ones, GELU, and back to D. Hidden values are made
/// and used some columns at a time, while they are in cache.
struct TransformerPerceptron {
    let expansion: RowLinear
    let contraction: RowLinear

    init(_ layout: inout ParameterLayout, _ name: String, _ width: Int) {
        expansion = RowLinear(&layout, "\(name).fc1", width, 4 * width)
        contraction = RowLinear(&layout, "\(name).fc2", 4 * width, width)
    }

    /// Hidden values of a row that `forward` has in memory at a time.
    static let scratchWidth = RowLinear.outputsAtATime

    /// Multiplications and additions of a forward pass of some rows.
    func operations(_ rows: Int) -> Double { 4 * Double(rows) * Double(expansion.inputs) * Double(expansion.outputs) }

    /// y (rows, D) from x (rows, D), for some rows.
    ///
    /// - Parameters:
    ///   - hidden: where the values before GELU are kept, (rows, 4 D), if they are.
    ///   - scratch: `scratchWidth` values for each row.
    func forward(
        _ x: UnsafePointer<Float>, _ rows: Int, _ expansionWeights: PackedGEMM.Right,
        _ contractionWeights: PackedGEMM.Right, hidden: FloatPointer?, scratch: FloatPointer, into y: FloatPointer,
        _ memory: ModelMemory
    ) {
        expansion.forOutputs { columns in
            let count = columns.count
            let stride = hidden == nil ? count : expansion.outputs
            let target = hidden.map { $0 + columns.lowerBound } ?? scratch
            expansion.multiply(x, rows, expansionWeights, columns, into: target, stride: stride, memory)
            for row in 0..<rows { GaussianError.gelu(target + row * stride, into: scratch + row * count, count) }
            contraction.multiply(scratch, rows, contractionWeights, inputs: columns, into: y, memory)
        }
    }

    /// From dy, the gradient of y, that of x and those of the hidden values before GELU, and the values behind it, for
    /// the layers' weight gradients. Weights are those of `withTransposedWeights`.
    func backward(
        _ dy: UnsafePointer<Float>, _ rows: Int, _ expansionWeights: PackedGEMM.Right,
        _ contractionWeights: PackedGEMM.Right, hidden: UnsafePointer<Float>, activated: FloatPointer,
        dHidden: FloatPointer, dx: FloatPointer
    ) {
        let (width, stride) = (expansion.inputs, expansion.outputs)
        expansion.forOutputs { columns in
            let first = columns.lowerBound
            PackedGEMM.multiply(
                rows, columns.count, width, .init(base: dy, rowStride: width, depthStride: 1),
                contractionWeights.from(column: first), dHidden + first, stride, accumulate: false)
            for row in 0..<rows {
                let at = row * stride + first
                GaussianError.backward(hidden + at, value: activated + at, gradient: dHidden + at, columns.count)
            }
            PackedGEMM.multiply(
                rows, width, columns.count, .init(base: dHidden + first, rowStride: stride, depthStride: 1),
                expansionWeights.from(depth: first), dx, width, accumulate: first > 0)
        }
    }
}
