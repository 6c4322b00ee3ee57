/// A random partition of the prototypes into blocks of equal size (CARP, arXiv 2310.12692). The prototypes that are
/// left over, K mod block of them, sit out the step.
///
/// The permutation is drawn from counters: it depends on (seed, step, K) alone, and so is the same in every process.
public struct RandomPartition {
    /// Indices of prototypes; block b is those at b * blockSize ..< (b + 1) * blockSize.
    let order: HeapArray<Int32>
    let blockSize: Int
    let blocks: Int

    /// - Parameters:
    ///   - count: K, 1 ... 2^31 - 1.
    ///   - blockSize: 1 ... K.
    /// - Throws: `CARLError.invalidArgument` for counts out of range, `CARLError.outOfMemory`.
    public init(count: Int, blockSize: Int, seed: UInt64, step: Int = 0) throws {
        guard count >= 1, count <= Int(Int32.max) else {
            throw CARLError.invalidArgument("count: got \(count), want 1 to \(Int32.max)")
        }
        guard blockSize >= 1, blockSize <= count else {
            throw CARLError.invalidArgument("blockSize: got \(blockSize), want 1 to \(count)")
        }
        var random = RandomStream(seed: seed, purpose: .partition, minor: UInt64(bitPattern: Int64(step)))
        order = try HeapArray(count, repeating: 0, for: "an order of \(count) prototypes")
        for i in 0..<count { order[i] = Int32(truncatingIfNeeded: i) }
        try order.withValues { try random.shuffle($0) }
        self.blockSize = blockSize
        blocks = count / blockSize
    }
}
