/// Memory that is taken and given back in the same order every step, so that after the first step nothing is allocated.
///
/// Freed blocks wait in a list of their own size: a training step asks for the same sizes again and again.
public final class Workspace {
    private var free: [Int: [FloatBuffer]] = [:]
    /// Bytes held, in use or waiting.
    public private(set) var bytes = 0
    /// Number of blocks ever allocated; constant once a step has been seen.
    public private(set) var allocations = 0

    public init() {}

    /// A block of `count` values whose content is undefined.
    public func take(_ count: Int) throws -> FloatBuffer {
        if let block = free[count]?.popLast() { return block }
        let block = try FloatBuffer(count, zeroed: false)
        bytes += count * MemoryLayout<Float>.stride
        allocations += 1
        return block
    }

    /// Gives a block back. It must not be used afterwards.
    public func give(_ block: FloatBuffer) { free[block.count, default: []].append(block) }

    /// Returns all waiting blocks to the system, for instance when the batch size changes.
    public func trim() {
        for blocks in free.values { for block in blocks { bytes -= block.count * MemoryLayout<Float>.stride } }
        free.removeAll()
    }
}
