/// How a similarity search is cut in tiles, and where a worker's areas lie in its scratch memory.
///
/// No cut can change a result: products are the same in every tile, and the best of all are the best of the best of the
/// parts.
struct SearchTiles {
    /// Queries in a tile, a multiple of a panel's.
    let queries: Int
    /// References in a tile, a multiple of a panel's.
    let references: Int
    let queryTiles: Int
    let referenceTiles: Int
    /// Parts into which the references are shared when there are fewer tiles of queries than threads could take.
    let parts: Int
    /// Neighbours a part keeps for each query: k, or all that the part has.
    let kept: Int
    /// Candidates a query may hold before the worse are thrown out.
    let capacity: Int
    private let sizes: [Int]

    var queryPanels: Int { queries / SimilarityTile.queries }

    init(n: Int, m: Int, dimension: Int, k: Int, threads: Int) {
        // A tile of references stays in the second-level cache: 256 KB.
        references = Self.roundUp(min(n, max(1, (1 << 16) / dimension)), SimilarityTile.references)
        referenceTiles = (n + references - 1) / references
        // Many queries spread the cost of packing the references, and some megabytes hold them and their candidates.
        let most = max(1, min((1 << 20) / dimension, (1 << 20) / k, 512))
        let least = (m + most - 1) / most
        // as many tiles as the threads can share evenly
        let wanted = Self.roundUp(least, m / threads >= 256 ? threads : 1)
        queries = Self.roundUp((m + wanted - 1) / wanted, SimilarityTile.queries)
        queryTiles = (m + queries - 1) / queries
        parts = min(referenceTiles, queryTiles >= threads ? 1 : max(1, 4 * threads / queryTiles))
        let partSize = min(n, (referenceTiles + parts - 1) / parts * references)
        kept = min(k, partSize)
        capacity = min(partSize, kept + max(kept, 256))
        sizes = [queries * dimension, references * dimension, 2 * queries * capacity, 2 * queries, queries].map {
            Self.roundUp($0, 16)
        }
    }

    struct Areas {
        let queries: FloatPointer
        let references: FloatPointer
        /// (queries, capacity)
        let keys: UnsafeMutablePointer<CandidateSelection.Key>
        /// Candidates held by each query.
        let counts: UnsafeMutablePointer<Int>
        /// Similarity that a query's next candidate must exceed.
        let thresholds: FloatPointer
    }

    /// Floats of scratch a worker needs.
    var scratchCount: Int { sizes.reduce(0, +) }

    func areas(_ base: FloatPointer) -> Areas {
        let keys = base + sizes[0] + sizes[1]
        let counts = keys + sizes[2]
        return Areas(
            queries: base, references: base + sizes[0],
            keys: UnsafeMutableRawPointer(keys).bindMemory(to: CandidateSelection.Key.self, capacity: sizes[2] / 2),
            counts: UnsafeMutableRawPointer(counts).bindMemory(to: Int.self, capacity: sizes[3] / 2),
            thresholds: counts + sizes[3])
    }

    private static func roundUp(_ value: Int, _ multiple: Int) -> Int { (value + multiple - 1) / multiple * multiple }
}
