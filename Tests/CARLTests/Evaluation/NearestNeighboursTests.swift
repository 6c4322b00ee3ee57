import Testing

@testable import CARL

private struct Found: Equatable {
    var neighbours: [Int64]
    var similarities: [Float]
}

private func search(_ references: [Float], _ queries: [Float], dimension: Int, k: Int, threads: Int = 2) throws -> Found
{
    let n = references.count / dimension
    let m = queries.count / dimension
    var found = Found(
        neighbours: .init(repeating: -1, count: m * max(k, 0)),
        similarities: .init(repeating: .nan, count: m * max(k, 0)))
    try NearestNeighbours.search(
        references: references, n: n, queries: queries, m: m, dimension: dimension, k: k, neighbours: &found.neighbours,
        similarities: &found.similarities, compute: try Compute(threads: threads))
    return found
}

private func normal(_ count: Int, seed: UInt64) -> [Float] {
    var stream = RandomStream(seed: seed, purpose: .order)
    return (0..<count).map { _ in stream.normal() }
}

/// Cosine similarity of two rows in Float64, 0 where one is zero.
private func cosine(_ a: ArraySlice<Float>, _ b: ArraySlice<Float>) -> Double {
    var (ab, aa, bb) = (0.0, 0.0, 0.0)
    for (x, y) in zip(a, b) {
        ab += Double(x) * Double(y)
        aa += Double(x) * Double(x)
        bb += Double(y) * Double(y)
    }
    return aa == 0 || bb == 0 ? 0 : ab / (aa.squareRoot() * bb.squareRoot())
}

@Suite struct NearestNeighboursTests {
    @Test(arguments: [
        (1, 1, 1, 1), (5, 3, 2, 5), (17, 7, 3, 1), (300, 40, 33, 7), (1000, 13, 64, 1000), (2500, 530, 5, 64),
        (700, 1, 513, 300), (40, 1100, 1, 3),
        (3, 2, 70_000, 2),
    ])
    func agreesWithFloat64(n: Int, m: Int, dimension: Int, k: Int) throws {
        let references = normal(n * dimension, seed: 1)
        let queries = normal(m * dimension, seed: 2)
        let found = try search(references, queries, dimension: dimension, k: k)
        for query in Set([0, m / 2, m - 1]) {
            let row = queries[query * dimension..<(query + 1) * dimension]
            let exact = (0..<n).map { cosine(row, references[$0 * dimension..<($0 + 1) * dimension]) }
            let best = exact.sorted(by: >)
            let neighbours = found.neighbours[query * k..<(query + 1) * k].map { Int($0) }
            let similarities = Array(found.similarities[query * k..<(query + 1) * k])
            #expect(Set(neighbours).count == k)
            for i in 0..<k {
                #expect(abs(Double(similarities[i]) - exact[neighbours[i]]) < 1e-6)
                #expect(abs(Double(similarities[i]) - best[i]) < 1e-6)
                if i > 0 {
                    #expect(
                        similarities[i - 1] > similarities[i]
                            || (similarities[i - 1] == similarities[i] && neighbours[i - 1] < neighbours[i]))
                }
            }
        }
    }

    /// Copies of a few rows, doubled or halved at random, at every place of the panels and tiles: copies are equal, bit
    /// for bit, and come in order of index.
    @Test func equalRowsComeInOrderOfIndex() throws {
        let (n, dimension, kinds) = (3000, 37, 5)
        let rows = normal(kinds * dimension, seed: 3)
        var stream = RandomStream(seed: 4, purpose: .order)
        var kind: [Int] = []
        var references: [Float] = []
        for _ in 0..<n {
            kind.append(stream.below(kinds))
            let scale: Float = [1, 2, 0.5, 0x1p90, 0x1p-90][stream.below(5)]
            references += rows[kind.last! * dimension..<(kind.last! + 1) * dimension].map { $0 * scale }
        }
        let queries = normal(70 * dimension, seed: 5)
        let found = try search(references, queries, dimension: dimension, k: n)
        for query in 0..<70 {
            let neighbours = found.neighbours[query * n..<(query + 1) * n].map { Int($0) }
            let order = (0..<kinds).sorted { a, b in
                let row = queries[query * dimension..<(query + 1) * dimension]
                return cosine(row, rows[a * dimension..<(a + 1) * dimension])
                    > cosine(row, rows[b * dimension..<(b + 1) * dimension])
            }
            #expect(neighbours == order.flatMap { wanted in (0..<n).filter { kind[$0] == wanted } })
        }
    }

    @Test func theSameForAnyNumberOfThreadsAndBatch() throws {
        let (n, m, dimension, k) = (5000, 1300, 24, 50)
        let references = normal(n * dimension, seed: 6)
        let queries = normal(m * dimension, seed: 7)
        let expected = try search(references, queries, dimension: dimension, k: k, threads: 1)
        for threads in [2, 3, 7] {
            #expect(try search(references, queries, dimension: dimension, k: k, threads: threads) == expected)
        }
        // few queries: the references are shared among the threads
        for (first, count, threads) in [(0, 1, 2), (640, 3, 4), (1290, 10, 8)] {
            let some = try search(
                references, Array(queries[first * dimension..<(first + count) * dimension]), dimension: dimension, k: k,
                threads: threads)
            #expect(some.neighbours == Array(expected.neighbours[first * k..<(first + count) * k]))
            #expect(some.similarities == Array(expected.similarities[first * k..<(first + count) * k]))
        }
        let all = try search(references, Array(queries[..<dimension]), dimension: dimension, k: n, threads: 4)
        #expect(Array(all.neighbours[..<k]) == Array(expected.neighbours[..<k]))
        #expect(Set(all.neighbours) == Set((0..<n).map { Int64($0) }))
    }

    @Test func zerosSignsAndExtremes() throws {
        // a row of zeros is as far as an orthogonal one, whichever sign its zero product has
        let found = try search([-1, 0, 0, 0, 0, 1, 0, -1, 1, 0], [1, 0, -2, 0, 0, 0], dimension: 2, k: 5)
        #expect(found.neighbours == [4, 1, 2, 3, 0, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
        #expect(found.similarities == [1, 0, 0, 0, -1, 1, 0, 0, 0, -1, 0, 0, 0, 0, 0])
        // neither squares nor norms overflow or vanish
        let (tiny, huge) = (Float.leastNonzeroMagnitude, Float.greatestFiniteMagnitude)
        let extremes = try search(
            [tiny, tiny, huge, -huge, 0, huge, -tiny, 0], [huge, huge, tiny, 0], dimension: 2, k: 4)
        #expect(extremes.neighbours == [0, 2, 1, 3, 0, 1, 2, 3])
        for (value, expected) in zip(
            extremes.similarities,
            [1, 0.5.squareRoot(), 0, -(0.5.squareRoot()), 0.5.squareRoot(), 0.5.squareRoot(), 0, -1])
        {
            #expect(abs(Double(value) - expected) < 1e-6)
        }
        // rounding takes no similarity out of [-1, 1]
        let rows = normal(500 * 7, seed: 8)
        let same = try search(rows + rows.map { -$0 }, rows, dimension: 7, k: 1000)
        #expect(same.similarities.allSatisfy { $0 >= -1 && $0 <= 1 })
        for query in 0..<500 {
            #expect(same.similarities[query * 1000] > 0.999_999 && same.similarities[query * 1000 + 999] < -0.999_999)
        }
    }

    /// Every reference is better than all before it, so each becomes a candidate; then the reverse.
    @Test func orderOfReferencesDoesNotMatter() throws {
        let n = 20_000
        let rising = (0..<n).flatMap { [Float($0), Float(n)] }
        let found = try search(rising, [1, 0], dimension: 2, k: 100)
        #expect(found.neighbours == (0..<100).map { Int64(n - 1 - $0) })
        let falling = (0..<n).flatMap { [Float(n - $0), Float(n)] }
        #expect(try search(falling, [1, 0], dimension: 2, k: 100).neighbours == (0..<100).map { Int64($0) })
    }

    @Test func selectionOfTheLargestKeys() {
        var stream = RandomStream(seed: 9, purpose: .order)
        for count in [1, 2, 15, 16, 17, 100, 999] {
            for pattern in 0..<4 {
                let keys: [UInt64] = (0..<count).map { i in
                    switch pattern {
                    case 0: UInt64(stream.next())
                    case 1: UInt64(i)
                    case 2: UInt64(count - i)
                    default: UInt64(i % 2 == 0 ? i : count - i) << 8 | UInt64(i & 255)
                    }
                }
                for k in Set([1, 2, count / 2, count - 1, count]) where k > 0 && k <= count {
                    var selected = keys
                    selected.withUnsafeMutableBufferPointer {
                        CandidateSelection.selectLargest($0.baseAddress!, count, k)
                    }
                    let expected = keys.sorted(by: >)
                    #expect(selected[k - 1] == expected[k - 1])
                    #expect(selected[..<k].sorted(by: >) == Array(expected[..<k]))
                }
            }
        }
        let values: [Float] = [-1, -0.5, -.leastNonzeroMagnitude, 0, .leastNonzeroMagnitude, 0.25, 1]
        for i in 0..<values.count {
            #expect(CandidateSelection.similarity(CandidateSelection.key(values[i], 7)) == values[i])
            #expect(CandidateSelection.index(CandidateSelection.key(values[i], 4_294_967_294)) == 4_294_967_294)
            if i > 0 { #expect(CandidateSelection.key(values[i], 9) > CandidateSelection.key(values[i - 1], 0)) }
            #expect(CandidateSelection.key(values[i], 3) > CandidateSelection.key(values[i], 4))
        }
    }

    @Test func refusesBadArguments() throws {
        let rows: [Float] = [1, 0, 0, 1]
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
        let compute = try Compute(threads: 2)
        func run(n: Int = 2, m: Int = 2, dimension: Int = 2, k: Int = 1) throws {
            try NearestNeighbours.search(
                references: rows, n: n, queries: rows, m: m, dimension: dimension, k: k, neighbours: nil,
                similarities: nil, compute: compute)
        }
        try run()
        refused("k is 3, but there are only 2 references") { try run(k: 3) }
        refused("k is 0") { try run(k: 0) }
        refused("n is -1") { try run(n: -1) }
        refused("m is 0") { try run(m: 0) }
        refused("dimension is 0") { try run(dimension: 0) }
        refused("dimension is \(Int.max)") { try run(dimension: .max) }
        refused("n is \(Int.max)") { try run(n: .max) }
        refused("queries with \(Int.max) x 2") { try run(m: .max) }
        for (bad, name) in [(Float.nan, "nan"), (.infinity, "inf"), (-.infinity, "-inf")] {
            var broken = normal(3000 * 9, seed: 10)
            broken[2100 * 9 + 4] = bad
            broken[2500 * 9] = bad
            refused("row 2100 of references is not finite: column 4 is \(name)") {
                _ = try search(broken, [1, 2, 3, 4, 5, 6, 7, 8, 9], dimension: 9, k: 1)
            }
            refused("row 2100 of queries is not finite: column 4 is \(name)") {
                _ = try search([1, 2, 3, 4, 5, 6, 7, 8, 9], broken, dimension: 9, k: 1)
            }
        }
        var predicted: [Int64] = [-1, -1]
        func classify(_ labels: [Int64], classes: Int = 2, temperature: Double = 0.1) throws {
            try NearestNeighbours.classify(
                references: rows, labels: labels, n: 2, queries: rows, m: 2, dimension: 2, classes: classes, ks: [1],
                temperature: temperature,
                predicted: &predicted, compute: compute)
        }
        try classify([1, 0])
        #expect(predicted == [1, 0])
        refused("labels[1]: got 2, want 0 to 1 (there are 2 classes)") { try classify([0, 2]) }
        refused("labels[0]: got -1") { try classify([-1, 0]) }
        refused("classes is 0") { try classify([0, 0], classes: 0) }
        refused("temperature is -1.0") { try classify([0, 0], temperature: -1) }
        refused("temperature is nan") { try classify([0, 0], temperature: .nan) }
        try classify([.max - 1, 0], classes: .max)
        #expect(predicted == [.max - 1, 0])
    }

    @Test(arguments: [0, 0.07, 1, 1e-300, 1e300])
    func classifiesByWeightedVote(temperature: Double) throws {
        let (n, m, dimension, classes, k) = (600, 90, 6, 4, 21)
        var stream = RandomStream(seed: 11, purpose: .order)
        let labels = (0..<n).map { _ in Int64(stream.below(classes)) }
        let references = normal(n * dimension, seed: 12)
        let queries = normal(m * dimension, seed: 13)
        let found = try search(references, queries, dimension: dimension, k: k)
        var predicted = [Int64](repeating: -1, count: m)
        try NearestNeighbours.classify(
            references: references, labels: labels, n: n, queries: queries, m: m, dimension: dimension,
            classes: classes, ks: [k],
            temperature: temperature, predicted: &predicted, compute: try Compute(threads: 3))
        for query in 0..<m {
            var votes = [Double](repeating: 0, count: classes)
            for i in query * k..<(query + 1) * k {
                let distance = Double(found.similarities[i] - found.similarities[query * k])
                votes[Int(labels[Int(found.neighbours[i])])] +=
                    temperature == 0 ? 1 : exponential(distance / temperature)
            }
            #expect(predicted[query] == Int64(votes.firstIndex(of: votes.max()!)!))
        }
    }

    /// Several numbers of neighbours in one search vote as each does in a search of its own.
    @Test func severalNumbersOfNeighboursAtOnce() throws {
        let (n, m, dimension, classes) = (700, 60, 5, 7)
        var stream = RandomStream(seed: 14, purpose: .order)
        let labels = (0..<n).map { _ in Int64(stream.below(classes)) }
        let references = normal(n * dimension, seed: 15)
        let queries = normal(m * dimension, seed: 16)
        func classify(_ ks: [Int]) throws -> [Int64] {
            var predicted = [Int64](repeating: -1, count: ks.count * m)
            try NearestNeighbours.classify(
                references: references, labels: labels, n: n, queries: queries, m: m, dimension: dimension,
                classes: classes, ks: ks,
                temperature: 0.07, predicted: &predicted, compute: try Compute(threads: 2))
            return predicted
        }
        let ks = [20, 1, n, 200, 1]
        #expect(try classify(ks) == ks.flatMap { try classify([$0]) })
        #expect(throws: CARLError.self) { _ = try classify([]) }
        #expect(throws: CARLError.self) { _ = try classify([3, n + 1]) }
    }

    @Test func equalVotesGoToTheSmallerLabel() throws {
        let references: [Float] = [1, 0, 1, 0, 1, 0, 1, 0]
        for (labels, expected): ([Int64], Int64) in [([9, 4, 4, 9], 4), ([4, 9, 9, 4], 4), ([7, 9, 9, 4], 9)] {
            for temperature in [0, 0.07] {
                var predicted: [Int64] = [-1]
                try NearestNeighbours.classify(
                    references: references, labels: labels, n: 4, queries: [1, 1], m: 1, dimension: 2, classes: 10,
                    ks: [4], temperature: temperature,
                    predicted: &predicted, compute: try Compute(threads: 1))
                #expect(predicted == [expected])
            }
        }
    }
}
