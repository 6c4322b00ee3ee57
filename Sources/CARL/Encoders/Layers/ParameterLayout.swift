/// What a trained tensor is, which decides its first values, and whether LARS adapts and decays it.
enum ParameterKind {
    case convolutionWeight, linearWeight, bias, normScale, normShift
    /// Rows that are compared with embeddings, such as prototypes.
    case embeddingRows
    /// Of a transformer: its linear layers, the convolution that makes tokens of patches, and what tokens start from.
    case transformerWeight, patchWeight, token

    /// Shaped (out, in, kh, kw) for torch, and (kh, kw, in, out) in memory.
    var isConvolution: Bool { self == .convolutionWeight || self == .patchWeight }

    /// Normalisation's scale and shift, all biases, and what tokens start from: left alone by LARS (You, Gitman,
    /// Ginsburg, arXiv 1708.03888, as used in self-supervised learning).
    var isScaleOrBias: Bool { self == .bias || self == .normScale || self == .normShift || self == .token }
}

/// Parameters that an optimizer can treat apart: with a learning rate of their own, or left as they are.
enum ParameterGroup: CaseIterable, Sendable { case encoder, head, objective }

/// One trained tensor within the model's contiguous parameter memory.
struct ParameterSlot {
    let name: String
    let group: ParameterGroup
    /// Torch's shape: (out, in, kh, kw), (out, in) or (n).
    let shape: [Int]
    let kind: ParameterKind
    let offset: Int
    let count: Int
    /// First value of a normScale: 0 for the last one of a residual block when the block is to start as the identity.
    let initialScale: Float
    /// Place in the encoder: 0 for what sees the image, then 1 for the first block, 2 for the second, ...; what follows
    /// the last block is one deeper.
    let depth: Int
}

/// One running statistic within the model's contiguous statistics memory.
struct StatisticSlot {
    let name: String
    let offset: Int
    let count: Int
    let initial: Float
    /// The least value that makes sense: 0 for a variance.
    let lowest: Float
}

/// Hands out places in the parameter and statistics memory while a model is put together.
///
/// All parameters of a model live in one allocation (gradients, momenta and the teacher's likewise), so that the
/// optimizer, the moving average, clipping and a checkpoint are each one loop.
struct ParameterLayout {
    private(set) var parameters: [ParameterSlot] = []
    private(set) var statistics: [StatisticSlot] = []
    private(set) var parameterCount = 0
    private(set) var statisticCount = 0
    /// The group of what is added next.
    var group = ParameterGroup.encoder
    /// The depth of what is added next.
    var depth = 0

    /// Each tensor starts at a 64-byte boundary; the gaps are 0 in all memories and stay so.
    private static func aligned(_ count: Int) -> Int { (count + 15) & ~15 }

    mutating func add(_ name: String, _ shape: [Int], _ kind: ParameterKind, initialScale: Float = 1) -> Int {
        let count = shape.reduce(1, *)
        let offset = parameterCount
        parameters.append(
            ParameterSlot(
                name: name, group: group, shape: shape, kind: kind, offset: offset, count: count,
                initialScale: initialScale, depth: depth))
        parameterCount += Self.aligned(count)
        return offset
    }

    /// The parts of the memory whose parameters, by their numbers, are wanted, each as long as it can be.
    func extents(_ isWanted: (_ slot: Int) -> Bool) -> [Range<Int>] {
        var extents: [Range<Int>] = []
        for (i, slot) in parameters.enumerated() where isWanted(i) {
            let end = i + 1 < parameters.count ? parameters[i + 1].offset : parameterCount
            if let last = extents.last, last.upperBound == slot.offset {
                extents[extents.count - 1] = last.lowerBound..<end
            } else {
                extents.append(slot.offset..<end)
            }
        }
        return extents
    }

    mutating func addStatistic(_ name: String, _ count: Int, initial: Float, lowest: Float = -.infinity) -> Int {
        let offset = statisticCount
        statistics.append(StatisticSlot(name: name, offset: offset, count: count, initial: initial, lowest: lowest))
        statisticCount += Self.aligned(count)
        return offset
    }
}

/// The memories a forward or backward pass works on; all follow one `ParameterLayout`.
struct ModelMemory {
    let parameters: FloatPointer
    let statistics: FloatPointer
    /// Gradients are added to, never overwritten. Nil for passes without backward.
    let gradients: FloatPointer?
    /// The encoder's layers of a lesser depth are frozen: in evaluation mode, without gradients.
    var trainedFrom = 0
    /// Of a pass in training mode.
    var draws: PassDraws? = nil

    /// Of an encoder's `count` blocks, how many in front are frozen as a whole.
    func frozenBlocks(of count: Int) -> Int { min(max(0, trainedFrom - 1), count) }
}
