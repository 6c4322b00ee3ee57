import Synchronization

/// Items of a parallel loop, or of the phases of one: a contiguous range of each phase for each worker, which goes
/// through its own and then through what others have left.
///
/// So a worker has the same share in each layer and each call, and reads filters and maps that are in its own caches
/// since it read or wrote them before. Processors that share no cache would otherwise take them from one another.
struct WorkerRanges: ~Copyable {
    private let counts: [Int]
    private let workers: Int
    /// The next item of each range, a cache line apart.
    private let next: UnsafeMutablePointer<Atomic<Int>>

    /// Values of a cache line.
    private static let line = 8

    /// - Parameter counts: items of each phase.
    init(_ counts: [Int], workers: Int) {
        (self.counts, self.workers) = (counts, workers)
        next = .allocate(capacity: counts.count * workers * Self.line)
        for phase in 0..<counts.count {
            for range in 0..<workers {
                (next + place(phase, range)).initialize(to: Atomic(share(phase, range).lowerBound))
            }
        }
    }

    // An atomic number needs no clean-up.
    deinit { next.deallocate() }

    private func place(_ phase: Int, _ range: Int) -> Int { (phase &* workers &+ range) &* Self.line }

    private func share(_ phase: Int, _ range: Int) -> Range<Int> { Compute.share(counts[phase], range, of: workers) }

    /// Calls `body` with items of a phase until all are taken, and with the item that the worker most likely takes
    /// afterwards, if any.
    @inline(__always)
    func forEach(_ phase: Int = 0, worker: Int, _ body: (_ item: Int, _ next: Int?) -> Void) {
        for i in 0..<workers {
            let range = (worker + i) % workers
            let end = share(phase, range).upperBound
            while true {
                let item = next[place(phase, range)].wrappingAdd(1, ordering: .relaxed).oldValue
                if item >= end { break }
                body(item, i == 0 && item + 1 < end ? item + 1 : nil)
            }
        }
    }
}
