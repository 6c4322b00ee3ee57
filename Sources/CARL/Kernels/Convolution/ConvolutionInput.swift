/// What a convolution or a gradient of it reads: pixels as they are, or pixels that a normalisation beside it still has to be applied to
/// (prologue fusion). That spares a pass over memory, and the normalised values are not kept: the next reader computes them again.
struct ConvolutionInput {
    private let base: UnsafePointer<Float>
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
        self.base = base
        self.channels = channels
        groupPixels = 1
        work = .none
    }

    /// x, which with `pending` is still to be normalised and rectified.
    init(_ x: Activation, pending: NormalizationFactors?) {
        base = UnsafePointer(x.base)
        channels = x.channels
        groupPixels = x.rows / x.groups
        work = pending.map { .normalise($0) } ?? .none
    }

    init(_ gradient: PendingNormalizationGradient) {
        base = UnsafePointer(gradient.dz.base)
        channels = gradient.dz.channels
        groupPixels = gradient.dz.rows / gradient.dz.groups
        work = .differentiate(gradient)
    }

    private var isReady: Bool { if case .none = work { true } else { false } }

    /// Values of memory that `pixels` needs for `count` pixels.
    func scratch(_ count: Int) -> Int { isReady ? 0 : count * channels }

    /// The values of pixels `range`: pixel i is at `i * channels` of the result. They may lie in `scratch`.
    func pixels(_ range: Range<Int>, _ scratch: FloatPointer) -> UnsafePointer<Float> {
        if isReady { return base }
        copy(range, to: scratch, rowStride: channels)
        return UnsafePointer(scratch) - range.lowerBound * channels
    }

    /// Writes the values of pixels `range` to `target`, each `rowStride` values from the one before.
    func copy(_ range: Range<Int>, to target: FloatPointer, rowStride: Int) {
        if isReady {
            for (i, pixel) in range.enumerated() { (target + i &* rowStride).update(from: base + pixel &* channels, count: channels) }
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
                ColumnKernels.affineRelu(base + first * channels, last - first, channels, factors.a(group), factors.b(group), to, rowStride: rowStride)
            case .differentiate(let gradient): gradient.write(first..<last, group, to: to, rowStride: rowStride)
            }
            first = last
        }
    }

    /// Asks for what `pixels` will read.
    func ask(for range: Range<Int>, _ prefetch: inout Prefetch) {
        prefetch.add(base + range.lowerBound * channels, range.count * channels)
        if case .differentiate(let gradient) = work {
            prefetch.add(gradient.y.base + range.lowerBound * channels, range.count * channels)
        }
    }
}
