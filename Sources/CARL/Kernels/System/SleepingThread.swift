#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif
import CMachine

/// Where a thread of the pool sleeps until a loop wants it, and on which processor it then begins.
///
/// A system that wakes a thread may put it on the processor of the thread that woke it, although another one is idle:
/// Linux as the guest of a virtual machine takes an idle virtual processor for one that the host has taken away. There
/// it would wait for the caller, which is at work on the same loop, until the system balances its processors, some
/// milliseconds later. So the caller takes its own processor out of the sleeping thread's before it wakes it, and the
/// thread puts it back at once. Where the other processors are busy with other programs that does harm: there the
/// thread gets its turn, takes a part of the loop, and has to make way with it half done. When that has happened twice
/// running, the system chooses for a while.
final class SleepingThread {
    /// How many threads a loop places at most. Each takes about a microsecond of the caller's time; and with so many
    /// processors awake one thread more or less matters little.
    static let mostPlaced = 8

    /// How long the system chooses once placing has done harm, in seconds.
    static let restraint = 2.0

    private let wanted = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var isWanted = false
    let thread = carl_this_thread()
    /// What `thread` may run on, while its caller's processor is not among it.
    private var processors: carl_processor_set?
    /// Preemptions before the work it was last woken for, if it was placed for that.
    private var preemptions: Int?
    /// Works running for which it was placed and that were preempted.
    private var harms = 0
    /// Seconds of the monotonic clock before which it is not placed.
    private var leftAlone = 0.0

    /// Made by the thread itself.
    init() { pthread_cond_init(wanted, nil) }

    deinit {
        pthread_cond_destroy(wanted)
        wanted.deallocate()
    }

    /// Sleeps until it is wanted. The lock is held.
    func sleep(_ lock: UnsafeMutablePointer<pthread_mutex_t>) {
        while !isWanted { pthread_cond_wait(wanted, lock) }
        isWanted = false
    }

    /// Before `wake`, with the lock held.
    ///
    /// - Parameter processor: the caller's, which the thread does not begin on if it may use another one; -1 for any.
    func want(notOn processor: Int32, now: Double = monotonicSeconds()) {
        if processor >= 0, now >= leftAlone { keepOff(processor) }
        isWanted = true
    }

    /// Without the lock, which the thread wants next.
    func wake() { pthread_cond_signal(wanted) }

    /// By the thread itself when it has slept, without the lock: it may run where it could before.
    func begin() {
        preemptions = nil
        guard var allowed = processors else { return }
        processors = nil
        _ = carl_set_processors(thread, &allowed)
        preemptions = carl_preemptions()
    }

    /// By the thread itself when it has no more work, without the lock.
    func end() {
        guard let before = preemptions else { return }
        preemptions = nil
        note(preempted: carl_preemptions() > before)
    }

    /// Whether a work that the thread was placed for was preempted.
    func note(preempted: Bool, now: Double = monotonicSeconds()) {
        harms = preempted ? harms + 1 : 0
        if harms < 2 { return }
        harms = 0
        leftAlone = now + Self.restraint
    }

    private func keepOff(_ processor: Int32) {
        var allowed = carl_processor_set()
        guard carl_get_processors(thread, &allowed) != 0 else { return }
        var others = allowed
        Self.remove(processor, from: &others)
        // The system refuses a set without a processor that it lets the thread run on.
        if carl_set_processors(thread, &others) != 0 { processors = allowed }
    }

    static func remove(_ processor: Int32, from set: inout carl_processor_set) {
        let bits = UInt32(UInt.bitWidth)
        withUnsafeMutableBytes(of: &set.words) { bytes in
            let words = bytes.bindMemory(to: UInt.self)
            let word = Int(UInt32(processor) / bits)
            if word < words.count { words[word] &= ~(1 << (UInt32(processor) % bits)) }
        }
    }
}
