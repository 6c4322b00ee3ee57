/// The k best references of every query by cosine similarity, exact, in memory bounded by a tile for each worker.
///
/// A tile of queries, scaled to unit length, is multiplied with a tile of references, whose inverse norms scale the products
/// while they are searched: the references need no normalised copy. All tiles are full, short ones padded with zero rows, so
/// that the same two rows have the same similarity wherever they stand, and equal rows are found equal.
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
    /// - Throws: `CARLError.invalidArgument` that names the first row with a value that is not finite, `CARLError.outOfMemory`.
    func run(_ visit: (_ query: Int, _ worker: Int, _ best: UnsafePointer<Key>) -> Void) throws {
        let queryNorms = try RowNorms(queries, m, dimension, name: "queries", compute)
        let referenceNorms = try RowNorms(references, n, dimension, name: "references", compute)
        let tiles = TileSizes(n: n, m: m, dimension: dimension, k: k, threads: compute.threads)
        let copiesReferences = n % tiles.references != 0 || referenceNorms.hasExtremes
        let layout = ScratchLayout(tiles, dimension, copiesReferences: copiesReferences)
        let scratch = try compute.scratch(layout.count)

        // With few queries, the references are shared out as well, and the best of each part are merged below.
        let merged = tiles.parts > 1 ? try FloatBuffer(2 * m * tiles.parts * tiles.kept) : nil
        let mergedKeys = merged.map { UnsafeMutableRawPointer($0.base).bindMemory(to: Key.self, capacity: $0.count / 2) }

        MatrixProduct.withSingleThread {
            compute.parallel(tiles.queryTiles * tiles.parts) { item, worker in
                let part = item % tiles.parts
                let first = item / tiles.parts * tiles.queries
                let count = min(tiles.queries, m - first)
                let area = layout.areas(scratch[worker])
                copyUnitRows(first, count, tiles.queries, queryNorms, to: area.queries)
                var candidates = Candidates(area, count: count, capacity: tiles.capacity, k: tiles.kept)
                let tileRange = tiles.referenceTiles * part / tiles.parts..<tiles.referenceTiles * (part + 1) / tiles.parts
                for tile in tileRange {
                    let start = tile * tiles.references
                    let rows = min(tiles.references, n - start)
                    var base = references + start * dimension
                    if rows < tiles.references || referenceNorms.hasExtremes {
                        copyScaledRows(start, rows, tiles.references, referenceNorms, to: area.references)
                        base = UnsafePointer(area.references)
                    }
                    MatrixProduct.multiply(
                        tiles.queries, tiles.references, dimension, area.queries, dimension, base, dimension, transposeB: true,
                        area.products, tiles.references)
                    candidates.scan(
                        area.products, stride: tiles.references, rows, referenceNorms.inverse.base + start, firstIndex: start)
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
        }
        if let mergedKeys {
            compute.parallel(m) { query, worker in
                let keys = mergedKeys + query * tiles.parts * tiles.kept
                CandidateSelection.selectLargest(keys, tiles.parts * tiles.kept, k)
                CandidateSelection.sortDescending(keys, k)
                visit(query, worker, keys)
            }
        }
    }

    /// Queries of unit length (or zero), padded with zero rows.
    private func copyUnitRows(_ first: Int, _ count: Int, _ padded: Int, _ norms: RowNorms, to target: FloatPointer) {
        for row in 0..<count {
            let source = queries + (first + row) * dimension
            let inverse = norms.exactInverse(first + row)
            for i in 0..<dimension { target[row &* dimension &+ i] = Float(Double(source[i]) * inverse) }
        }
        (target + count * dimension).update(repeating: 0, count: (padded - count) * dimension)
    }

    /// References times the power of two that goes with their inverse norms, padded with zero rows.
    private func copyScaledRows(_ first: Int, _ count: Int, _ padded: Int, _ norms: RowNorms, to target: FloatPointer) {
        for row in 0..<count {
            let source = references + (first + row) * dimension
            let scale = norms.powerOfTwo(first + row)
            for i in 0..<dimension { target[row &* dimension &+ i] = Float(Double(source[i]) * scale) }
        }
        (target + count * dimension).update(repeating: 0, count: (padded - count) * dimension)
    }
}

/// How the work is cut. The sizes of tiles do not depend on the number of threads; the number of parts does, and cannot change
/// a result, because the best of all are the best of the best of the parts.
private struct TileSizes {
    let queries: Int
    let references: Int
    let queryTiles: Int
    let referenceTiles: Int
    /// Parts into which the references are shared.
    let parts: Int
    /// Neighbours a part keeps for each query: k, or all that the part has.
    let kept: Int
    /// Candidates a query may hold before the worse are thrown out.
    let capacity: Int

    init(n: Int, m: Int, dimension: Int, k: Int, threads: Int) {
        // Multiples of 64 and 16: the product's main kernel does the whole tile, and sums every element in the same order.
        references = min(Self.roundUp(n, 64), max(64, min(1024, (1 << 20) / dimension / 64 * 64)))
        referenceTiles = (n + references - 1) / references
        // Tall tiles spread the cost of packing the references; rows and candidates stay within some megabytes.
        let tallest = max(16, min((1 << 19) / dimension, (1 << 20) / (2 * k), 512) / 16 * 16)
        let least = (m + tallest - 1) / tallest
        queries = Self.roundUp((m + least - 1) / least, 16)
        queryTiles = (m + queries - 1) / queries
        parts = min(referenceTiles, threads == 1 ? 1 : max(1, 2 * threads / queryTiles))
        let partSize = min(n, (referenceTiles + parts - 1) / parts * references)
        kept = min(k, partSize)
        capacity = min(partSize, kept + max(kept, 256))
    }

    static func roundUp(_ value: Int, _ multiple: Int) -> Int { (value + multiple - 1) / multiple * multiple }
}

/// Where a worker's areas lie in its scratch memory, in floats.
private struct ScratchLayout {
    struct Areas {
        let products: FloatPointer
        let queries: FloatPointer
        let references: FloatPointer
        let keys: UnsafeMutablePointer<CandidateSelection.Key>
        let counts: UnsafeMutablePointer<Int>
        let thresholds: FloatPointer
    }
    private let offsets: [Int]
    private let sizes: [Int]
    var count: Int { offsets[5] + sizes[5] }

    init(_ tiles: TileSizes, _ dimension: Int, copiesReferences: Bool) {
        sizes = [
            tiles.queries * tiles.references, tiles.queries * dimension, copiesReferences ? tiles.references * dimension : 0,
            2 * tiles.queries * tiles.capacity, 2 * tiles.queries, tiles.queries,
        ]
        // every size is a multiple of 16 floats, so every area is aligned
        var offset = 0
        offsets = sizes.map { size in
            defer { offset += size }
            return offset
        }
    }

    func areas(_ base: FloatPointer) -> Areas {
        Areas(
            products: base + offsets[0], queries: base + offsets[1], references: base + offsets[2],
            keys: UnsafeMutableRawPointer(base + offsets[3]).bindMemory(to: UInt64.self, capacity: sizes[3] / 2),
            counts: UnsafeMutableRawPointer(base + offsets[4]).bindMemory(to: Int.self, capacity: sizes[4] / 2),
            thresholds: base + offsets[5])
    }
}

/// The best references seen so far by each query of a tile.
private struct Candidates {
    private let area: ScratchLayout.Areas
    private let count: Int
    private let capacity: Int
    private let k: Int

    init(_ area: ScratchLayout.Areas, count: Int, capacity: Int, k: Int) {
        (self.area, self.count, self.capacity, self.k) = (area, count, capacity, k)
        area.counts.update(repeating: 0, count: count)
        area.thresholds.update(repeating: -2, count: count)  // below every similarity
    }

    /// Looks through a tile of products, row by query, for similarities above each query's threshold. Tiles must come in order
    /// of index: a later reference of equal similarity then never displaces an earlier one.
    mutating func scan(_ products: FloatPointer, stride: Int, _ columns: Int, _ inverseNorms: FloatPointer, firstIndex: Int) {
        for query in 0..<count {
            let row = products + query &* stride
            var threshold = area.thresholds[query]
            var column = 0
            while column &+ 32 <= columns {
                let limit = Float8(repeating: threshold)
                let products = row + column
                let scales = inverseNorms + column
                let a = load8(products) * load8(scales)
                let b = load8(products + 8) * load8(scales + 8)
                let c = load8(products + 16) * load8(scales + 16)
                let d = load8(products + 24) * load8(scales + 24)
                if any(max8(max8(a, b), max8(c, d)) .> limit) {
                    for place in column..<column &+ 32 {
                        offer(query, row[place] * inverseNorms[place], firstIndex &+ place, &threshold)
                    }
                }
                column &+= 32
            }
            while column < columns {
                offer(query, row[column] * inverseNorms[column], firstIndex &+ column, &threshold)
                column &+= 1
            }
            area.thresholds[query] = threshold
        }
    }

    @inline(__always)
    private func offer(_ query: Int, _ product: Float, _ index: Int, _ threshold: inout Float) {
        if !(product > threshold) { return }
        // Rounding may pass 1; adding 0 turns -0 into +0.
        let similarity = min(max(product, -1), 1) + 0
        if !(similarity > threshold) { return }
        let keys = area.keys + query &* capacity
        var held = area.counts[query]
        if held == capacity {
            CandidateSelection.selectLargest(keys, held, k)
            held = k
            threshold = CandidateSelection.similarity(keys[k &- 1])
        }
        if similarity > threshold {
            keys[held] = CandidateSelection.key(similarity, index)
            held &+= 1
        }
        area.counts[query] = held
    }

    /// The best candidates of a query, in no order.
    func best(_ query: Int) -> (keys: UnsafeMutablePointer<CandidateSelection.Key>, count: Int) {
        let keys = area.keys + query * capacity
        let held = area.counts[query]
        if held > k { CandidateSelection.selectLargest(keys, held, k) }
        return (keys, min(held, k))
    }
}
