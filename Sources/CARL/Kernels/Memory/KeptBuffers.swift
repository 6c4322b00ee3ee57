/// Buffers that are filled once and stay, each known by an address that it was derived from.
final class KeptBuffers {
    private var buffers: [UnsafePointer<Float>: FloatBuffer] = [:]

    /// The buffer for `source`, and whether it was there before; if not, the caller fills it.
    func memory(_ source: UnsafePointer<Float>, _ count: Int) throws -> (buffer: FloatBuffer, filled: Bool) {
        if let buffer = buffers[source], buffer.count == count { return (buffer, true) }
        let buffer = try FloatBuffer(count, zeroed: false)
        buffers[source] = buffer
        return (buffer, false)
    }

    /// Forgets all of them, for instance when it is not known whether they were filled.
    func clear() { buffers.removeAll() }
}
