/// When each prototype was last somebody's most probable one.
final class PrototypeUsage {
    /// The step, from 1, at which each prototype was last used; 0 for never.
    let lastUsed: HeapArray<Int64>
    /// 1 for the prototypes used in the present step.
    var flags: UnsafeMutablePointer<UInt8> { used.base }
    private let used: HeapArray<UInt8>

    /// - Throws: `CARLError.outOfMemory`.
    init(_ count: Int) throws {
        lastUsed = try HeapArray(count, repeating: 0, for: "the last steps of \(count) prototypes")
        used = try HeapArray(count, repeating: 0, for: "flags of \(count) prototypes")
    }

    /// Before a step.
    func clear() { flags.update(repeating: 0, count: lastUsed.count) }

    /// After step `step`, counted from 1: how many prototypes were used within the last `window` steps, and how many were not
    /// (0 until so many steps have been taken: before that it is too early to call one dead).
    func record(step: Int, window: Int) -> (used: Int, dead: Int) {
        let oldest = Int64(max(step - window, 0))
        var count = 0
        for i in 0..<lastUsed.count {
            if flags[i] != 0 { lastUsed[i] = Int64(step) }
            if lastUsed[i] > oldest { count += 1 }
        }
        return (count, step < window ? 0 : lastUsed.count - count)
    }
}
