import CMachine
import Testing

@testable import CARL

@Suite struct WorkerRangesTests {
    /// A worker takes its own range in order, each item with the one behind it, then what nobody has taken.
    @Test(arguments: [[7, 0, 5], [1], [3, 8, 2, 1]], [1, 3, 5])
    func ownRangesComeFirst(_ counts: [Int], _ workers: Int) {
        let ranges = WorkerRanges(counts, workers: workers)
        for phase in counts.indices {
            let worker = phase % workers
            let own = Compute.share(counts[phase], worker, of: workers)
            var (items, following): ([Int], [Int?]) = ([], [])
            ranges.forEach(phase, worker: worker) { item, next in
                items.append(item)
                following.append(next)
            }
            #expect(Array(items.prefix(own.count)) == Array(own) && items.sorted() == Array(0..<counts[phase]))
            #expect(Array(following.prefix(own.count)) == own.map { $0 + 1 < own.upperBound ? $0 + 1 : nil })
            #expect(following.dropFirst(own.count).allSatisfy { $0 == nil })
            for other in 0..<workers {
                ranges.forEach(phase, worker: other) { item, _ in Issue.record("item \(item) was taken twice") }
            }
        }
    }

    /// The caller's thread has the first range of every loop.
    @Test func theCallerBeginsWithTheFirstItem() throws {
        let compute = try Compute(threads: 2)
        for _ in 0..<200 {
            let caller = carl_this_thread()
            var first: [Int] = []
            compute.parallel(8) { item, _ in
                if carl_this_thread() == caller, first.isEmpty { first.append(item) }
            }
            #expect(first == [0])
        }
    }
}
