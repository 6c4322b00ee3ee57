/// The named tensors of a model, in torch's names and layouts, over the memories that hold them.
struct StateEntry {
    let name: String
    /// Torch's shape.
    let shape: [Int]
    var trained: Bool
    /// First value within its memory.
    let values: FloatPointer
    /// Shape of a convolution weight (out, in, kh, kw), whose memory order is (kh, kw, in, out); nil where memory has
    /// torch's order.
    let convolution: [Int]?
    /// The least value that makes sense: 0 for a variance.
    var lowest = -Float.infinity

    var count: Int { shape.reduce(1, *) }

    /// Copies the tensor in torch's order.
    func read(into target: FloatPointer) {
        forEachPlace { torch, own in target[torch] = values[own] }
    }

    /// Overwrites the tensor from torch's order.
    func write(from source: UnsafePointer<Float>) {
        forEachPlace { torch, own in values[own] = source[torch] }
    }

    /// Overwrites the tensor from torch's order, unless a value cannot be one of this tensor.
    func write(checked source: UnsafePointer<Float>) throws {
        if let fault = fault(in: source) { throw CARLError.invalidArgument("values of \"\(name)\": \(fault)") }
        write(from: source)
    }

    /// The first value that cannot be one of this tensor, in words.
    func fault(in source: UnsafePointer<Float>) -> String? {
        if FiniteValues.all(source, count), lowest == -.infinity { return nil }
        guard let bad = (0..<count).first(where: { !source[$0].isFinite || source[$0] < lowest }) else { return nil }
        let bound = lowest == -.infinity ? "" : lowest == 0 ? " and not negative" : " and above 0"
        return "value \(bad) is \(source[bad]), all must be finite\(bound)"
    }

    var description: StateTensor { StateTensor(name: name, shape: shape, trained: trained) }

    private func forEachPlace(_ body: (_ torch: Int, _ own: Int) -> Void) {
        guard let shape = convolution else {
            for i in 0..<count { body(i, i) }
            return
        }
        let (outs, ins, pixels) = (shape[0], shape[1], shape[2] * shape[3])
        for o in 0..<outs {
            for i in 0..<ins {
                for p in 0..<pixels { body((o &* ins &+ i) &* pixels &+ p, (p &* ins &+ i) &* outs &+ o) }
            }
        }
    }
}

/// Name, torch's shape and role of a tensor of the state.
public struct StateTensor: Sendable {
    /// Such as "encoder.layer1.0.conv1.weight"; a teacher's begin with "teacher.".
    public let name: String
    /// Torch's: (out, in, height, width) for the weight of a convolution.
    public let shape: [Int]
    /// Has a gradient: not a running statistic, not a teacher's, not of a frozen encoder.
    public let trained: Bool
    /// Number of values.
    public var count: Int { shape.reduce(1, *) }
}

extension [StateEntry] {
    /// The gradient of a tensor of the state, for a caller who has memory for `count` values.
    func trained(_ name: String, count: Int, of state: [StateEntry]) throws -> StateEntry {
        if place(name) == nil, state.place(name) != nil {
            throw CARLError.invalidArgument("name: \"\(name)\" is not trained and has no gradient")
        }
        return try named(name, count: count)
    }

    /// By bytes, as keys are.
    private func place(_ name: String) -> Int? { firstIndex { ByteString($0.name) == ByteString(name) } }

    /// The entry of a name, for a caller who has memory for `count` values.
    func named(_ name: String, count: Int) throws -> StateEntry {
        guard let entry = place(name).map({ self[$0] }) else {
            let hint = JSONValue.nearest(name, in: map(\.name)).map { "; did you mean \"\($0)\"?" } ?? ""
            throw CARLError.invalidArgument("name: there is no tensor \"\(name)\"\(hint)")
        }
        guard entry.count == count else {
            throw CARLError.invalidArgument(
                "count: got \(count), tensor \"\(name)\" has shape \(entry.shape), \(entry.count) values")
        }
        return entry
    }
}

extension ParameterLayout {
    /// Entries of a parameter-shaped memory (parameters, gradients, moments).
    func entries(parameters values: FloatPointer, prefix: String = "", trained: Bool, lowest: Float = -.infinity)
        -> [StateEntry]
    {
        parameters.map { slot in
            StateEntry(
                name: prefix + slot.name, shape: slot.shape, trained: trained, values: values + slot.offset,
                convolution: slot.kind.isConvolution ? slot.shape : nil, lowest: lowest)
        }
    }

    /// Entries of a memory of running statistics.
    func entries(statistics values: FloatPointer, prefix: String = "") -> [StateEntry] {
        statistics.map { slot in
            StateEntry(
                name: prefix + slot.name, shape: [slot.count], trained: false, values: values + slot.offset,
                convolution: nil, lowest: slot.lowest)
        }
    }
}
