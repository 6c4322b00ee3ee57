import Testing

@testable import CARL

private struct Scores: Equatable {
    var precision: [Double]
    var relevant: [Int64]
}

private func normal(_ count: Int, seed: UInt64) -> [Float] {
    var stream = RandomStream(seed: seed, purpose: .order)
    return (0..<count).map { _ in stream.normal() }
}

private func numbers(_ count: Int, below bound: Int, seed: UInt64) -> [Int64] {
    var stream = RandomStream(seed: seed, purpose: .order)
    return (0..<count).map { _ in Int64(stream.below(bound)) }
}

private func retrieve(
    _ references: [Float], _ labels: [Int64], _ queries: [Float], _ queryLabels: [Int64], dimension: Int,
    cutoffs: [Int] = [],
    leaveOneOut: Bool = false, threads: Int = 2
) throws -> Scores {
    let (n, m, width) = (labels.count, queryLabels.count, 1 + cutoffs.count)
    var scores = Scores(
        precision: .init(repeating: .nan, count: m * width), relevant: .init(repeating: -1, count: m * width))
    try Retrieval.averagePrecision(
        references: references, labels: labels, n: n, queries: queries, queryLabels: queryLabels, m: m,
        dimension: dimension,
        cutoffs: cutoffs, leaveOneOut: leaveOneOut, precision: &scores.precision, relevant: &scores.relevant,
        compute: try Compute(threads: threads))
    return scores
}

/// Average precision from a ranking of relevances, by its definition.
private func averagePrecision(_ relevances: [Bool], cutoff: Int) -> (precision: Double, hits: Int) {
    let all = relevances.count { $0 }
    var (sum, hits) = (0.0, 0)
    for (place, relevant) in relevances.prefix(cutoff).enumerated() where relevant {
        hits += 1
        sum += Double(hits) / Double(place + 1)
    }
    return (all == 0 ? 0 : sum / Double(min(all, cutoff)), hits)
}

@Suite struct RetrievalTests {
    /// Against the rankings that the search for neighbours gives, itself tested against Float64.
    @Test(arguments: [
        (1, 1, 1, 1), (7, 5, 3, 2), (300, 70, 33, 4), (2500, 40, 5, 9), (130, 1100, 1, 3), (3, 2, 70_000, 2),
    ])
    func agreesWithTheRanking(n: Int, m: Int, dimension: Int, classes: Int) throws {
        let (references, queries) = (normal(n * dimension, seed: 1), normal(m * dimension, seed: 2))
        let (labels, truth) = (numbers(n, below: classes, seed: 3), numbers(m, below: classes, seed: 4))
        let cutoffs = [max(1, n / 3), 1, n, max(1, n / 3)]
        var order = [Int64](repeating: 0, count: m * n)
        try NearestNeighbours.search(
            references: references, n: n, queries: queries, m: m, dimension: dimension, k: n, neighbours: &order,
            similarities: nil,
            compute: try Compute(threads: 2))
        for threads in [1, 3] {
            let scores = try retrieve(
                references, labels, queries, truth, dimension: dimension, cutoffs: cutoffs, threads: threads)
            for query in 0..<m {
                let relevances = order[query * n..<(query + 1) * n].map { labels[Int($0)] == truth[query] }
                for (place, cutoff) in ([n] + cutoffs).enumerated() {
                    let expected = averagePrecision(relevances, cutoff: cutoff)
                    #expect(abs(scores.precision[query * 5 + place] - expected.precision) < 1e-12)
                    #expect(scores.relevant[query * 5 + place] == Int64(expected.hits))
                }
            }
        }
    }

    @Test func leavesOutTheQueryItself() throws {
        let (n, dimension) = (200, 6)
        let rows = normal(n * dimension, seed: 5)
        let labels = numbers(n, below: 3, seed: 6)
        let scores = try retrieve(
            rows, labels, rows, labels, dimension: dimension, cutoffs: [n, 10], leaveOneOut: true)
        var order = [Int64](repeating: 0, count: n * n)
        try NearestNeighbours.search(
            references: rows, n: n, queries: rows, m: n, dimension: dimension, k: n, neighbours: &order,
            similarities: nil,
            compute: try Compute(threads: 2))
        for query in 0..<n {
            let relevances = order[query * n..<(query + 1) * n].filter { $0 != query }.map {
                labels[Int($0)] == labels[query]
            }
            for (place, cutoff) in [n - 1, n, 10].enumerated() {
                let expected = averagePrecision(relevances, cutoff: cutoff)
                #expect(abs(scores.precision[query * 3 + place] - expected.precision) < 1e-12)
                #expect(scores.relevant[query * 3 + place] == Int64(expected.hits))
            }
        }
        #expect(
            try retrieve([1, 2], [5], [1, 2], [5], dimension: 2, cutoffs: [1], leaveOneOut: true)
                == Scores(precision: [0, 0], relevant: [0, 0]))
    }

    /// Ranks 1 and 3 of 4: (1/1 + 2/3) / 2. A label that no reference has: 0.
    @Test func aCaseByHand() throws {
        let references: [Float] = [1, 0, 1, 1, 0, 1, -1, 0]
        let scores = try retrieve(references, [7, 8, 7, 8], [1, 0.1, 1, 0.1], [7, 9], dimension: 2, cutoffs: [2])
        #expect(scores == Scores(precision: [(1 + 2.0 / 3) / 2, 0.5, 0, 0], relevant: [2, 1, 0, 0]))
        // equal similarities in order of index, a row of zeros among the orthogonal ones
        let ties = try retrieve([0, 0, 0, 1, 0, -1, 0, 2], [0, 1, 0, 1], [1, 0], [1], dimension: 2)
        #expect(ties.precision == [(1.0 / 2 + 2.0 / 4) / 2])
    }

    @Test func refusesBadArguments() throws {
        func refused(_ says: String, _ body: () throws -> Void) {
            do {
                try body()
                Issue.record("accepted; should say \(says)")
            } catch CARLError.invalidArgument(let message) {
                #expect(message.contains(says), "\(message)")
            } catch {
                Issue.record("\(error)")
            }
        }
        let rows: [Float] = [1, 0, 0, 1]
        refused("cutoffs: got 3, want numbers in 1 ... 2") {
            _ = try retrieve(rows, [0, 1], rows, [0, 1], dimension: 2, cutoffs: [1, 3])
        }
        refused("cutoffs: got 0") { _ = try retrieve(rows, [0, 1], rows, [0, 1], dimension: 2, cutoffs: [0]) }
        refused("got 1 queries and 2 references") {
            _ = try retrieve(rows, [0, 1], [1, 0], [0], dimension: 2, leaveOneOut: true)
        }
        refused("row 1 of references is not finite: column 0 is nan") {
            _ = try retrieve([1, 0, .nan, 1], [0, 1], rows, [0, 1], dimension: 2)
        }
        refused("row 0 of queries is not finite: column 1 is inf") {
            _ = try retrieve(rows, [0, 1], [1, .infinity], [0], dimension: 2)
        }
        refused("dimension is 0") { _ = try retrieve(rows, [0, 1], rows, [0, 1], dimension: 0) }
        refused("m is 0") { _ = try retrieve(rows, [0, 1], [], [], dimension: 2) }
    }
}
