import Foundation
import Synchronization
import Testing

@testable import CARL

struct ThreadPoolTests {
    @Test(arguments: [0, 1, 2, 3, 64, 1000]) func everyIterationRunsOnce(_ count: Int) {
        let counts = (0..<max(count, 1)).map { _ in Counter() }
        for _ in 0..<20 { ThreadPool.shared.run(count) { counts[$0].add() } }
        #expect(counts.prefix(count).allSatisfy { $0.value == 20 })
    }

    /// Loops of many threads at once, each of which must see its own results when its loop returns.
    @Test func servesSeveralCallers() {
        let wrong = Counter()
        let callers = (0..<6).map { caller in
            let thread = Thread {
                for round in 0..<300 {
                    var values = [Int](repeating: 0, count: 17)
                    values.withUnsafeMutableBufferPointer { values in
                        let base = values.baseAddress!
                        ThreadPool.shared.run(17) { base[$0] = $0 * caller + round }
                    }
                    if values != (0..<17).map({ $0 * caller + round }) { wrong.add() }
                }
            }
            thread.start()
            return thread
        }
        while callers.contains(where: { !$0.isFinished }) { usleep(1000) }
        #expect(wrong.value == 0)
    }

    @Test(arguments: [1, 3]) func loopsOfNothingAndScratchOfOthers(_ threads: Int) throws {
        let compute = try Compute(threads: threads)
        for count in [0, -1, Int.min] {
            compute.parallel(count) { _, _ in Issue.record("there was an item") }
            compute.parallelAhead(count) { _, _, _ in Issue.record("there was an item") }
            compute.parallelRanges(count) { _, _ in Issue.record("there was a range") }
        }
        for users in [-1, threads + 1, .max] {
            #expect(throws: CARLError.self) { try compute.scratch(4, for: users) }
        }
        #expect(try compute.scratch(4, for: threads).count == threads)
    }

    @Test func loopsWithinLoops() {
        let all = Counter()
        ThreadPool.shared.run(4) { _ in ThreadPool.shared.run(5) { _ in all.add() } }
        #expect(all.value == 20)
    }

    @Test func partsCoverEverythingOnce() {
        for count in [0, 1, 5, 16, 1001] {
            for parts in [1, 2, 3, 7, 1024] {
                var next = 0
                for part in 0..<parts {
                    let range = Compute.share(count, part, of: parts)
                    #expect(range.lowerBound == next && range.lowerBound == count * part / parts)
                    next = range.upperBound
                }
                #expect(next == count)
            }
        }
        #expect(Compute.share(Int.max, 1023, of: 1024).upperBound == Int.max)
    }

    final class Counter: Sendable {
        private let count = Atomic<Int>(0)
        func add() { count.wrappingAdd(1, ordering: .relaxed) }
        var value: Int { count.load(ordering: .relaxed) }
    }
}
