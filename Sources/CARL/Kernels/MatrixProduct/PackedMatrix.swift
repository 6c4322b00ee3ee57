/// A matrix of `depth` rows and `columns` columns packed into panels as `PackedGEMM` reads them: once for the products
/// of many parts.
///
/// Value (k, n) is at `(n / width * depth + k) * width + n % width`; columns behind the last one are 0.
struct PackedMatrix {
    let depth: Int
    let columns: Int
    let values: FloatPointer

    private static let width = PackedGEMM.width

    /// Values of memory.
    static func count(_ depth: Int, _ columns: Int) -> Int { (columns + width - 1) / width * depth * width }

    var right: PackedGEMM.Right {
        .init(
            base: values, panelStride: depth * Self.width, depthStride: Self.width,
            isFar: depth * columns >= PackedGEMM.farCount)
    }

    /// Calls `body` with the panels of a layer's weights, in memory of the workspace or, for weights that stay,
    /// prepacked once.
    ///
    /// - Parameters:
    ///   - weights: (depth, columns), or with `transposed` (columns, depth).
    ///   - forward: it is the form that the layer's forward product takes.
    static func with<Result>(
        _ weights: UnsafePointer<Float>, depth: Int, columns: Int, transposed: Bool = false, forward: Bool,
        _ compute: Compute,
        _ body: (PackedGEMM.Right) throws -> Result
    ) throws -> Result {
        // What is kept is known by the weights' address alone: only the forward product's form is.
        let kept = forward ? compute.prepackedFilters : nil
        let (memory, ready) =
            try kept?.memory(weights, count(depth, columns))
            ?? (compute.workspace.take(count(depth, columns)), false)
        defer { if kept == nil { compute.workspace.give(memory) } }
        let matrix = PackedMatrix(depth: depth, columns: columns, values: memory.base)
        if !ready { matrix.fill(weights, transposed: transposed, compute) }
        return try withExtendedLifetime(memory) { try body(matrix.right) }
    }

    private func fill(_ source: UnsafePointer<Float>, transposed: Bool, _ compute: Compute) {
        let width = Self.width
        let operand = MatrixProduct.Operand(source, transposed ? depth : columns, transposed: transposed)
        compute.parallelRanges((columns + width - 1) / width, grain: max(1, (1 << 13) / (depth * width + 1))) {
            _, panels in
            let first = panels.lowerBound * width
            MatrixProduct.pack(
                operand, 0, depth, first, min(columns, panels.upperBound * width) - first, 1,
                to: values + first * depth)
        }
    }
}
