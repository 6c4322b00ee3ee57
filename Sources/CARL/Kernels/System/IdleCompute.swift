import Synchronization

/// A `Compute` for calls that have none of their own, kept from one to the next: taking new memory from the system each
/// time can take longer than what is computed in it.
public enum IdleCompute {
    /// Bytes of memory that are kept at most.
    private static let most = 128 << 20
    /// An unmanaged `Compute`. Without a lock: a forked child, and a call inside another one, find it or make their
    /// own.
    private static let kept = Atomic<UnsafeMutableRawPointer?>(nil)

    /// Calls `body` as `Compute.call` does, with float32 operands.
    ///
    /// - Parameter threads: 0 means `ThreadCount.available`.
    public static func call<Result>(threads: Int, _ body: (Compute) throws -> Result) throws -> Result {
        let wanted = threads > 0 ? threads : ThreadCount.available
        let idle = taken()
        let compute = try idle.flatMap { $0.threads == wanted ? $0 : nil } ?? Compute(threads: wanted)
        // After an error it is not kept: its memory may be half used.
        let result = try compute.call { try body(compute) }
        if compute.bytes <= most { keep(compute) }
        return result
    }

    private static func taken() -> Compute? {
        kept.exchange(nil, ordering: .acquiringAndReleasing).map {
            Unmanaged<Compute>.fromOpaque($0).takeRetainedValue()
        }
    }

    private static func keep(_ compute: Compute) {
        let pointer = Unmanaged.passRetained(compute).toOpaque()
        if let before = kept.exchange(pointer, ordering: .acquiringAndReleasing) {
            Unmanaged<Compute>.fromOpaque(before).release()
        }
    }
}
