/// How views of an image are made: torchvision's RandomResizedCrop, RandomHorizontalFlip, ColorJitter, RandomGrayscale,
/// GaussianBlur, RandomSolarize and Normalize, in this order.
///
/// Operations that need colour (saturation, hue, grayscale) apply to images of three channels and are left out for
/// others; all the rest applies to any number of channels.
public struct ViewSpec: Equatable, Sendable {
    /// The filter of resizing: a triangle, or Keys' cubic with a = -0.5.
    public enum Interpolation: String, SettingChoice { case bilinear, bicubic }

    /// Pixels of a side that views may have.
    static let largestSize = 4096

    @Setting("size", .view, in: 1...Double(largestSize), doc: "pixels of a side")
    public var size = 32
    @Setting(
        "scale", .view, in: 1e-6...1, length: 2...2,
        doc: "share of the image's area that the random crop covers, smallest and largest")
    public var scale: [Float] = [0.2, 1]
    @Setting(
        "ratio", .view, in: 1e-3...1e3, length: 2...2, standard: "[3/4, 4/3]",
        doc: "width by height of the crop, smallest and largest; log-uniform between")
    public var ratio: [Float] = [3 / 4, 4 / 3]
    @Setting("interpolation", .view, doc: "how the crop is resized; antialiased either way")
    public var interpolation = Interpolation.bilinear
    @Setting("flip", .view, in: 0...1, doc: "probability of a horizontal flip")
    public var flip: Float = 0.5
    @Setting(
        "jitter", .view, in: 0...10, length: 4...4,
        doc:
            """
            strengths of brightness, contrast, saturation (factors in 1 +- strength) and hue (a shift of at most \
            strength, 0.5 at most, of the circle), applied in random order
            """)
    public var jitter: [Float] = [0, 0, 0, 0]
    @Setting("jitter_p", .view, in: 0...1, doc: "probability of the colour jitter")
    public var jitterProbability: Float = 0.8
    @Setting("gray", .view, in: 0...1, doc: "probability of turning gray")
    public var gray: Float = 0
    @Setting(
        "blur", .view, in: 1e-3...1e3, length: 2...2,
        doc: "standard deviation of the Gaussian blur in pixels, smallest and largest")
    public var blur: [Float] = [0.1, 2]
    @Setting("blur_p", .view, in: 0...1, doc: "probability of the blur")
    public var blurProbability: Float = 0
    @Setting(
        "blur_kernel", .view, in: 1...8191, standard: "a tenth of `size`, at least 3",
        doc: "pixels of the blur's kernel, odd")
    public var blurKernel: Int? = nil
    @Setting("solarize", .view, in: 0...1, doc: "probability of inverting values of 128 and above")
    public var solarize: Float = 0
    @Setting(
        "mean", .view, in: -1e6...1e6, length: 1...1024, standard: "ImageNet's for 3 channels, else [0.5]",
        doc: "subtracted from values scaled to 0 ... 1: one number, or one a channel")
    public var mean: [Float] = []
    @Setting(
        "std", .view, in: 1e-6...1e6, length: 1...1024, standard: "ImageNet's for 3 channels, else [0.25]",
        doc: "what the difference is divided by: one number, or one a channel")
    public var std: [Float] = []
    /// Views that a specification may make.
    static let mostViews = 64

    @Setting("count", .view, in: 1...Double(mostViews), doc: "views made by this specification")
    public var count = 1

    /// All keys at their defaults: a view of 32 pixels by random crop and flip alone.
    public init() {}

    /// Pixels to either side that the blur's kernel takes.
    var blurRadius: Int { blurKernel.map { $0 / 2 } ?? GaussianBlur.standardRadius(size: size) }

    /// The same views with fewer pixels: the blur, which is in pixels, becomes smaller in proportion.
    ///
    /// - Parameter multiple: of which the size is one.
    func scaled(by factor: Double, multiple: Int) -> ViewSpec {
        var spec = self
        let units = (Double(size) * factor / Double(multiple)).rounded()
        spec.size = max(1, Int(units)) * multiple
        spec.blur = blur.map { max(1e-3, $0 * Float(factor)) }
        // A kernel of the standard size stays one: whether it was given, a configuration that was saved does not say.
        if let blurKernel, blurKernel / 2 == GaussianBlur.standardRadius(size: size) {
            spec.blurKernel = 2 * GaussianBlur.standardRadius(size: spec.size) + 1
        } else if let blurKernel {
            spec.blurKernel = max(1, 2 * Int((Double(blurKernel / 2) * factor).rounded()) + 1)
        }
        return spec
    }

    /// One specification for each view: each of `specs` as often as its count says.
    public static func views(_ specs: [ViewSpec]) -> [ViewSpec] {
        specs.flatMap { Array(repeating: $0, count: min(max($0.count, 0), mostViews)) }
    }

    /// - Parameter path: put in front of names in messages, such as "views[0].".
    /// - Throws: `CARLError.configuration` naming the key, what it got and what it wanted.
    init(_ value: JSONValue, path: String) throws {
        self.init()
        _ = try Settings.read(value, into: self, path: path)
    }

    /// The specification for images of some channels: checked, and with the standard mean and deviation where none are
    /// given.
    func resolved(channels: Int, path: String) throws -> ViewSpec {
        try Settings.check(self, path: path)
        var spec = self
        let standard = Self.statistics(channels)
        spec.$mean.setDefault(standard.mean)
        spec.$std.setDefault(standard.std)
        func refuse(_ key: String, _ value: [Float], _ wanted: String) -> CARLError {
            .configuration("\"\(path)\(key)\" must be \(wanted), got \(value.json.shown)")
        }
        for (key, values) in [("scale", scale), ("ratio", ratio), ("blur", blur)]
        where values.count != 2 || !(values[0] <= values[1]) {
            throw refuse(key, values, "[smallest, largest]")
        }
        guard jitter.count == 4, jitter[3] <= 0.5 else {
            throw refuse("jitter", jitter, "[brightness, contrast, saturation, hue] with hue at most 0.5")
        }
        for (key, values) in [("mean", spec.mean), ("std", spec.std)]
        where values.count != 1 && values.count != channels {
            throw refuse(key, values, "a list of 1 or \"in_channels\" = \(channels) numbers")
        }
        if let blurKernel, blurKernel % 2 == 0 {
            throw CARLError.configuration("\"\(path)blur_kernel\" must be an odd number, got \(blurKernel)")
        }
        return spec
    }

    /// The specification with every value in force.
    var json: JSONValue {
        var object = JSONObject(Settings.members(of: self))
        object["blur_kernel"] = (2 * blurRadius + 1).json
        if mean.isEmpty { object["mean"] = nil }
        if std.isEmpty { object["std"] = nil }
        return .object(object)
    }
}

extension ViewSpec: CustomStringConvertible {
    /// The keys and their values as JSON.
    public var description: String { json.serialized() }
}
