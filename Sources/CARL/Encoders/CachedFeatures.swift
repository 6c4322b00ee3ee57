/// In an encoder's place where its features have been computed before: (B, 1, 1, F) -> (B, F), no parameters.
struct CachedFeatures: Encoder {
    let features: Int
    var blockCount: Int { 0 }

    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> EncoderPass {
        EncoderPass(features: try evaluate(x, memory, compute), map: x) { gradient, mapGradient in
            compute.workspace.give(gradient)
            if let mapGradient { compute.workspace.give(mapGradient) }
        }
    }

    func forwardWithoutTape(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        try evaluate(x, memory, compute)
    }

    func evaluate(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation {
        let copy = try compute.workspace.takeActivation(like: x)
        copy.base.update(from: x.base, count: x.count)
        return copy
    }
}
