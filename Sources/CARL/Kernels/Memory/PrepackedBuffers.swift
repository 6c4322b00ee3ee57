/// What is derived from weights that do not change, such as packed or transformed filters: computed once, and known by
/// the weights' address, the format of the products that read it, and whether these take the weights in another order.
///
/// Not final for tests, which end a call between the taking of a buffer and its filling.
class PrepackedBuffers {
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

/// Memory for what is derived from weights: kept from call to call, or the workspace's for as long as a kernel runs.
struct DerivedValues {
    /// The memory itself: alive for as long as this is.
    fileprivate let buffer: FloatBuffer
    fileprivate let home: Home
    /// An earlier call has filled it; otherwise the caller does.
    let isReady: Bool

    fileprivate enum Home { case kept, passing, step }

    var base: FloatPointer { buffer.base }
}

extension Compute {
    /// Takes memory for `count` values that are derived from `weights`; see `PrepackedBuffers` for what they are known
    /// by.
    ///
    /// - Parameters:
    ///   - keeps: false for a form that a later call may not mistake for this one, such as a backward pass's.
    ///   - passing: where it is not kept, it is a kernel's block and not a small one of its own, see `Workspace`.
    func takeDerived(
        _ weights: UnsafePointer<Float>, _ count: Int, _ format: ProductFormat = .float32, isArranged: Bool = false,
        keeps: Bool = true, passing: Bool = true
    ) throws -> DerivedValues {
        if keeps, let prepackedFilters {
            let (buffer, filled) = try prepackedFilters.memory(weights, count, format, isArranged: isArranged)
            return DerivedValues(buffer: buffer, home: .kept, isReady: filled)
        }
        return passing
            ? DerivedValues(buffer: try workspace.takePassing(count), home: .passing, isReady: false)
            : DerivedValues(buffer: try workspace.take(count), home: .step, isReady: false)
    }

    func give(_ derived: DerivedValues) {
        switch derived.home {
        case .kept: break
        case .passing: workspace.givePassing(derived.buffer)
        case .step: workspace.give(derived.buffer)
        }
    }
}
