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
        compute.parallelRanges((columns + width - 1) / width, grain: max(1, (1 << 13) / (depth * width + 1))) {
            _, panels in
            for panel in panels {
                let first = panel &* width
                let count = min(width, columns &- first)
                let target = values + first &* depth
                if count < width { target.update(repeating: 0, count: depth &* width) }
                if transposed {
                    Self.transpose(source + first &* depth, rows: count, columns: depth, to: target)
                } else {
                    for k in 0..<depth {
                        (target + k &* width).update(from: source + (k &* columns &+ first), count: count)
                    }
                }
            }
        }
    }

    /// (rows, columns) to columns of `width` values each. Some columns at a time, whose lines stay in cache while the
    /// rows pass by.
    private static func transpose(_ source: UnsafePointer<Float>, rows: Int, columns: Int, to target: FloatPointer) {
        for start in stride(from: 0, to: columns, by: 32) {
            let end = min(columns, start &+ 32)
            for row in 0..<rows {
                let from = source + row &* columns
                let to = target + row
                var k = start
                while k < end {
                    to[k &* width] = from[k]
                    k &+= 1
                }
            }
        }
    }
}
