/// What is derived from weights that do not change, such as packed or transformed filters: computed once, and known by
/// the weights' address, the format of the products that read it, and whether these take the weights in another order.
final class PrepackedBuffers {
    private struct Key: Hashable {
        let source: UnsafePointer<Float>
        let format: ProductFormat
        let isArranged: Bool
    }

    private var buffers: [Key: FloatBuffer] = [:]

    /// The buffer for `source`, and whether it was there before; if not, the caller fills it.
    func memory(
        _ source: UnsafePointer<Float>, _ count: Int, _ format: ProductFormat = .float32, isArranged: Bool = false
    ) throws -> (buffer: FloatBuffer, filled: Bool) {
        let key = Key(source: source, format: format, isArranged: isArranged)
        if let buffer = buffers[key], buffer.count == count { return (buffer, true) }
        let buffer = try FloatBuffer(count, zeroed: false)
        buffers[key] = buffer
        return (buffer, false)
    }

    /// Forgets all of them, for instance when it is not known whether they were filled.
    func clear() { buffers.removeAll() }
}
