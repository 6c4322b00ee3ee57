/// The named tensors of a model, in torch's names and layouts, over the memories that hold them.
struct StateEntry {
    let name: String
    /// Torch's shape.
    let shape: [Int]
    let trained: Bool
    /// First value within its memory.
    let values: FloatPointer
    /// Shape of a convolution weight (out, in, kh, kw), whose memory order is (kh, kw, in, out); nil where memory has torch's order.
    let convolution: [Int]?

    var count: Int { shape.reduce(1, *) }

    /// Copies the tensor in torch's order.
    func read(into target: FloatPointer) {
        forEachPlace { torch, own in target[torch] = values[own] }
    }

    /// Overwrites the tensor from torch's order.
    func write(from source: UnsafePointer<Float>) {
        forEachPlace { torch, own in values[own] = source[torch] }
    }

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

extension ParameterLayout {
    /// Entries of a parameter-shaped memory (parameters, gradients, moments).
    func entries(parameters values: FloatPointer, prefix: String = "", trained: Bool) -> [StateEntry] {
        parameters.map { slot in
            StateEntry(
                name: prefix + slot.name, shape: slot.shape, trained: trained, values: values + slot.offset,
                convolution: slot.kind == .convolutionWeight ? slot.shape : nil)
        }
    }

    /// Entries of a memory of running statistics.
    func entries(statistics values: FloatPointer, prefix: String = "") -> [StateEntry] {
        statistics.map { slot in
            StateEntry(name: prefix + slot.name, shape: [slot.count], trained: false, values: values + slot.offset, convolution: nil)
        }
    }
}
