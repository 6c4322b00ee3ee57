#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif
import CMachine
import Synchronization

/// The threads that help with parallel loops, started when the first loop wants them and kept.
///
/// The system may refuse a thread, a descriptor or memory at any moment: a loop then goes on with the threads there
/// are, at least the caller's own. Nothing here needs a file descriptor. Signals are left to the program's own threads.
/// A forked child, which has only the thread that forked, starts a pool of its own.
final class ThreadPool: @unchecked Sendable {
    /// A loop that threads work on.
    private final class Job {
        let iterations: Int
        /// Threads besides the caller's that may join.
        let places: Int
        var body: ((_ iteration: Int) -> Void)?
        let cancellation = Cancellation.current
        /// The first iteration is the caller's.
        let next = Atomic<Int>(1)
        /// Threads that have joined, and those of them still at work. Changed under the pool's lock.
        var joined = 0
        let active = Atomic<Int>(0)

        init(_ iterations: Int, places: Int, _ body: @escaping (Int) -> Void) {
            self.iterations = iterations
            self.places = places
            self.body = body
        }

        var hasRoom: Bool { joined < places && next.load(ordering: .relaxed) < iterations }

        /// What the caller does: always the same iteration first, so that it comes upon its own data again.
        @inline(never)
        func lead() {
            if iterations > 0 { body?(0) }
            work()
        }

        /// Takes iterations until none is left. The body is let go when this returns.
        @inline(never)
        func work() {
            guard let body else { return }
            while true {
                let iteration = next.wrappingAdd(1, ordering: .relaxed).oldValue
                if iteration >= iterations { return }
                body(iteration)
            }
        }
    }

    /// Stack of a thread, in bytes. Kernels keep tiles of some hundred kilobytes there at most.
    private static let stackSize = 2 << 20
    /// How often a thread without work looks for some before it goes to sleep, about 30 microseconds: waking it takes
    /// as long.
    private static let patience = 1000

    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    /// The last thread has left a job.
    private let left = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs: [Job] = []
    private var threads = 0
    /// Those without work, the one that went to sleep last at the end.
    private var asleep: [SleepingThread] = []
    /// Jobs ever posted, for threads that look for work.
    private let postings = Atomic<Int>(0)
    /// Threads besides the callers'. One processor is the caller's.
    private let most: Int

    private init() {
        pthread_mutex_init(lock, nil)
        pthread_cond_init(left, nil)
        most = max(0, min(ThreadCount.processors, ThreadCount.most) - 1)
        rehearse()
    }

    /// Goes the way of a loop with nobody to help and without work: what Swift's runtime makes for it is then there
    /// before there are threads that could make it while the process is forked.
    private func rehearse() {
        let job = Job(0, places: 0) { _ in }
        post(job)
        job.lead()
        retire(job)
        _ = SleepingThread()
    }

    // MARK: The pool of the process

    /// An unmanaged pool, nil before the first use and in a forked child.
    private static let instance = Atomic<UnsafeMutableRawPointer?>(nil)

    private static let forgetsOnFork: Bool = {
        // The child's copy of the lock may be held by a thread that is not there: a new pool is the only safe one.
        pthread_atfork(nil, nil) { ThreadPool.instance.store(nil, ordering: .relaxed) } == 0
    }()

    static var shared: ThreadPool {
        if let pointer = instance.load(ordering: .acquiring) {
            return Unmanaged<ThreadPool>.fromOpaque(pointer).takeUnretainedValue()
        }
        _ = forgetsOnFork
        let fresh = Unmanaged.passRetained(ThreadPool())
        let (exchanged, present) = instance.compareExchange(
            expected: nil, desired: fresh.toOpaque(), ordering: .acquiringAndReleasing)
        if exchanged { return fresh.takeUnretainedValue() }
        // Another thread was faster.
        fresh.release()
        return Unmanaged<ThreadPool>.fromOpaque(present!).takeUnretainedValue()
    }

    deinit {
        pthread_mutex_destroy(lock)
        pthread_cond_destroy(left)
        lock.deallocate()
        left.deallocate()
    }

    /// Threads that can be at work on one loop at the same time, the caller's included.
    static var width: Int { shared.most + 1 }

    // MARK: Loops

    /// Calls `body(iteration)` once for each iteration in `0 ..< iterations`, on up to `width` threads, in any order,
    /// and returns when all calls have returned. Nothing may rely on two iterations running at the same time.
    func run(_ iterations: Int, _ body: (_ iteration: Int) -> Void) {
        let places = min(iterations - 1, most)
        if places < 1 {
            for iteration in 0..<max(iterations, 0) { body(iteration) }
            return
        }
        withoutActuallyEscaping(body) { body in
            let job = Job(iterations, places: places, body)
            post(job)
            job.lead()
            retire(job)
        }
    }

    private func post(_ job: Job) {
        pthread_mutex_lock(lock)
        jobs.append(job)
        postings.wrappingAdd(1, ordering: .releasing)
        // Threads that are awake find the job by themselves; one thread more than needed does no harm.
        while threads < min(job.places, most), start() {}
        let woken = Array(asleep.suffix(job.places))
        asleep.removeLast(woken.count)
        let places = !woken.isEmpty && woken.count <= SleepingThread.mostPlaced
        let processor = places ? carl_this_processor() : -1
        for thread in woken { thread.want(notOn: processor) }
        pthread_mutex_unlock(lock)
        for thread in woken { thread.wake() }
    }

    /// Waits for the threads that have joined, and lets no other one join.
    private func retire(_ job: Job) {
        var rounds = 0
        while job.active.load(ordering: .acquiring) > 0, rounds < Self.patience {
            carl_pause()
            rounds &+= 1
        }
        pthread_mutex_lock(lock)
        jobs.removeAll { $0 === job }
        while job.active.load(ordering: .acquiring) > 0 { pthread_cond_wait(left, lock) }
        job.body = nil
        pthread_mutex_unlock(lock)
    }

    // MARK: Threads

    /// Starts a thread; false when the system refuses. The lock is held.
    private func start() -> Bool {
        var attributes = pthread_attr_t()
        guard pthread_attr_init(&attributes) == 0 else { return false }
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        pthread_attr_setstacksize(&attributes, Self.stackSize)
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        // The new thread inherits the mask: signals are for the program's own threads.
        pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        #if canImport(Glibc)
            var thread = pthread_t()
            let begin: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { pool in
                if let pool { Unmanaged<ThreadPool>.fromOpaque(pool).takeUnretainedValue().serve() }
                return nil
            }
        #else
            var thread: pthread_t?
            let begin: @convention(c) (UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? = { pool in
                Unmanaged<ThreadPool>.fromOpaque(pool).takeUnretainedValue().serve()
                return nil
            }
        #endif
        guard pthread_create(&thread, &attributes, begin, Unmanaged.passUnretained(self).toOpaque()) == 0 else {
            return false
        }
        threads += 1
        return true
    }

    /// A thread's life. Its floating-point environment is none of the thread's that happened to start it.
    private func serve() {
        carl_set_standard_float_environment()
        let own = SleepingThread()
        pthread_mutex_lock(lock)
        while true {
            if let job = jobs.first(where: \.hasRoom) {
                job.joined += 1
                job.active.wrappingAdd(1, ordering: .relaxed)
                pthread_mutex_unlock(lock)
                Cancellation.current = job.cancellation
                job.work()
                Cancellation.current = nil
                pthread_mutex_lock(lock)
                if job.active.wrappingSubtract(1, ordering: .releasing).newValue == 0 { pthread_cond_broadcast(left) }
                continue
            }
            let seen = postings.load(ordering: .relaxed)
            pthread_mutex_unlock(lock)
            var rounds = 0
            while postings.load(ordering: .relaxed) == seen, rounds < Self.patience {
                carl_pause()
                rounds &+= 1
            }
            let isIdle = postings.load(ordering: .relaxed) == seen
            if isIdle { own.end() }
            pthread_mutex_lock(lock)
            if !isIdle || postings.load(ordering: .relaxed) != seen { continue }
            asleep.append(own)
            own.sleep(lock)
            pthread_mutex_unlock(lock)
            own.begin()
            pthread_mutex_lock(lock)
        }
    }
}
