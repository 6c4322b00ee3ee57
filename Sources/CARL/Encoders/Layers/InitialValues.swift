extension ParameterLayout {
    /// First values: convolutions He normal by fan-out, linear layers uniform in +-1/sqrt(fan-in), BatchNorm 1 and 0
    /// (torchvision's and torch's choice); rows compared with embeddings, such as prototypes, normal with standard
    /// deviation 1/sqrt(D), so of about unit length; a transformer's linear layers and tokens normal with 0.02, its
    /// biases 0 (timm's choice).
    ///
    /// - Throws: `CARLError.cancelled`.
    /// - Parameter firstSlot: number of this layout's first tensor among those of the whole model; a tensor's values
    ///   depend on (seed, number) alone.
    func initialize(_ parameters: FloatPointer, _ statistics: FloatPointer, seed: UInt64, firstSlot: Int = 0) throws {
        for (i, slot) in self.parameters.enumerated() {
            let values = parameters + slot.offset
            var random = RandomStream(seed: seed, purpose: .initialWeights, minor: UInt64(firstSlot + i))
            switch slot.kind {
            case .convolutionWeight:
                let fanOut = slot.shape[0] * slot.shape[2] * slot.shape[3]
                let deviation = Float((2 / Double(fanOut)).squareRoot())
                try fill(slot) { values[$0] = random.normal() * deviation }
            case .linearWeight, .bias:
                // A bias follows its weight in the layout and shares the weight's fan-in.
                let fanIn = slot.kind == .bias ? self.parameters[i - 1].shape[1] : slot.shape[1]
                let bound = Float(1 / Double(fanIn).squareRoot())
                try fill(slot) { values[$0] = random.uniform(-bound, bound) }
            case .patchWeight:
                // As of a linear layer, uniform by fan-in and fan-out (Glorot and Bengio, AISTATS 2010).
                let fans = slot.shape[0] + slot.shape[1] * slot.shape[2] * slot.shape[3]
                let bound = Float((6 / Double(fans)).squareRoot())
                try fill(slot) { values[$0] = random.uniform(-bound, bound) }
            case .transformerWeight, .token: try fill(slot) { values[$0] = random.normal() * 0.02 }
            case .normScale: values.update(repeating: slot.initialScale, count: slot.count)
            case .normShift: values.update(repeating: 0, count: slot.count)
            case .embeddingRows:
                let deviation = Float(1 / Double(slot.shape[1]).squareRoot())
                try fill(slot) { values[$0] = random.normal() * deviation }
            }
        }
        for slot in self.statistics { (statistics + slot.offset).update(repeating: slot.initial, count: slot.count) }
    }

    /// Calls `body` with each place of a tensor.
    @inline(__always)
    private func fill(_ slot: ParameterSlot, _ body: (_ place: Int) -> Void) throws {
        for place in 0..<slot.count {
            // Some tensors have hundreds of millions of values.
            if place & 0xf_ffff == 0 { try Cancellation.check() }
            body(place)
        }
    }
}
