/// Contrast between the images of a step: an embedding is to be nearer to the other views of its image than to all else in the batch
/// (NT-Xent; Chen et al., SimCLR, arXiv 2002.05709, equation 1; for V views the mean over the other V - 1).
///
/// With unit-length rows u and temperature t, s_ij = u_i . u_j / t, the loss is the mean over the N = V B rows of
/// log sum_{j != i} exp(s_ij) - mean_{j in views of the same image} s_ij.
///
/// - Complexity: O(N^2 D) time, O(N (D + rows at a time)) memory.
struct InstanceContrast {
    let temperature: Double
    let compute: Compute
    /// Rows whose similarities to all others are held at a time.
    static let rows = 256

    /// The loss. Its gradient, times `weight`, is added to `gradients` where there are any.
    ///
    /// - Parameters:
    ///   - embeddings: V pointers to (B, D), of any length.
    ///   - gradients: V pointers to (B, D), or none.
    func evaluate(
        _ embeddings: [UnsafePointer<Float>], batch: Int, dimension d: Int, weight: Double, gradients: [FloatPointer]
    ) throws -> Double {
        let workspace = compute.workspace
        let views = embeddings.count
        let unit = try EmbeddingRows(embeddings, batch, d, normalize: true, compute)
        defer { unit.release(workspace) }
        let n = unit.count
        let stride = AssignmentRows.stride(n)
        let atATime = min(Self.rows, n)
        let similarities = try workspace.take(CheckedSize.product(atATime, stride, of: "similarities between embeddings"))
        let losses = try workspace.take(n)
        let flowing = gradients.isEmpty ? nil : try workspace.take(n * d)
        defer {
            workspace.give(similarities)
            workspace.give(losses)
            if let flowing { workspace.give(flowing) }
        }
        flowing?.fill(0)
        let z = unit.values.base
        let inverseTemperature = Float(1 / temperature)
        // The gradient of a similarity reaches both of its rows.
        let share = Float(weight / Double(n))
        let positiveShare = share / Float(max(views - 1, 1))
        for first in Swift.stride(from: 0, to: n, by: atATime) {
            let count = min(atATime, n - first)
            let s = similarities.base
            compute.multiply(count, n, d, z + first * d, d, z, d, transposeB: true, s, stride, alpha: inverseTemperature)
            compute.parallelRanges(count, grain: max(1, (1 << 13) / stride)) { _, range in
                for place in range {
                    let row = first + place
                    let own = s + place * stride
                    (own + n).update(repeating: -.infinity, count: stride - n)
                    own[row] = -.infinity
                    var positives = 0.0
                    var other = row % batch
                    while other < n {
                        if other != row { positives += Double(own[other]) }
                        other += batch
                    }
                    let top = AssignmentRows.maximum(own, stride)
                    let sum = AssignmentRows.exponentials(own, stride, less: top, into: own)
                    losses.base[row] = Float(Double(top) + logarithm(Double(sum)) - positives / Double(max(views - 1, 1)))
                    if flowing == nil { continue }
                    AssignmentRows.scale(own, stride, by: share / sum)
                    other = row % batch
                    while other < n {
                        if other != row { own[other] -= positiveShare }
                        other += batch
                    }
                }
            }
            if let flowing {
                compute.multiply(count, d, n, s, stride, z, d, flowing.base + first * d, d, alpha: inverseTemperature, accumulate: true)
                compute.multiply(
                    n, d, count, s, stride, transposeA: true, z + first * d, d, flowing.base, d, alpha: inverseTemperature, accumulate: true)
            }
        }
        if let flowing, let inverses = unit.inverses {
            UnitLength.backward(z, inverses.base, n, d, flowing.base, compute)
            for (view, target) in gradients.enumerated() {
                let own = flowing.base + view * batch * d
                for i in 0..<batch * d { target[i] += own[i] }
            }
        }
        var sum = 0.0
        for row in 0..<n { sum += Double(losses.base[row]) }
        return sum / Double(n)
    }
}
