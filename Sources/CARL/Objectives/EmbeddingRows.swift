/// Embeddings or prototypes of several matrices as the logits see them, one after the other: normalised, or as they are.
struct EmbeddingRows {
    let values: FloatBuffer
    /// 1 / norm of each row, nil when not normalised.
    let inverses: FloatBuffer?
    let count: Int

    /// - Parameter sources: matrices (countEach, dimension).
    init(_ sources: [UnsafePointer<Float>], _ countEach: Int, _ dimension: Int, normalize: Bool, _ compute: Compute) throws {
        count = sources.count * countEach
        values = try compute.workspace.take(CheckedSize.product(count, dimension, of: "embeddings or prototypes"))
        inverses = normalize ? try compute.workspace.take(count) : nil
        for (i, source) in sources.enumerated() {
            let target = values.base + i * countEach * dimension
            if let inverses {
                UnitLength.forward(
                    source, countEach, dimension, into: target, inverses: inverses.base + i * countEach, compute)
            } else {
                target.update(from: source, count: countEach * dimension)
            }
        }
    }

    func release(_ workspace: Workspace) {
        workspace.give(values)
        if let inverses { workspace.give(inverses) }
    }

    /// Multiplies all values, of `dimension` a row. Gradients through rows that were normalised are wrong afterwards.
    func scale(by factor: Float, _ dimension: Int) {
        for i in 0..<count * dimension { values.base[i] *= factor }
    }

    /// Mean over dimensions of the standard deviation over rows of the unit-length rows.
    func deviation(_ d: Int) throws -> Double {
        let sums = try HeapArray(d, repeating: (value: 0.0, square: 0.0), for: "sums of \(d) dimensions")
        for row in 0..<count {
            let z = values.base + row * d
            let norm = inverses == nil ? UnitLength.length(z, d) : 1
            for i in 0..<d {
                let value = Double(z[i]) / norm
                sums[i].value += value
                sums[i].square += value * value
            }
        }
        let n = Double(count)
        return sums.withValues {
            $0.reduce(0.0) { $0 + max(0, $1.square / n - ($1.value / n) * ($1.value / n)).squareRoot() }
        } / Double(d)
    }
}
