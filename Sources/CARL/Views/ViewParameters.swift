/// Everything random about one view, drawn before any pixel is touched and always in the same order, so that a view depends on
/// (seed, epoch, image, view) alone.
struct ViewParameters: Equatable {
    /// The crop in pixels of the source.
    var left: Int
    var top: Int
    var width: Int
    var height: Int
    var flip = false
    /// Colour operations in the order they apply, with their factors (hue: the shift).
    var jitter: [(operation: ColorOperation, amount: Float)] = []
    var gray = false
    /// Standard deviation in pixels, nil for no blur.
    var blur: Float?
    var solarize = false

    enum ColorOperation: Int { case brightness, contrast, saturation, hue }

    init(left: Int, top: Int, width: Int, height: Int) {
        (self.left, self.top, self.width, self.height) = (left, top, width, height)
    }

    init(_ spec: ViewSpec, height imageHeight: Int, width imageWidth: Int, random: inout RandomStream) {
        self = Self.randomCrop(spec, imageHeight, imageWidth, &random)
        flip = random.uniform() < spec.flip
        let jitters = random.uniform() < spec.jitterProbability
        let amounts = (0..<4).map { i -> Float in
            i == 3
                ? random.uniform(-spec.jitter[3], spec.jitter[3])
                : random.uniform(max(0, 1 - spec.jitter[i]), 1 + spec.jitter[i])
        }
        let order = random.permutation(4)
        if jitters {
            for i in order where spec.jitter[Int(i)] > 0 {
                if let operation = ColorOperation(rawValue: Int(i)) { jitter.append((operation, amounts[Int(i)])) }
            }
        }
        gray = random.uniform() < spec.gray
        let blurs = random.uniform() < spec.blurProbability
        let deviation = random.uniform(spec.blur[0], spec.blur[1])
        blur = blurs ? deviation : nil
        solarize = random.uniform() < spec.solarize
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

    static func == (a: ViewParameters, b: ViewParameters) -> Bool {
        a.left == b.left && a.top == b.top && a.width == b.width && a.height == b.height && a.flip == b.flip && a.gray == b.gray
            && a.blur == b.blur && a.solarize == b.solarize && a.jitter.elementsEqual(b.jitter) { $0 == $1 }
    }
}
