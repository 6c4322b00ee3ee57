/// A matrix of `depth` rows and `columns` columns packed into panels as `PackedGEMM` reads them: once for the products
/// of many parts.
///
/// Value (k, n) is at `(n / width * depth + k) * width + n % width`; columns behind the last one are 0. Of bfloat16
/// values, words of two neighbours along the depth are in the places of values, an odd last one with 0.
struct PackedMatrix {
    let depth: Int
    let columns: Int
    let values: FloatPointer
    var format = ProductFormat.float32

    private static let width = PackedGEMM.width

    /// Values of memory.
    static func count(_ depth: Int, _ columns: Int, _ format: ProductFormat = .float32) -> Int {
        (columns + width - 1) / width * format.words(depth) * width
    }

    var right: PackedGEMM.Right {
        let words = format.words(depth)
        return .init(
            base: values, panelStride: words * Self.width, depthStride: Self.width,
            isFar: words * columns >= PackedGEMM.farCount, format: format)
    }

    /// Calls `body` with the panels of a layer's weights, in memory of the workspace or, for weights that stay,
    /// prepacked once.
    ///
    /// - Parameters:
    ///   - weights: (depth, columns), or with `transposed` (columns, depth).
    ///   - rows: of the products together, which with the weights' shape decides what operands are rounded to.
    ///   - forward: it is the form that the layer's forward product takes.
    ///   - arranged: writes the weights in another order, that of the product's depth.
    static func with<Result>(
        _ weights: UnsafePointer<Float>, rows: Int, depth: Int, columns: Int, transposed: Bool = false, forward: Bool,
        _ compute: Compute, arranged: ((_ weights: UnsafePointer<Float>, _ target: FloatPointer) -> Void)? = nil,
        _ body: (PackedGEMM.Right) throws -> Result
    ) throws -> Result {
        let format = compute.format(rows: rows, columns: columns, depth: depth)
        // Of what is kept it is not known whether it is transposed: only the forward product's form is.
        let memory = try compute.takeDerived(
            weights, Self.count(depth, columns, format), format, isArranged: arranged != nil, keeps: forward)
        defer { compute.give(memory) }
        let matrix = PackedMatrix(depth: depth, columns: columns, values: memory.base, format: format)
        if !memory.isReady, let arranged {
            let source = try compute.workspace.takePassing(depth * columns)
            defer { compute.workspace.givePassing(source) }
            arranged(weights, source.base)
            matrix.fill(source.base, transposed: transposed, compute)
        } else if !memory.isReady {
            matrix.fill(weights, transposed: transposed, compute)
        }
        return try body(matrix.right)
    }

    func fill(_ source: UnsafePointer<Float>, transposed: Bool, _ compute: Compute) {
        if format != .float32 { return fillPairs(source, transposed: transposed, compute) }
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

    private func fillPairs(_ source: UnsafePointer<Float>, transposed: Bool, _ compute: Compute) {
        let width = Self.width
        let words = format.words(depth)
        compute.parallelRanges((columns + width - 1) / width, grain: max(1, (1 << 13) / (depth * width + 1))) {
            _, panels in
            for panel in panels {
                let first = panel &* width
                let count = min(width, columns &- first)
                let target = values + first &* words
                if count < width { target.update(repeating: 0, count: words &* width) }
                if transposed {
                    Self.transposePairs(source + first &* depth, rows: count, columns: depth, to: target)
                } else {
                    for word in 0..<words {
                        let low = source + (2 &* word &* columns &+ first)
                        BFloat16.pair(
                            low, 2 &* word &+ 1 < depth ? low + columns : nil, count, to: target + word &* width)
                    }
                }
            }
        }
    }

    /// Rows of weights to columns of words: eight rows at a time, of each some values.
    private static func transposePairs(
        _ source: UnsafePointer<Float>, rows: Int, columns: Int, to target: FloatPointer
    ) {
        let (most, together) = (64, 8)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: together * most / 2) { memory in
            let words = memory.baseAddress!
            for start in stride(from: 0, to: columns, by: most) {
                let count = min(most, columns &- start)
                for first in stride(from: 0, to: rows, by: together) {
                    let taken = min(together, rows &- first)
                    for row in 0..<taken {
                        BFloat16.pair(
                            source + ((first &+ row) &* columns &+ start), count, to: words + row &* (most / 2))
                    }
                    MatrixProduct.transpose(
                        words, most / 2, taken, (count &+ 1) / 2, to: target + (start / 2 &* width &+ first))
                }
            }
        }
    }
}
