/// Softmaxes that are each computed in one piece: the blocks of a partition, or all prototypes at once when they are
/// few.
///
/// Blocks are shared among the threads, each with one tile of memory; the threads' gradients of embeddings are added in
/// order at the end. Where there are fewer blocks than threads, the rows of each block are shared instead.
struct PartitionedAssignment {
    let problem: AssignmentProblem
    let compute: Compute

    init(_ problem: AssignmentProblem, _ compute: Compute) {
        self.problem = problem
        self.compute = compute
    }

    func evaluateWhole(embeddings: FloatPointer?) throws -> AssignmentTotals {
        let tile = try AssignmentTile(problem, capacity: problem.inputs.prototypeCount, compute.workspace)
        defer { tile.release(compute.workspace) }
        return evaluate(PrototypeIndices(first: 0, count: problem.inputs.prototypeCount), tile, embeddings, compute)
    }

    func evaluate(_ partition: RandomPartition, embeddings: FloatPointer?) throws -> AssignmentTotals {
        try withExtendedLifetime(partition) {
            func indices(_ block: Int) -> PrototypeIndices {
                PrototypeIndices(
                    first: block * partition.blockSize, count: partition.blockSize, order: partition.order.base)
            }
            let shared = partition.blocks >= compute.threads
            let workers = shared ? compute.threads : 1
            let tiles = try (0..<workers).map { _ in
                try AssignmentTile(problem, capacity: partition.blockSize, compute.workspace)
            }
            defer { for tile in tiles { tile.release(compute.workspace) } }
            let totals = try HeapArray(partition.blocks, repeating: AssignmentTotals(), for: "the terms of each block")
            if shared {
                let alone = try compute.alone(workers)
                try withEmbeddingGradients(embeddings, problem, over: partition.blocks, compute) {
                    gradients, worker, range in
                    for block in range where !Cancellation.isRequested {
                        totals[block] = evaluate(indices(block), tiles[worker], gradients, alone[worker])
                    }
                }
            } else {
                for block in 0..<partition.blocks {
                    try Cancellation.check()
                    totals[block] = evaluate(indices(block), tiles[0], embeddings, compute)
                }
            }
            return totals.withValues { $0.reduce(into: AssignmentTotals()) { $0 += $1 } }
        }
    }

    private func evaluate(
        _ indices: PrototypeIndices, _ tile: AssignmentTile, _ embeddings: FloatPointer?, _ compute: Compute
    ) -> AssignmentTotals {
        tile.load(indices, compute)
        tile.softmax(compute)
        tile.compare(compute)
        let statistics = tile.statistics
        var totals = statistics.totals(problem)
        totals.entropy = tile.prior(statistics, compute)
        totals.prior = logarithm(Double(indices.count)) - totals.entropy
        // Of a call that was cancelled, argmax may not have been computed.
        if let votes = problem.inputs.votes, !Cancellation.isRequested {
            for row in 0..<problem.studentRows { votes[indices[Int(statistics.argmax[row])]] &+= 1 }
        }
        guard problem.wantsGradient else { return totals }
        if problem.priorHasGradient { tile.priorDots(statistics, addingTo: nil, compute) }
        tile.differentiate(statistics, priorDots: tile.priorDots, compute)
        tile.propagate(indices, embeddings: embeddings, compute)
        return totals
    }
}

/// Calls `body` once per worker with ranges that cover `0 ..< items`, and with memory of (V B, D) to add gradients of
/// the embeddings to; they end up added to `embeddings`.
func withEmbeddingGradients(
    _ embeddings: FloatPointer?, _ problem: AssignmentProblem, over items: Int, _ compute: Compute,
    _ body: (_ gradients: FloatPointer?, _ worker: Int, _ range: Range<Int>) -> Void
) throws {
    guard let embeddings else {
        compute.parallelRanges(items) { body(nil, $0, $1) }
        return
    }
    try PartialSums.add(to: embeddings, problem.studentRows * problem.dimension, over: items, compute) {
        body($0, $1, $2)
    }
}
