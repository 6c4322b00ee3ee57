/// Everything random about one view, drawn before any pixel is touched. Each operation has a random stream of its own,
/// so that a view depends on (seed, epoch, image, view) alone, and an operation's draws on nothing that others draw.
struct ViewParameters {
    /// The crop in pixels of the source.
    var left: Int
    var top: Int
    var width: Int
    var height: Int
    var flip = false
    /// Colour operations in the order they apply, with their factors (hue: the shift).
    var jitter: [ColorOperations.Step] = []
    var gray = false
    /// Standard deviation in pixels, nil for no blur.
    var blur: Float?
    /// What is done to single values at last, in order.
    var pixelOperations: [any PixelOperation] = []

    init(left: Int, top: Int, width: Int, height: Int) {
        (self.left, self.top, self.width, self.height) = (left, top, width, height)
    }

    init(_ spec: ViewSpec, height: Int, width: Int, _ streams: ViewStreams) {
        self.init(ViewRanges(spec), height: height, width: width, streams)
    }

    init(_ ranges: ViewRanges, height imageHeight: Int, width imageWidth: Int, _ streams: ViewStreams) {
        var random = streams[.crop]
        self = Self.randomCrop(ranges, imageHeight, imageWidth, &random)
        random = streams[.flip]
        flip = random.uniform() < ranges.flip
        if ranges.jitterProbability > 0 {
            random = streams[.jitter]
            if random.uniform() < ranges.jitterProbability { jitter = ColorOperations.draw(ranges.jitter, &random) }
        }
        if ranges.gray > 0 {
            random = streams[.gray]
            gray = random.uniform() < ranges.gray
        }
        if ranges.blurProbability > 0 {
            random = streams[.blur]
            if random.uniform() < ranges.blurProbability { blur = random.uniform(ranges.blur.low, ranges.blur.high) }
        }
        for (stream, draw) in ranges.pixelOperations {
            random = streams[stream]
            if let operation = draw(&random) { pixelOperations.append(operation) }
        }
    }

    /// Where the crop lies in an image of this size.
    func box(imageHeight: Int, imageWidth: Int) -> CropBox {
        CropBox(
            left: Float(left) / Float(imageWidth), top: Float(top) / Float(imageHeight),
            right: Float(left + width) / Float(imageWidth), bottom: Float(top + height) / Float(imageHeight),
            flipped: flip)
    }

    /// torchvision's RandomResizedCrop: ten tries at an area and a ratio that fit, then the largest centre crop whose
    /// ratio is allowed.
    private static func randomCrop(
        _ ranges: ViewRanges, _ height: Int, _ width: Int, _ random: inout RandomStream
    ) -> ViewParameters {
        let area = Double(height) * Double(width)
        let (logLow, logHigh) = ranges.logRatio
        for _ in 0..<10 {
            let target = area * Double(random.uniform(ranges.scale.low, ranges.scale.high))
            let ratio = exponential(logLow + (logHigh - logLow) * Double(random.uniform()))
            let w = Int((target * ratio).squareRoot().rounded())
            let h = Int((target / ratio).squareRoot().rounded())
            if w > 0, h > 0, w <= width, h <= height {
                let top = random.below(height - h + 1)
                return ViewParameters(left: random.below(width - w + 1), top: top, width: w, height: h)
            }
        }
        let ratio = Double(width) / Double(height)
        var (w, h) = (width, height)
        if ratio < ranges.ratio.low {
            h = max(1, min(height, Int((Double(width) / ranges.ratio.low).rounded())))
        } else if ratio > ranges.ratio.high {
            w = max(1, min(width, Int((Double(height) * ranges.ratio.high).rounded())))
        }
        return ViewParameters(left: (width - w) / 2, top: (height - h) / 2, width: w, height: h)
    }
}

/// What is drawn from, of a specification: its numbers as they are needed for every view.
struct ViewRanges: Sendable {
    let scale: (low: Float, high: Float)
    let ratio: (low: Double, high: Double)
    let logRatio: (low: Double, high: Double)
    let flip: Float
    let jitterProbability: Float
    let jitter: [Float]
    let gray: Float
    let blurProbability: Float
    let blur: (low: Float, high: Float)
    /// The operations on single values, in the order they apply: the stream of each, and its draw.
    let pixelOperations: [(ViewStreams.Operation, @Sendable (inout RandomStream) -> (any PixelOperation)?)]

    init(_ spec: ViewSpec) {
        scale = (spec.scale[0], spec.scale[1])
        ratio = (Double(spec.ratio[0]), Double(spec.ratio[1]))
        logRatio = (logarithm(ratio.low), logarithm(ratio.high))
        flip = spec.flip
        (jitterProbability, jitter) = (spec.jitter.contains { $0 > 0 } ? spec.jitterProbability : 0, spec.jitter)
        gray = spec.gray
        (blurProbability, blur) = (spec.blurProbability, (spec.blur[0], spec.blur[1]))
        let solarize = spec.solarize
        let all: [(ViewStreams.Operation, Float, @Sendable (inout RandomStream) -> (any PixelOperation)?)] = [
            (.solarize, solarize, { Solarize(probability: solarize, &$0) })
        ]
        pixelOperations = all.filter { $0.1 > 0 }.map { ($0.0, $0.2) }
    }
}

/// The random streams of one view, one for each operation.
struct ViewStreams {
    let seed: UInt64
    let epoch: UInt64
    /// The image's number in its data set.
    let image: UInt64
    let view: Int

    /// Names of the streams. The numbers are part of what a seed means: a new operation takes a new one.
    enum Operation: UInt64 { case crop = 0, flip, jitter, gray, blur, solarize }

    subscript(_ operation: Operation) -> RandomStream {
        RandomStream(
            seed: seed, purpose: .views, major: epoch, minor: image, lane: operation.rawValue << 8 | UInt64(view & 0xff)
        )
    }
}
