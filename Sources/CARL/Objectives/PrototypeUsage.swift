/// When each prototype was last somebody's most probable one.
final class PrototypeUsage {
    /// The step, from 1, at which each prototype was last used; 0 for never.
    let lastUsed: HeapArray<Int64>
    /// How many rows of the present step each prototype is the most probable one of.
    var votes: UnsafeMutablePointer<UInt32> { counts.base }
    private let counts: HeapArray<UInt32>

    /// - Throws: `CARLError.outOfMemory`.
    init(_ count: Int) throws {
        lastUsed = try HeapArray(count, repeating: 0, for: "the last steps of \(count) prototypes")
        counts = try HeapArray(count, repeating: 0, for: "votes for \(count) prototypes")
    }

    /// Before a step.
    func clear() { votes.update(repeating: 0, count: lastUsed.count) }

    /// After step `step`, counted from 1: how many prototypes were used within the last `window` steps, and how many were not
    /// (0 until so many steps have been taken: before that it is too early to call one dead).
    func record(step: Int, window: Int) -> (used: Int, dead: Int) {
        let oldest = Int64(max(step - window, 0))
        var count = 0
        for i in 0..<lastUsed.count {
            if votes[i] != 0 { lastUsed[i] = Int64(step) }
            if lastUsed[i] > oldest { count += 1 }
        }
        return (count, step < window ? 0 : lastUsed.count - count)
    }

    /// exp of the entropy of the present step's votes: over how many prototypes the images are spread when each goes to its most probable one,
    /// 1 ... K. With `blocks` of a partition, in each of which every row votes, 1 ... block.
    func spread(blocks: Int) -> Double {
        var total = 0.0
        for i in 0..<lastUsed.count { total += Double(votes[i]) }
        var entropy = 0.0
        for i in 0..<lastUsed.count where votes[i] > 0 {
            let share = Double(votes[i]) / total
            entropy -= share * logarithm(share)
        }
        return exponential(entropy) / Double(max(blocks, 1))
    }
}
