#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif
import Synchronization

/// Where and with what a computation runs: the number of threads, the memory it reuses, and each thread's scratch.
///
/// Every trainer or encoder owns one, so two of them may work in two threads at once. One `Compute` serves one caller
/// at a time.
public final class Compute {
    /// Threads that work is divided among, 1 ... 1024.
    public let threads: Int
    /// What operands of products are rounded to; never `.auto`, but what that came to on this processor.
    public let precision: Precision
    /// What layers' products may have as operands: see `format`.
    let products: ProductFormat
    /// Memory of activations and kernels, kept from call to call.
    public let workspace = Workspace()
    /// When set, layers add the time they take to it.
    public var profile: Profile?
    /// When set, what layers derive from weights alone is kept from call to call: for weights that do not change.
    var prepackedFilters: PrepackedBuffers?
    private var scratch: [FloatBuffer?]
    /// Each worker's packed operands of a matrix product.
    let packing: [FloatBuffer]
    /// For loops whose workers compute by themselves, see `alone`.
    private var single: [Compute] = []

    /// Workers that are really at work at the same time in `parallel`: no more than there are threads in the pool.
    let workers: Int

    /// - Parameter threads: threads to use, at most 1024; 0 means `ThreadCount.available`.
    /// - Throws: `CARLError.outOfMemory`; `CARLError.invalidArgument` for another number of threads;
    ///   `CARLError.configuration` when the processor cannot compute with `precision`.
    public init(threads: Int = 0, precision: Precision = .float32) throws {
        guard (0...ThreadCount.most).contains(threads) else {
            throw CARLError.invalidArgument("threads: got \(threads), want 0 to \(ThreadCount.most)")
        }
        self.precision = precision.resolved
        products = try precision.products()
        self.threads = threads > 0 ? threads : ThreadCount.available
        workers = min(self.threads, ThreadPool.width)
        scratch = Array(repeating: nil, count: self.threads)
        packing = try (0..<workers).map { _ in try FloatBuffer(MatrixProduct.packingCount, zeroed: false) }
    }

    /// For a model whose weights stay as they are: what is derived from them is computed once.
    static func forFixedWeights(threads: Int, precision: Precision) throws -> Compute {
        let compute = try Compute(threads: threads, precision: precision)
        compute.prepackedFilters = PrepackedBuffers()
        return compute
    }

    /// A single-threaded `Compute` for each of `count` workers that run at the same time. Kept from call to call.
    func alone(_ count: Int) throws -> [Compute] {
        while single.count < count { single.append(try Compute(threads: 1, precision: precision)) }
        return single
    }

    /// Runs a call that may fail half way: memory it took and did not give back is let go, and so is what it kept of
    /// the weights.
    ///
    /// - Parameter whole: the body itself sees to it that it is carried out whole or not at all, as a training step is.
    ///   Otherwise a cancellation that comes before the end counts: what was skipped must not pass for a result.
    public func call<Result>(whole: Bool = false, _ body: () throws -> Result) throws -> Result {
        do {
            let result = try body()
            if !whole { try Cancellation.check() }
            return result
        } catch {
            workspace.abandon()
            prepackedFilters?.clear()
            throw error
        }
    }

    /// Runs `body(item, worker)` for every item in `0 ..< count`: every worker goes through a range of items of its
    /// own, then through what others have left. Once the call is cancelled, items that have not begun are left out
    /// (see `Cancellation`).
    ///
    /// Results must not depend on which worker takes an item; `worker` in `0 ..< workers` only selects scratch memory.
    public func parallel(_ count: Int, _ body: (_ item: Int, _ worker: Int) -> Void) {
        let workers = min(workers, count)
        if workers <= 1 {
            for item in 0..<max(count, 0) {
                if Cancellation.isRequested { return }
                body(item, 0)
            }
            return
        }
        let ranges = WorkerRanges([count], workers: workers)
        ThreadPool.shared.run(workers) { worker in
            ranges.forEach(worker: worker) { item, _ in if !Cancellation.isRequested { body(item, worker) } }
        }
    }

    /// As `parallel`, telling `body` which item its worker most likely takes afterwards, if any, so that memory for it
    /// can be prefetched.
    public func parallelAhead(_ count: Int, _ body: (_ item: Int, _ next: Int?, _ worker: Int) -> Void) {
        let workers = min(workers, count)
        if workers < 1 { return }
        let ranges = WorkerRanges([count], workers: workers)
        ThreadPool.shared.run(workers) { worker in
            ranges.forEach(worker: worker) { item, next in
                if !Cancellation.isRequested { body(item, next, worker) }
            }
        }
    }

    /// Runs `body(phase, item, worker)` for every item of every phase; an item begins when all items of the phases
    /// before are done.
    ///
    /// One call for many phases spares waking threads for each: a thread that runs out of items waits, awake, for those
    /// that other threads are at. It never waits for a thread that has not begun.
    public func parallelPhases(_ counts: [Int], _ body: (_ phase: Int, _ item: Int, _ worker: Int) -> Void) {
        let workers = min(workers, counts.max() ?? 0)
        let ranges = WorkerRanges(counts, workers: workers)
        let done = Atomic<Int>(0)
        parallel(workers) { worker, _ in
            var before = 0
            for phase in 0..<counts.count {
                // All of these are taken, by threads that have begun.
                Self.wait { done.load(ordering: .acquiring) >= before }
                ranges.forEach(phase, worker: worker) { item, _ in
                    // Items are counted even where they are left out, so that nobody waits for one.
                    if !Cancellation.isRequested { body(phase, item, worker) }
                    done.wrappingAdd(1, ordering: .releasing)
                }
                before += counts[phase]
            }
        }
    }

    /// Waits, awake for some microseconds and then letting other threads go first.
    private static func wait(_ condition: () -> Bool) {
        var rounds = 0
        while !condition() {
            rounds &+= 1
            if rounds > 10_000 { sched_yield() }
        }
    }

    /// Runs `body(worker, range)` once per worker over contiguous, nearly equal parts of `0 ..< count`, none smaller
    /// than `grain` (but for the last). The split depends on `threads` alone, so sums kept per worker are reproducible.
    /// Cancelled as in `parallel`; a long body looks by itself.
    public func parallelRanges(_ count: Int, grain: Int = 1, _ body: (_ worker: Int, _ range: Range<Int>) -> Void) {
        let parts = max(1, min(threads, count / max(grain, 1)))
        if parts == 1 {
            if count > 0, !Cancellation.isRequested { body(0, 0..<count) }
            return
        }
        ThreadPool.shared.run(parts) { part in
            if !Cancellation.isRequested { body(part, Self.share(count, part, of: parts)) }
        }
    }

    /// Part `part` of `0 ..< count` cut into nearly equal parts.
    static func share(_ count: Int, _ part: Int, of parts: Int) -> Range<Int> {
        // count * part may overflow.
        let (size, rest) = count.quotientAndRemainder(dividingBy: parts)
        let first = part * size + rest * part / parts
        return first..<((part + 1) * size + rest * (part + 1) / parts)
    }

    /// At least `count` values of memory for each worker, kept from call to call. Call before the parallel loop.
    ///
    /// - Parameter users: how many; `threads` for the parts of `parallelRanges`, by default those that `parallel`
    ///   numbers.
    /// - Throws: `CARLError.outOfMemory`; `CARLError.invalidArgument` for other users than 0 ... `threads`.
    public func scratch(_ count: Int, for users: Int? = nil) throws -> [FloatPointer] {
        let users = users ?? workers
        guard (0...threads).contains(users) else {
            throw CARLError.invalidArgument("users: got \(users), want 0 to \(threads)")
        }
        return try (0..<users).map { user in
            if let known = scratch[user], known.count >= count { return known.base }
            scratch[user] = nil
            let fresh = try FloatBuffer(count, zeroed: false)
            scratch[user] = fresh
            return fresh.base
        }
    }

    /// Bytes of scratch and workspace held.
    public var bytes: Int { workspace.bytes + scratch.reduce(0) { $0 + ($1?.count ?? 0) * 4 } }
}
