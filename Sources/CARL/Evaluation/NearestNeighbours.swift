/// Exact k nearest neighbours by cosine similarity, and the classification by their vote.
///
/// A row of zeros has similarity 0 to every row. Similarities lie in [-1, 1]; equal ones come in order of index.
/// Results are the same bit for bit with any number of threads. Beside the result, memory is some megabytes a thread
/// and eight bytes a row.
public enum NearestNeighbours {
    /// Finds the `k` references of largest cosine similarity for each query, in falling order.
    ///
    /// - Parameters:
    ///   - references: (n, dimension), row-major, finite; n below 2^32.
    ///   - queries: (m, dimension), row-major, finite.
    ///   - k: 1 ... n.
    ///   - neighbours: (m, k), gets row numbers of `references`; may be nil.
    ///   - similarities: (m, k); may be nil.
    /// - Throws: `CARLError.invalidArgument` for sizes out of range and rows with NaN or infinity,
    ///   `CARLError.outOfMemory`.
    /// - Complexity: n m dimension multiplications in Float32.
    public static func search(
        references: UnsafePointer<Float>, n: Int, queries: UnsafePointer<Float>, m: Int, dimension: Int, k: Int,
        neighbours: UnsafeMutablePointer<Int64>?, similarities: UnsafeMutablePointer<Float>?, compute: Compute
    ) throws {
        try checkSizes(n: n, m: m, dimension: dimension, k: k)
        let search = SimilaritySearch(
            references: references, n: n, queries: queries, m: m, dimension: dimension, k: k, compute: compute)
        try search.run { query, _, best in
            if let target = neighbours.map({ $0 + query * k }) {
                for i in 0..<k { target[i] = Int64(CandidateSelection.index(best[i])) }
            }
            if let target = similarities.map({ $0 + query * k }) {
                for i in 0..<k { target[i] = CandidateSelection.similarity(best[i]) }
            }
        }
    }

    /// Gives each query the label with the largest vote among its `k` nearest references, the smallest such label when
    /// votes are equal. A vote weighs exp(similarity / temperature) (Wu, Xiong, Yu, Lin: "Unsupervised feature learning
    /// via non-parametric instance discrimination", CVPR 2018), or 1 when `temperature` is 0.
    ///
    /// - Parameters:
    ///   - labels: n numbers in 0 ..< classes.
    ///   - ks: numbers of neighbours, each 1 ... n, in any order. One search serves all of them.
    ///   - temperature: finite, not negative; 0.07 is usual.
    ///   - predicted: (ks.count, m) labels.
    ///   - Others as in `search`.
    public static func classify(
        references: UnsafePointer<Float>, labels: UnsafePointer<Int64>, n: Int, queries: UnsafePointer<Float>, m: Int,
        dimension: Int, classes: Int, ks: [Int], temperature: Double, predicted: UnsafeMutablePointer<Int64>,
        compute: Compute
    ) throws {
        guard let most = ks.max() else { throw CARLError.invalidArgument("k: no number of neighbours is given") }
        for k in ks { try checkSizes(n: n, m: m, dimension: dimension, k: k) }
        guard classes > 0 else { throw CARLError.invalidArgument("classes is \(classes); a positive number is wanted") }
        guard temperature.isFinite, temperature >= 0 else {
            throw CARLError.invalidArgument("temperature is \(temperature); a finite number from 0 is wanted")
        }
        for row in 0..<n where labels[row] < 0 || labels[row] >= classes {
            throw CARLError.invalidArgument(
                "labels[\(row)]: got \(labels[row]), want 0 to \(classes - 1) (there are \(classes) classes)")
        }
        let rising = ks.indices.sorted { ks[$0] < ks[$1] }
        let ballots = try (0..<compute.workers).map { _ in try Ballot(voters: most) }
        let search = SimilaritySearch(
            references: references, n: n, queries: queries, m: m, dimension: dimension, k: most, compute: compute)
        try search.run { query, worker, best in
            let ballot = ballots[worker]
            ballot.clear()
            // relative to the nearest one, so that no exponential overflows and not all vanish
            let nearest = Double(CandidateSelection.similarity(best[0]))
            var voted = 0
            for place in rising {
                while voted < ks[place] {
                    let key = best[voted]
                    let weight =
                        temperature == 0
                        ? 1 : exponential((Double(CandidateSelection.similarity(key)) - nearest) / temperature)
                    ballot.add(labels[CandidateSelection.index(key)], weight)
                    voted += 1
                }
                predicted[place * m + query] = ballot.winner
            }
        }
    }

    static func checkSizes(n: Int, m: Int, dimension: Int, k: Int) throws {
        for (name, size) in [("n", n), ("m", m), ("dimension", dimension), ("k", k)] where size <= 0 {
            throw CARLError.invalidArgument("\(name) is \(size); a positive number is wanted")
        }
        guard k <= n else { throw CARLError.invalidArgument("k is \(k), but there are only \(n) references") }
        guard n <= UInt32.max else {
            throw CARLError.invalidArgument("n is \(n); at most \(UInt32.max) references are possible")
        }
        guard dimension <= 1 << 30 else {
            throw CARLError.invalidArgument("dimension is \(dimension); at most \(1 << 30) is possible")
        }
        for (name, rows, columns) in [("references", n, dimension), ("queries", m, dimension), ("neighbours", m, k)] {
            // an address must be able to reach every value, of eight bytes at most
            let (size, overflow) = rows.multipliedReportingOverflow(by: columns)
            guard !overflow, size <= Int.max / 16 else {
                throw CARLError.invalidArgument("\(name) with \(rows) x \(columns) values cannot be in memory")
            }
        }
    }
}

/// Sums of votes by label, for at most a known number of voters: a hash table whose memory does not grow with the
/// labels.
private final class Ballot {
    private let labels: HeapArray<Int64>
    private let sums: HeapArray<Double>
    /// Slots in use, in order of their first vote.
    private let used: HeapArray<Int>
    private var usedCount = 0
    private let shift: UInt64
    private let mask: Int

    /// - Throws: `CARLError.outOfMemory`.
    init(voters: Int) throws {
        var bits: UInt64 = 4
        while 1 << bits < 2 * voters { bits += 1 }
        shift = 64 - bits
        mask = 1 << Int(bits) - 1
        labels = try HeapArray(mask + 1, repeating: -1, for: "the votes of \(voters) neighbours")
        sums = try HeapArray(mask + 1, repeating: 0, for: "the votes of \(voters) neighbours")
        used = try HeapArray(voters, repeating: 0, for: "the votes of \(voters) neighbours")
    }

    func clear() {
        for i in 0..<usedCount {
            labels[used[i]] = -1
            sums[used[i]] = 0
        }
        usedCount = 0
    }

    func add(_ label: Int64, _ weight: Double) {
        var slot = Int(truncatingIfNeeded: (UInt64(bitPattern: label) &* 0x9e37_79b9_7f4a_7c15) >> shift)
        while labels[slot] != label {
            if labels[slot] < 0 {
                labels[slot] = label
                used[usedCount] = slot
                usedCount += 1
                break
            }
            slot = (slot &+ 1) & mask
        }
        sums[slot] += weight
    }

    /// The label of the largest sum, the smallest of several.
    var winner: Int64 {
        var best = used[0]
        for i in 1..<max(usedCount, 1) {
            let slot = used[i]
            if sums[slot] > sums[best] || (sums[slot] == sums[best] && labels[slot] < labels[best]) { best = slot }
        }
        return labels[best]
    }
}
