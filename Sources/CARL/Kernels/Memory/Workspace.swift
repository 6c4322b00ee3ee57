/// Memory that is taken and given back in the same order every step, so that after the first step nothing is allocated.
///
/// Blocks that were given back wait in a list of their own size: a training step asks for the same sizes again and
/// again. What a kernel needs for as long as it runs, transformed filters and tiles, shares a few blocks instead,
/// whatever its size.
public final class Workspace {
    private var free: [Int: [FloatBuffer]] = [:]
    /// Blocks of kernels, waiting, the smallest first.
    private var passing: [FloatBuffer] = []
    /// Bytes held, in use or waiting.
    public private(set) var bytes = 0
    /// Of these, waiting.
    private var waiting = 0
    /// Number of blocks ever allocated; constant once a step has been seen.
    public private(set) var allocations = 0
    /// The largest amount of work that memory was planned for, the bytes it came to, and whether less work follows (see
    /// `plan`).
    private var planned = 0
    private var plannedBytes = 0
    private var lends = false

    /// Without memory: blocks are allocated when they are first asked for.
    public init() {}

    /// A block of `count` values whose content is undefined.
    ///
    /// - Throws: `CARLError.outOfMemory`; `CARLError.cancelled` when the call should end.
    public func take(_ count: Int) throws -> FloatBuffer {
        try Cancellation.check()
        if let block = waitingBlock(count) {
            waiting -= Self.bytes(block)
            block.count = count
            return block
        }
        return try allocate(count)
    }

    /// Gives a block back. It must not be used afterwards.
    public func give(_ block: FloatBuffer) {
        waiting += Self.bytes(block)
        free[block.capacity, default: []].append(block)
    }

    /// A block of `count` values for as long as a kernel runs, content undefined: the smallest waiting one that is
    /// large enough, or else the largest of them grows. So there are as many blocks as kernels hold at a time, each as
    /// large as the largest that is asked of it.
    ///
    /// - Throws: as `take`.
    func takePassing(_ count: Int) throws -> FloatBuffer {
        try Cancellation.check()
        if let place = passing.firstIndex(where: { $0.capacity >= count }) {
            let block = passing.remove(at: place)
            waiting -= Self.bytes(block)
            block.count = count
            return block
        }
        if let largest = passing.popLast() {
            waiting -= Self.bytes(largest)
            bytes -= Self.bytes(largest)
        }
        return try allocate(count)
    }

    func givePassing(_ block: FloatBuffer) {
        waiting += Self.bytes(block)
        let place = passing.firstIndex { $0.capacity > block.capacity } ?? passing.endIndex
        passing.insert(block, at: place)
    }

    private func allocate(_ count: Int) throws -> FloatBuffer {
        let block = try FloatBuffer(count, zeroed: false)
        bytes += Self.bytes(block)
        allocations += 1
        return block
    }

    /// Returns all waiting blocks to the system, for instance when the batch size changes.
    public func trim() {
        bytes -= waiting
        waiting = 0
        free.removeAll()
        passing.removeAll()
    }

    /// Says that work of `amount` follows, such as the values of a batch, for calls whose batches vary. Less work than
    /// planned runs in the memory that is there; for more, that memory is let go first. So no set of blocks is kept for
    /// each size of a batch.
    func plan(_ amount: Int) {
        if lends, bytes > plannedBytes + plannedBytes / 2 { trim() }
        if !lends { plannedBytes = bytes }
        lends = amount < planned
        if amount > planned {
            trim()
            planned = amount
        }
    }

    /// After an error: blocks that were taken are gone with whoever took them.
    func abandon() {
        trim()
        (bytes, planned, plannedBytes, lends) = (0, 0, 0, false)
    }

    /// A waiting block of this size; where work is less than planned, else the smallest one that is larger.
    private func waitingBlock(_ count: Int) -> FloatBuffer? {
        if let block = free[count]?.popLast() { return block }
        guard lends else { return nil }
        let size = free.reduce(Int.max) { $1.key > count && $1.key < $0 && !$1.value.isEmpty ? $1.key : $0 }
        return free[size]?.popLast()
    }

    private static func bytes(_ block: FloatBuffer) -> Int { block.capacity * MemoryLayout<Float>.stride }
}
