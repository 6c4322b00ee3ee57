/// How well a ranking of all references by cosine similarity puts those of the query's own label first.
///
/// A tile of queries stands packed while all references pass by it, as in `SimilaritySearch`, but every similarity is
/// kept: a row of n values for each query of the tile, sorted when the last reference has passed. Memory, beside the
/// result, is `tileBytes` or six rows a thread, whichever is more, and 24 bytes a reference.
public enum Retrieval {
    /// Similarities of a tile of queries, in bytes.
    private static let tileBytes = 16 << 20

    /// Average precision of each query.
    ///
    /// Over the whole ranking: the mean, over all relevant references, of the precision at the rank of each. With a
    /// cutoff c: the sum of those precisions over the relevant references within the first c, divided by min(relevant,
    /// c). A query without a relevant reference has 0.
    ///
    /// - Parameters:
    ///   - references, queries: (n, dimension) and (m, dimension), row-major, finite. A row of zeros has similarity 0
    ///     to every row.
    ///   - labels, queryLabels: n and m numbers; a reference is relevant when its label is the query's.
    ///   - cutoffs: each 1 ... n.
    ///   - leaveOneOut: reference i is no part of the ranking of query i; wants m = n.
    ///   - precision: (m, 1 + cutoffs.count), the whole ranking's first.
    ///   - relevant: (m, 1 + cutoffs.count), relevant references in the whole ranking, then within each cutoff.
    /// - Throws: `CARLError.invalidArgument` for sizes out of range and rows with NaN or infinity,
    ///   `CARLError.outOfMemory`.
    /// - Complexity: n m dimension multiplications in Float32, and m sorts of n numbers in linear time.
    public static func averagePrecision(
        references: UnsafePointer<Float>, labels: UnsafePointer<Int64>, n: Int, queries: UnsafePointer<Float>,
        queryLabels: UnsafePointer<Int64>, m: Int, dimension: Int, cutoffs: [Int], leaveOneOut: Bool,
        precision: UnsafeMutablePointer<Double>, relevant: UnsafeMutablePointer<Int64>, compute: Compute
    ) throws {
        try NearestNeighbours.checkSizes(n: n, m: m, dimension: dimension, k: 1)
        for cutoff in cutoffs where cutoff < 1 || cutoff > n {
            throw CARLError.invalidArgument("cutoffs: got \(cutoff), want numbers in 1 ... \(n), the references")
        }
        guard !leaveOneOut || m == n else {
            throw CARLError.invalidArgument(
                "leave_one_out: got \(m) queries and \(n) references; the queries must be the references")
        }
        let queryRows = try UnitRows(queries, m, dimension, name: "queries", compute)
        let referenceRows = try UnitRows(references, n, dimension, name: "references", compute)
        let panels = panelsOfTile(n: n, m: m, dimension: dimension, threads: compute.threads)
        let tile = panels * SimilarityTile.queries
        let packedReferences = roundUp(max(1, (1 << 16) / dimension), SimilarityTile.references)
        let rankings = try (0..<compute.workers).map { _ in try Ranking(n) }
        let scratch = try compute.scratch(
            CheckedSize.product(tile + packedReferences, dimension, of: "packed rows")
                + CheckedSize.product(tile, n, of: "similarities"))
        let width = 1 + cutoffs.count

        compute.parallel((m + tile - 1) / tile) { item, worker in
            let first = item * tile
            let packed = scratch[worker]
            let packedPanels = packed + tile * dimension
            let similarities = packedPanels + packedReferences * dimension
            queryRows.pack(first, limit: tile, panels: panels, width: SimilarityTile.queries, to: packed)
            for start in stride(from: 0, to: n, by: packedReferences) {
                if Cancellation.isRequested { return }
                let rows = min(packedReferences, n - start)
                let count = (rows + SimilarityTile.references - 1) / SimilarityTile.references
                referenceRows.pack(
                    start, limit: rows, panels: count, width: SimilarityTile.references, to: packedPanels)
                multiply(packed, panels, packedPanels, rows, dimension, into: similarities + start, step: n)
            }
            for query in first..<min(m, first + tile) where !Cancellation.isRequested {
                rankings[worker].score(
                    similarities + (query - first) * n, labels, label: queryLabels[query],
                    leftOut: leaveOneOut ? query : -1, cutoffs,
                    precision + query * width, relevant + query * width)
            }
        }
    }

    /// Panels of queries in a tile: many spread the cost of packing the references, but each query needs a row of n
    /// similarities.
    private static func panelsOfTile(n: Int, m: Int, dimension: Int, threads: Int) -> Int {
        let most = max(SimilarityTile.queries, min(tileBytes / 4 / n, (1 << 20) / dimension, 512))
        let shared = min(most, (m + threads - 1) / threads)  // a part for every thread
        return max(
            1, min(most / SimilarityTile.queries, roundUp(shared, SimilarityTile.queries) / SimilarityTile.queries))
    }

    /// Products of all packed queries with packed references, `rows` of them, in rows `step` apart.
    private static func multiply(
        _ queries: FloatPointer, _ panels: Int, _ references: FloatPointer, _ rows: Int, _ dimension: Int,
        into target: FloatPointer, step: Int
    ) {
        let count = SimilarityTile.queries * SimilarityTile.references
        let everything = [Float](repeating: -2, count: SimilarityTile.queries)  // a limit below every similarity
        withUnsafeTemporaryAllocation(byteCount: count * MemoryLayout<Float>.stride, alignment: 64) { memory in
            let products = memory.baseAddress!.bindMemory(to: Float.self, capacity: count)
            for panel in 0..<panels {
                for start in stride(from: 0, to: rows, by: SimilarityTile.references) {
                    _ = SimilarityTile.multiply(
                        queries + panel * SimilarityTile.queries * dimension, references + start * dimension, dimension,
                        limits: everything,
                        products)
                    let width = min(SimilarityTile.references, rows - start)
                    for query in 0..<SimilarityTile.queries {
                        (target + (panel * SimilarityTile.queries + query) * step + start).update(
                            from: products + query * SimilarityTile.references, count: width)
                    }
                }
            }
        }
    }

    private static func roundUp(_ value: Int, _ multiple: Int) -> Int { (value + multiple - 1) / multiple * multiple }
}

/// Sorts the references of one query and adds up precisions. The memory for it, of one worker.
private final class Ranking {
    private let n: Int
    private let memory: HeapArray<UInt64>
    private let keys: UnsafeMutablePointer<UInt64>
    private let sorted: UnsafeMutablePointer<UInt64>

    init(_ n: Int) throws {
        self.n = n
        memory = try HeapArray(CheckedSize.product(2, n, of: "a ranking"), repeating: 0, for: "a ranking")
        keys = memory.base
        sorted = keys + n
    }

    /// - Parameters:
    ///   - leftOut: a reference that is not ranked, or -1.
    ///   - precision, relevant: 1 + cutoffs.count values, of the whole ranking first.
    func score(
        _ similarities: UnsafePointer<Float>, _ labels: UnsafePointer<Int64>, label: Int64, leftOut: Int,
        _ cutoffs: [Int],
        _ precision: UnsafeMutablePointer<Double>, _ relevant: UnsafeMutablePointer<Int64>
    ) {
        let unsorted = keys
        var count = 0
        for i in 0..<n where i != leftOut {
            // Clamped and without -0, as in the search for neighbours, so that both rank alike. The low bit says
            // whether it is relevant.
            let similarity = min(max(similarities[i], -1), 1) + 0
            let key = CandidateSelection.key(similarity, i)
            unsorted[count] = key & 0xffff_ffff_0000_0000 | (labels[i] == label ? 1 : 0)
            count &+= 1
        }
        let ranked = sortFalling(count)
        var hits = 0
        var sum = 0.0
        let all = (0..<count).reduce(into: 0) { $0 &+= Int(ranked[$1] & 1) }
        let falling = cutoffs.indices.sorted { cutoffs[$0] > cutoffs[$1] }
        var waiting = falling.count
        func note(_ rank: Int) {
            while waiting > 0, cutoffs[falling[waiting - 1]] == rank {
                let place = falling[waiting - 1]
                precision[1 + place] = all == 0 ? 0 : sum / Double(min(all, rank))
                relevant[1 + place] = Int64(hits)
                waiting -= 1
            }
        }
        for rank in 1...max(1, count) where rank <= count {
            if ranked[rank - 1] & 1 == 1 {
                hits += 1
                sum += Double(hits) / Double(rank)
            }
            note(rank)
        }
        while waiting > 0 { note(cutoffs[falling[waiting - 1]]) }  // beyond the last, where one was left out
        precision[0] = all == 0 ? 0 : sum / Double(all)
        relevant[0] = Int64(all)
    }

    /// The first `count` keys by their upper halves, the largest first, equal ones in their present order: three passes
    /// of a radix sort over 11 bits each.
    private func sortFalling(_ count: Int) -> UnsafePointer<UInt64> {
        var (from, to) = (keys, sorted)
        withUnsafeTemporaryAllocation(of: Int.self, capacity: 2048) { starts in
            for shift in [32, 43, 54] as [UInt64] {
                starts.update(repeating: 0)
                for i in 0..<count { starts[Self.digit(from[i], shift)] &+= 1 }
                var start = 0
                for digit in 0..<2048 {
                    let amount = starts[digit]
                    starts[digit] = start
                    start &+= amount
                }
                for i in 0..<count {
                    let digit = Self.digit(from[i], shift)
                    to[starts[digit]] = from[i]
                    starts[digit] &+= 1
                }
                swap(&from, &to)
            }
        }
        return UnsafePointer(from)
    }

    /// Eleven bits, turned round so that large ones come first.
    @inline(__always)
    private static func digit(_ key: UInt64, _ shift: UInt64) -> Int {
        Int(truncatingIfNeeded: ~(key &>> shift) & 2047)
    }
}
