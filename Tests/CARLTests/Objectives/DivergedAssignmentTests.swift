import Testing

@testable import CARL

/// Embeddings that are not finite, as in a run that diverges: the loss says so, and no index leaves its array.
struct DivergedAssignmentTests {
    @Test(arguments: [1, 5, 7, 8, 9, 12, 16, 521], [0, 1, 4]) func indicesStayInside(prototypes: Int, blocks: Int) throws {
        let (batch, d) = (3, 2)
        let block = blocks == 0 ? 0 : max(1, prototypes / blocks)
        for value in [Float.nan, .infinity, -.infinity, 3e38, -3e38] {
            for bad in 0..<2 {
                var z = [[Float]](repeating: [Float](repeating: 0.5, count: batch * d), count: 2)
                var c = [Float](repeating: 0.25, count: prototypes * d)
                if bad == 0 { z[1][2] = value } else { c[prototypes / 2 * d] = value }
                let guards = 64
                var counters = [UInt32](repeating: 0xee, count: prototypes + 2 * guards)
                var options = AssignmentOptions()
                options.partitionSize = block
                options.normalizeEmbedding = false
                options.normalizePrototypes = false
                try counters.withUnsafeMutableBufferPointer { counters in
                    let votes = counters.baseAddress! + guards
                    votes.update(repeating: 0, count: prototypes)
                    try z[0].withUnsafeBufferPointer { a in
                        try z[1].withUnsafeBufferPointer { b in
                            try c.withUnsafeBufferPointer { c in
                                for limit in [0, 1 << 21] {
                                    var inputs = ConsistentAssignment.Inputs(
                                        embeddings: [a.baseAddress!, b.baseAddress!], batch: batch, dimension: d,
                                        prototypes: c.baseAddress!, prototypeCount: prototypes)
                                    inputs.votes = votes
                                    if block > 0 { inputs.partition = try RandomPartition(count: prototypes, blockSize: block, seed: 1) }
                                    _ = try ConsistentAssignment(options, Compute(threads: 2)).evaluate(inputs, wholeLimit: limit)
                                }
                            }
                        }
                    }
                }
                #expect(counters.prefix(guards).allSatisfy { $0 == 0xee } && counters.suffix(guards).allSatisfy { $0 == 0xee })
                // Both rows of each image vote in every block, and twice: once for each limit.
                let blocks = block > 0 ? prototypes / block : 1
                #expect(counters.dropFirst(guards).prefix(prototypes).reduce(0, +) == UInt32(2 * 2 * batch * blocks))
            }
        }
    }

    /// The place of the largest value is one of the row's, whatever the row and its padding hold.
    @Test func placesAreThoseOfPrototypes() {
        for count in 1...17 {
            let stride = AssignmentRows.stride(count)
            for filler in [Float.nan, -.infinity, .infinity, 1, -3e38] {
                var row = [Float](repeating: filler, count: count) + [Float](repeating: -.infinity, count: stride - count)
                for bad in [Float.nan, -.infinity, .infinity, 2] {
                    row[count - 1] = bad
                    let top = AssignmentRows.maximum(row, stride)
                    #expect((0..<count).contains(AssignmentRows.place(of: top, row, count, stride)))
                }
            }
        }
    }
}
