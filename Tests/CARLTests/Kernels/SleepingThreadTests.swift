#if os(Linux)
    import CMachine
    import Foundation
    import Testing

    @testable import CARL

    struct SleepingThreadTests {
        /// A thread that sleeps once, and what it may run on afterwards.
        private final class Sleeper: @unchecked Sendable {
            let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
            let ready = DispatchSemaphore(value: 0)
            let done = DispatchSemaphore(value: 0)
            var sleeping: SleepingThread!
            var afterwards: [Int] = []

            /// - Parameter processors: what it may run on; nil for what the system gave it.
            init(on processors: [Int]? = nil) {
                pthread_mutex_init(lock, nil)
                Thread { [self] in
                    sleeping = SleepingThread()
                    if let processors { SleepingThreadTests.allow(processors, sleeping.thread) }
                    pthread_mutex_lock(lock)
                    // Whoever has the lock afterwards finds it asleep.
                    ready.signal()
                    sleeping.sleep(lock)
                    pthread_mutex_unlock(lock)
                    sleeping.begin()
                    afterwards = SleepingThreadTests.allowed(sleeping.thread)
                    done.signal()
                }.start()
                ready.wait()
            }

            deinit {
                pthread_mutex_destroy(lock)
                lock.deallocate()
            }

            /// What it may run on just before it is woken.
            func wanted(notOn processor: Int, now: Double = 0) -> [Int] {
                pthread_mutex_lock(lock)
                sleeping.want(notOn: Int32(processor), now: now)
                let placed = SleepingThreadTests.allowed(sleeping.thread)
                pthread_mutex_unlock(lock)
                sleeping.wake()
                done.wait()
                return placed
            }
        }

        private static func allowed(_ thread: Int32) -> [Int] {
            var set = carl_processor_set()
            guard carl_get_processors(thread, &set) != 0 else { return [] }
            return withUnsafeBytes(of: &set.words) { bytes in
                (0..<bytes.count * 8).filter { bytes[$0 / 8] >> ($0 % 8) & 1 == 1 }
            }
        }

        private static func allow(_ processors: [Int], _ thread: Int32) {
            var set = carl_processor_set()
            withUnsafeMutableBytes(of: &set.words) { bytes in
                for processor in processors { bytes[processor / 8] |= 1 << (processor % 8) }
            }
            #expect(carl_set_processors(thread, &set) != 0)
        }

        @Test func beginsElsewhereAndMayRunEverywhereAgain() throws {
            let all = Self.allowed(carl_this_thread())
            try #require(all.contains(Int(carl_this_processor())))
            for processor in all {
                let sleeper = Sleeper()
                let others = all.filter { $0 != processor }
                #expect(sleeper.wanted(notOn: processor) == (others.isEmpty ? all : others))
                #expect(sleeper.afterwards == all)
            }
        }

        @Test func staysWhereItMayRunOnOneProcessorOnly() throws {
            let processor = try #require(Self.allowed(carl_this_thread()).last)
            let sleeper = Sleeper(on: [processor])
            #expect(sleeper.wanted(notOn: processor) == [processor])
            #expect(sleeper.afterwards == [processor])
        }

        /// Processors that the machine does not have, and the caller's unknown one.
        @Test(arguments: [-1, 1023, 1024, Int(Int32.max)]) func anyProcessor(_ processor: Int) {
            let all = Self.allowed(carl_this_thread())
            let sleeper = Sleeper()
            #expect(sleeper.wanted(notOn: processor) == all)
            #expect(sleeper.afterwards == all)
        }

        /// The answers to whether works were preempted, a second apart, and whether the thread is then placed.
        @Test(arguments: [
            ([true], 1.0, true), ([true, true], 1, false), ([true, true], SleepingThread.restraint + 1, true),
            ([true, false, true], 1, true), ([true, true, false], 0.5, false), ([false, false], 1, true),
        ]) func leavesTheSystemToChooseWhereThreadsAreInTheWay(_ preempted: [Bool], _ seconds: Double, _ placed: Bool)
            throws
        {
            let all = Self.allowed(carl_this_thread())
            let processor = try #require(all.last)
            let sleeper = Sleeper()
            for (second, answer) in preempted.enumerated() {
                sleeper.sleeping.note(preempted: answer, now: Double(second))
            }
            let others = all.filter { $0 != processor }
            let expected = placed && !others.isEmpty ? others : all
            let last = Double(preempted.count - 1)
            // The restraint begins with the second preempted work running.
            #expect(sleeper.wanted(notOn: processor, now: last + seconds) == expected)
        }

        @Test(arguments: [0, 1, 63, 64, 200, 1023, 1024, Int(Int32.max)]) func removesOne(_ processor: Int) {
            var set = carl_processor_set()
            withUnsafeMutableBytes(of: &set.words) { bytes in for i in bytes.indices { bytes[i] = 255 } }
            SleepingThread.remove(Int32(processor), from: &set)
            let left = withUnsafeBytes(of: &set.words) { bytes in
                (0..<1024).filter { bytes[$0 / 8] >> ($0 % 8) & 1 == 1 }
            }
            #expect(left == (0..<1024).filter { $0 != processor })
        }

        /// Threads of the pool that were asleep may run everywhere while they are at work.
        @Test func poolThreadsAreNotConfined() {
            let all = Self.allowed(carl_this_thread())
            let confined = ThreadPoolTests.Counter()
            for _ in 0..<50 {
                ThreadPool.shared.run(4) { _ in
                    if Self.allowed(carl_this_thread()) != all { confined.add() }
                }
                usleep(200)
            }
            #expect(confined.value == 0)
        }
    }
#endif
