/// The k best references of every query by cosine similarity, exact, in memory bounded by a tile for each worker.
///
/// A tile of queries stands packed while all references pass by it, packed and scaled to unit length a few panels at a
/// time.
struct SimilaritySearch {
    typealias Key = CandidateSelection.Key

    let references: UnsafePointer<Float>
    let n: Int
    let queries: UnsafePointer<Float>
    let m: Int
    let dimension: Int
    let k: Int
    let compute: Compute

    /// Calls `visit(query, worker, best)` once for every query, from several threads, with its k keys in falling order.
    /// - Throws: `CARLError.invalidArgument` that names the first row with a value that is not finite,
    ///   `CARLError.outOfMemory`.
    func run(_ visit: (_ query: Int, _ worker: Int, _ best: UnsafePointer<Key>) -> Void) throws {
        let queryRows = try UnitRows(queries, m, dimension, name: "queries", compute)
        let referenceRows = try UnitRows(references, n, dimension, name: "references", compute)
        let tiles = SearchTiles(n: n, m: m, dimension: dimension, k: k, threads: compute.threads)
        let scratch = try compute.scratch(tiles.scratchCount)

        // With few queries, the references are shared out as well, and the best of each part are merged below.
        let merged =
            tiles.parts > 1
            ? try FloatBuffer(CheckedSize.product(2, m, tiles.parts, tiles.kept, of: "the best of each part")) : nil
        let mergedKeys = merged.map {
            UnsafeMutableRawPointer($0.base).bindMemory(to: Key.self, capacity: $0.count / 2)
        }

        compute.parallel(tiles.queryTiles * tiles.parts) { item, worker in
            let part = item % tiles.parts
            let first = item / tiles.parts * tiles.queries
            let count = min(tiles.queries, m - first)
            let areas = tiles.areas(scratch[worker])
            queryRows.pack(
                first, limit: tiles.queries, panels: tiles.queryPanels, width: SimilarityTile.queries, to: areas.queries
            )
            var candidates = Candidates(areas, tiles, count: count)
            for tile in tiles.referenceTiles * part / tiles.parts..<tiles.referenceTiles * (part + 1) / tiles.parts {
                if Cancellation.isRequested { return }
                let start = tile * tiles.references
                let rows = min(tiles.references, n - start)
                let panels = (rows + SimilarityTile.references - 1) / SimilarityTile.references
                referenceRows.pack(
                    start, limit: rows, panels: panels, width: SimilarityTile.references, to: areas.references)
                candidates.search(dimension, firstReference: start, rows)
            }
            for query in 0..<count {
                let (best, found) = candidates.best(query)
                if let mergedKeys {
                    // room that stays zero ranks below every candidate
                    (mergedKeys + ((first + query) * tiles.parts + part) * tiles.kept).update(from: best, count: found)
                } else {
                    CandidateSelection.sortDescending(best, k)
                    visit(first + query, worker, best)
                }
            }
        }
        try Cancellation.check()
        guard let merged, let mergedKeys else { return }
        compute.parallel(m) { query, worker in
            let keys = mergedKeys + query * tiles.parts * tiles.kept
            CandidateSelection.selectLargest(keys, tiles.parts * tiles.kept, k)
            CandidateSelection.sortDescending(keys, k)
            visit(query, worker, keys)
        }
        withExtendedLifetime(merged) {}
    }
}

/// The best references seen so far by each query of a tile.
private struct Candidates {
    private let areas: SearchTiles.Areas
    private let panels: Int
    private let capacity: Int
    private let k: Int

    init(_ areas: SearchTiles.Areas, _ tiles: SearchTiles, count: Int) {
        (self.areas, capacity, k) = (areas, tiles.capacity, tiles.kept)
        panels = (count + SimilarityTile.queries - 1) / SimilarityTile.queries
        areas.counts.update(repeating: 0, count: count)
        areas.thresholds.update(repeating: -2, count: count)  // below every similarity
        // the zero rows behind the last query take nothing
        (areas.thresholds + count).update(repeating: 2, count: panels * SimilarityTile.queries - count)
    }

    /// Compares all queries with a tile of references. Tiles must come in order of index: a later reference of equal
    /// similarity then never displaces an earlier one.
    mutating func search(_ dimension: Int, firstReference: Int, _ rows: Int) {
        let count = SimilarityTile.queries * SimilarityTile.references
        withUnsafeTemporaryAllocation(byteCount: count * MemoryLayout<Float>.stride, alignment: 64) { memory in
            let products = memory.baseAddress!.bindMemory(to: Float.self, capacity: count)
            for panel in 0..<panels {
                let firstQuery = panel * SimilarityTile.queries
                var start = 0
                while start < rows {
                    if SimilarityTile.multiply(
                        areas.queries + firstQuery * dimension, areas.references + start * dimension, dimension,
                        limits: areas.thresholds + firstQuery, products)
                    {
                        let width = min(SimilarityTile.references, rows - start)
                        for query in 0..<SimilarityTile.queries {
                            offer(
                                firstQuery + query, products + query * SimilarityTile.references, width,
                                firstReference + start)
                        }
                    }
                    start += SimilarityTile.references
                }
            }
        }
    }

    /// Takes the products above the query's threshold.
    @inline(__always)
    private func offer(_ query: Int, _ products: FloatPointer, _ width: Int, _ firstIndex: Int) {
        var threshold = areas.thresholds[query]
        var above: UInt32 = 0
        for eight in 0..<SimilarityTile.references / 8 {
            above |= Self.bits(load8(products + 8 &* eight) .> threshold) &<< UInt32(truncatingIfNeeded: 8 &* eight)
        }
        above &= .max &>> UInt32(truncatingIfNeeded: 32 &- width)
        while above != 0 {
            let place = above.trailingZeroBitCount
            above &= above &- 1
            // Rounding may pass 1; adding 0 turns -0 into 0.
            let similarity = min(max(products[place], -1), 1) + 0
            let keys = areas.keys + query &* capacity
            if areas.counts[query] == capacity {
                CandidateSelection.selectLargest(keys, capacity, k)
                areas.counts[query] = k
                threshold = CandidateSelection.similarity(keys[k &- 1])
                areas.thresholds[query] = threshold
            }
            if similarity > threshold {
                keys[areas.counts[query]] = CandidateSelection.key(similarity, firstIndex &+ place)
                areas.counts[query] &+= 1
            }
        }
    }

    /// Bit i is set where lane i is true.
    @inline(__always)
    private static func bits(_ mask: SIMDMask<Int32x8>) -> UInt32 {
        let weights = SIMD8<UInt32>(1, 2, 4, 8, 16, 32, 64, 128)
        return SIMD8<UInt32>.zero.replacing(with: weights, where: mask).wrappedSum()
    }

    /// The best candidates of a query, in no order.
    func best(_ query: Int) -> (keys: UnsafeMutablePointer<CandidateSelection.Key>, count: Int) {
        let keys = areas.keys + query * capacity
        let held = areas.counts[query]
        if held > k { CandidateSelection.selectLargest(keys, held, k) }
        return (keys, min(held, k))
    }
}
