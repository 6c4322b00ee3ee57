/// When each prototype was last somebody's most probable one.
final class PrototypeUsage {
    /// The step, from 1, at which each prototype was last used; 0 for never.
    var lastUsed: [Int64]
    /// 1 for the prototypes used in the present step.
    let flags: UnsafeMutablePointer<UInt8>

    init(_ count: Int) {
        lastUsed = Array(repeating: 0, count: count)
        flags = .allocate(capacity: max(count, 1))
        clear()
    }

    deinit { flags.deallocate() }

    /// Before a step.
    func clear() { flags.update(repeating: 0, count: lastUsed.count) }

    /// After step `step`, counted from 1: how many prototypes were used within the last `window` steps, and how many were not
    /// (0 until so many steps have been taken: before that it is too early to call one dead).
    func record(step: Int, window: Int) -> (used: Int, dead: Int) {
        let oldest = Int64(max(step - window, 0))
        var used = 0
        lastUsed.withUnsafeMutableBufferPointer { lastUsed in
            for i in 0..<lastUsed.count {
                if flags[i] != 0 { lastUsed[i] = Int64(step) }
                if lastUsed[i] > oldest { used += 1 }
            }
        }
        return (used, step < window ? 0 : lastUsed.count - used)
    }
}
