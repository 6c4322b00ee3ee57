/// Everything random about one view, drawn before any pixel is touched. Each operation has a random stream of its own, so that a view depends
/// on (seed, epoch, image, view) alone, and an operation's draws on nothing that others draw.
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

    init(_ spec: ViewSpec, height imageHeight: Int, width imageWidth: Int, _ streams: ViewStreams) {
        var random = streams[.crop]
        self = Self.randomCrop(spec, imageHeight, imageWidth, &random)
        random = streams[.flip]
        flip = random.uniform() < spec.flip
        random = streams[.jitter]
        if random.uniform() < spec.jitterProbability { jitter = ColorOperations.draw(spec.jitter, &random) }
        random = streams[.gray]
        gray = random.uniform() < spec.gray
        random = streams[.blur]
        if random.uniform() < spec.blurProbability {
            let deviations = spec.blur
            blur = random.uniform(deviations[0], deviations[1])
        }
        for (stream, draw) in Self.pixelOperations {
            random = streams[stream]
            if let operation = draw(spec, &random) { pixelOperations.append(operation) }
        }
    }

    /// The operations on single values, in the order they apply, and the stream of each.
    private static let pixelOperations:
        [(ViewStreams.Operation, @Sendable (ViewSpec, inout RandomStream) -> (any PixelOperation)?)] = [
            (.solarize, { Solarize($0, &$1) })
        ]

    /// Where the crop lies in an image of this size.
    func box(imageHeight: Int, imageWidth: Int) -> CropBox {
        CropBox(
            left: Float(left) / Float(imageWidth), top: Float(top) / Float(imageHeight),
            right: Float(left + width) / Float(imageWidth), bottom: Float(top + height) / Float(imageHeight), flipped: flip)
    }

    /// torchvision's RandomResizedCrop: ten tries at an area and a ratio that fit, then the largest centre crop whose ratio is allowed.
    private static func randomCrop(_ spec: ViewSpec, _ height: Int, _ width: Int, _ random: inout RandomStream) -> ViewParameters {
        let area = Double(height) * Double(width)
        let (logLow, logHigh) = (logarithm(Double(spec.ratio[0])), logarithm(Double(spec.ratio[1])))
        for _ in 0..<10 {
            let target = area * Double(random.uniform(spec.scale[0], spec.scale[1]))
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
        if ratio < Double(spec.ratio[0]) {
            h = max(1, min(height, Int((Double(width) / Double(spec.ratio[0])).rounded())))
        } else if ratio > Double(spec.ratio[1]) {
            w = max(1, min(width, Int((Double(height) * Double(spec.ratio[1])).rounded())))
        }
        return ViewParameters(left: (width - w) / 2, top: (height - h) / 2, width: w, height: h)
    }
}
