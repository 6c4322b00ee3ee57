/// What a convolution or a gradient of it reads: pixels as they are, or pixels that a normalisation beside it still has
/// to be applied to (prologue fusion). That spares a pass over memory, and the normalised values are not kept: the next
/// reader computes them again.
struct ConvolutionInput {
    private let base: StoredValues
    private let channels: Int
    private let groupPixels: Int
    private let work: Work

    private enum Work {
        case none
        /// Normalised, then a ReLU.
        case normalise(NormalizationFactors)
        /// The gradient behind a normalisation becomes that before it.
        case differentiate(PendingNormalizationGradient)
    }

    /// Pixels (rows, C) as they are.
    init(_ base: UnsafePointer<Float>, channels: Int) {
        self.base = StoredValues(base)
        self.channels = channels
        groupPixels = 1
        work = .none
    }

    /// x, which with `pending` is still to be normalised and rectified.
    init(_ x: Activation, pending: NormalizationFactors?) {
        base = x.stored
        channels = x.channels
        groupPixels = x.rows / x.groups
        work = pending.map { .normalise($0) } ?? .none
    }

    init(_ gradient: PendingNormalizationGradient) {
        base = gradient.dz.stored
        channels = gradient.dz.channels
        groupPixels = gradient.dz.rows / gradient.dz.groups
        work = .differentiate(gradient)
    }

    private var isReady: Bool { if case .none = work { !base.isBFloat16 } else { false } }

    /// Values of memory that `pixels` needs for `count` pixels.
    func scratch(_ count: Int) -> Int { isReady ? 0 : count * channels }

    /// The values of pixels `range`: pixel i is at `i * channels` of the result. They may lie in `scratch`.
    func pixels(_ range: Range<Int>, _ scratch: FloatPointer) -> UnsafePointer<Float> {
        if isReady { return UnsafePointer(base.float32) }
        copy(range, to: scratch, rowStride: channels)
        return UnsafePointer(scratch) - range.lowerBound * channels
    }

    /// Writes the values of pixels `range` to `target`, each `rowStride` values from the one before.
    func copy(_ range: Range<Int>, to target: FloatPointer, rowStride: Int) {
        if case .none = work {
            for (i, pixel) in range.enumerated() {
                base.from(pixel &* channels).copy(channels, to: target + i &* rowStride)
            }
            return
        }
        var first = range.lowerBound
        while first < range.upperBound {
            let group = first / groupPixels
            let last = min(range.upperBound, (group + 1) * groupPixels)
            let to = target + (first - range.lowerBound) * rowStride
            switch work {
            case .none: break
            case .normalise(let factors):
                ColumnKernels.affineRelu(
                    base.from(first * channels), last - first, channels, factors.a(group), factors.b(group), to,
                    rowStride: rowStride)
            case .differentiate(let gradient): gradient.write(first..<last, group, to: to, rowStride: rowStride)
            }
            first = last
        }
    }

    /// Whether all pixels lie in memory as a product with a right operand of `format` reads its left one.
    func isThere(for format: ProductFormat) -> Bool { isReady || pairs(for: format) != nil }

    /// The left operand of a product, pixels (range, channels). `scratch` is as of `pixels`.
    func operand(_ range: Range<Int>, _ scratch: FloatPointer, for format: ProductFormat) -> PackedGEMM.Left {
        if let pairs = pairs(for: format) {
            let words = channels / 2
            return .init(base: pairs + range.lowerBound * words, rowStride: words, depthStride: 1, isPaired: true)
        }
        let pixels = pixels(range, scratch)
        return .init(base: pixels + range.lowerBound * channels, rowStride: channels, depthStride: 1)
    }

    /// Pixels that are kept as bfloat16, an even number of channels each, as words of two.
    private func pairs(for format: ProductFormat) -> UnsafePointer<Float>? {
        if case .none = work, format != .float32 { base.pairs } else { nil }
    }

    /// Prefetches what `pixels` will read.
    func prefetch(_ range: Range<Int>, _ prefetch: inout Prefetch) {
        let values = range.lowerBound * channels..<range.upperBound * channels
        base.prefetch(values, &prefetch)
        if case .differentiate(let gradient) = work { gradient.y.stored.prefetch(values, &prefetch) }
    }
}
