/// How fast each parameter learns beside the others: layers of an encoder that are nearer to the image more slowly
/// (layer-wise decay of the learning rate, as BEiT's, Bao et al., arXiv 2106.08254), those below a depth not at all.
struct LayerRates {
    /// The least depth of the encoder that learns.
    let trainedFrom: Int
    /// Factor on the learning rate of each slot, 0 for what is frozen; empty where all are 1.
    let factors: [Float]

    /// All learn alike.
    init() { (trainedFrom, factors) = (0, []) }

    /// - Parameters:
    ///   - decay: a layer of depth l learns at decay^(L - l) of the rate, L = `blocks` + 1 being the depth of what
    ///     follows the encoder's last block; the head and the objective at 1.
    init(_ layout: ParameterLayout, _ trained: TrainedLayers, decay: Double, blocks: Int) {
        let first = trained.firstDepth(blocks: blocks)
        trainedFrom = first
        if first == 0, decay == 1 {
            factors = []
        } else {
            factors = layout.parameters.map { slot in
                guard slot.group == .encoder else { return 1 }
                return slot.depth < first ? 0 : Float(power(decay, Double(blocks + 1 - slot.depth)))
            }
        }
    }

    func isFrozen(_ slot: Int) -> Bool { !factors.isEmpty && factors[slot] == 0 }

    /// The parts of the layout's memory that learn.
    func extents(_ layout: ParameterLayout) -> [Range<Int>] {
        factors.contains(0) ? layout.extents { !isFrozen($0) } : [0..<layout.parameterCount]
    }
}
