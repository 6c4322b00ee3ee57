/// One softmax over more prototypes than their logits should be kept for: the prototypes pass by in tiles, and logits
/// are computed again in each pass. (Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv
/// 1805.02867.)
///
/// 1. Largest logit and sum of each row, and sum of products of each compared pair of rows, put together from those of
///    the tiles.
/// 2. The mean assignment, of which a tile holds its prototypes' part for all rows, and with it the prior and p . log
///    pbar of each row.
/// 3. Gradients.
struct StreamedAssignment {
    /// Prototypes that pass by at a time. A multiple of eight.
    static let tile = 512

    let problem: AssignmentProblem
    let compute: Compute
    private var count: Int { problem.inputs.prototypeCount }
    private var tiles: Int { (count + Self.tile - 1) / Self.tile }

    init(_ problem: AssignmentProblem, _ compute: Compute) {
        self.problem = problem
        self.compute = compute
    }

    private func indices(_ tile: Int) -> PrototypeIndices {
        PrototypeIndices(first: tile * Self.tile, count: min(Self.tile, count - tile * Self.tile))
    }

    func evaluate(embeddings: FloatPointer?) throws -> AssignmentTotals {
        let workspace = compute.workspace
        let workers = min(compute.threads, tiles)
        let alone = try compute.alone(workers)
        let memory = try (0..<workers).map { _ in try AssignmentTile(problem, capacity: Self.tile, workspace) }
        defer { for tile in memory { tile.release(workspace) } }

        let running = try (0..<workers).map { _ in try RunningStatistics(problem, workspace) }
        defer { for each in running { each.release(workspace) } }
        compute.parallelRanges(tiles) { worker, range in
            for tile in range where !Cancellation.isRequested {
                memory[worker].load(indices(tile), alone[worker])
                memory[worker].softmax(alone[worker])
                memory[worker].compare(alone[worker])
                running[worker].add(memory[worker].statistics, offset: tile * Self.tile)
            }
        }
        try Cancellation.check()
        for worker in 1..<max(workers, 1) { running[0].add(running[worker]) }
        let slices = try WorkspaceSlices(AssignmentStatistics.counts(problem), workspace)
        defer { slices.give(to: workspace) }
        let known = AssignmentStatistics(slices, problem)
        running[0].write(to: known)
        var totals = known.totals(problem)
        if let votes = problem.inputs.votes {
            for row in 0..<problem.studentRows { votes[Int(known.argmax[row])] &+= 1 }
        }

        let logMeans = try workspace.take(AssignmentRows.stride(count))
        defer { workspace.give(logMeans) }
        let dots = try (0..<workers).map { _ in try workspace.take(problem.studentRows) }
        defer { for each in dots { workspace.give(each) } }
        for each in dots { each.fill(0) }
        let entropies = try HeapArray(tiles, repeating: 0.0, for: "the entropies of \(tiles) tiles")
        compute.parallelRanges(tiles) { worker, range in
            let own = memory[worker]
            for tile in range where !Cancellation.isRequested {
                own.load(indices(tile), alone[worker])
                own.exponentials(less: known)
                entropies[tile] = own.prior(known, alone[worker])
                (logMeans.base + tile * Self.tile).update(from: own.logMeans, count: own.stride)
                if problem.priorHasGradient { own.priorDots(known, addingTo: dots[worker].base, alone[worker]) }
            }
        }
        totals.entropy = entropies.withValues { $0.reduce(0, +) }
        totals.prior = logarithm(Double(count)) - totals.entropy
        guard problem.wantsGradient else { return totals }
        for worker in 1..<max(workers, 1) {
            for row in 0..<problem.studentRows { dots[0].base[row] += dots[worker].base[row] }
        }

        try withEmbeddingGradients(embeddings, problem, over: tiles, compute) { gradients, worker, range in
            for tile in range where !Cancellation.isRequested {
                memory[worker].load(indices(tile), alone[worker])
                memory[worker].exponentials(less: known)
                memory[worker].differentiate(
                    known, priorDots: dots[0].base, logMeans: logMeans.base + tile * Self.tile, alone[worker])
                memory[worker].propagate(indices(tile), embeddings: gradients, alone[worker])
            }
        }
        return totals
    }
}
