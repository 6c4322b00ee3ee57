/// How views of an image are made: torchvision's RandomResizedCrop, RandomHorizontalFlip, ColorJitter, RandomGrayscale, GaussianBlur,
/// RandomSolarize and Normalize, in this order.
///
/// Operations that need colour (saturation, hue, grayscale) apply to images of three channels and are left out for others; all the rest
/// applies to any number of channels.
public struct ViewSpec: Equatable, Sendable {
    public enum Interpolation: String, CaseIterable, Sendable { case bilinear, bicubic }

    /// Height and width of the view in pixels.
    public var size = 32
    /// Share of the image's area that the crop covers, smallest and largest.
    public var scale: [Float] = [0.2, 1]
    /// Width by height of the crop, smallest and largest; log-uniform between.
    public var ratio: [Float] = [3 / 4, 4 / 3]
    /// How the crop is resized; antialiased either way.
    public var interpolation = Interpolation.bilinear
    /// Probability of a horizontal flip.
    public var flip: Float = 0.5
    /// Strengths of brightness, contrast, saturation (factors in 1 +- strength) and hue (shift in +- strength of the circle).
    public var jitter: [Float] = [0, 0, 0, 0]
    /// Probability of the colour jitter.
    public var jitterProbability: Float = 0.8
    /// Probability of turning the view gray.
    public var gray: Float = 0
    /// Standard deviation of the Gaussian blur in pixels, smallest and largest.
    public var blur: [Float] = [0.1, 2]
    /// Probability of the blur.
    public var blurProbability: Float = 0
    /// Pixels of the blur's kernel, odd; nil: about a tenth of the side, at least 3.
    public var blurKernel: Int?
    /// Probability of inverting all values of 128 and above.
    public var solarize: Float = 0
    /// Subtracted from values scaled to 0 ... 1, per channel or one for all.
    public var mean: [Float] = [0.5]
    /// What the difference is divided by.
    public var std: [Float] = [0.25]
    /// Views made by this specification.
    public var count = 1

    public init() {}

    /// Pixels to either side that the blur's kernel takes.
    var blurRadius: Int { blurKernel.map { $0 / 2 } ?? GaussianBlur.standardRadius(size: size) }

    /// One specification for each view: each of `specs` as often as its count says.
    public static func views(_ specs: [ViewSpec]) -> [ViewSpec] { specs.flatMap { Array(repeating: $0, count: $0.count) } }

    static let keys = [
        "size", "scale", "ratio", "interpolation", "flip", "jitter", "jitter_p", "gray", "blur", "blur_p", "blur_kernel", "solarize",
        "mean", "std", "count",
    ]

    /// - Throws: `CARLError.configuration` naming the key, what it got and what it wanted.
    init(_ value: JSONValue, path: String, channels: Int) throws {
        let reader = try ConfigurationReader(value, path: path, known: Self.keys)
        func floats(_ key: String, _ count: ClosedRange<Int>, _ range: ClosedRange<Double>) throws -> [Float]? {
            try reader.numbers(key, count: count, range)?.map { Float($0) }
        }
        func probability(_ key: String, _ standard: Float) throws -> Float { Float(try reader.number(key, 0...1) ?? Double(standard)) }
        size = try reader.integer("size", 1...4096) ?? size
        scale = try floats("scale", 2...2, 1e-6...1) ?? scale
        ratio = try floats("ratio", 2...2, 1e-3...1e3) ?? ratio
        interpolation = try reader.choice("interpolation") ?? interpolation
        flip = try probability("flip", flip)
        jitter = try floats("jitter", 4...4, 0...10) ?? jitter
        guard jitter[3] <= 0.5 else { throw reader.error("jitter", "[brightness, contrast, saturation, hue] with hue at most 0.5") }
        jitterProbability = try probability("jitter_p", jitterProbability)
        gray = try probability("gray", gray)
        blur = try floats("blur", 2...2, 1e-3...1e3) ?? blur
        blurProbability = try probability("blur_p", blurProbability)
        blurKernel = try reader.integer("blur_kernel", 1...8191)
        guard blurKernel.map({ $0 % 2 == 1 }) ?? true else { throw reader.error("blur_kernel", "an odd number") }
        solarize = try probability("solarize", solarize)
        let standard = Self.statistics(channels)
        mean = try floats("mean", 1...1024, -1e6...1e6) ?? standard.mean
        std = try floats("std", 1...1024, 1e-6...1e6) ?? standard.std
        count = try reader.integer("count", 1...64) ?? count
        for (key, pair) in [("scale", scale), ("ratio", ratio), ("blur", blur)] where pair[0] > pair[1] {
            throw reader.error(key, "[smallest, largest]")
        }
        for (key, values) in [("mean", mean), ("std", std)] where values.count != 1 && values.count != channels {
            throw reader.error(key, "a list of 1 or \"in_channels\" = \(channels) numbers")
        }
    }

    /// One specification or a list of them.
    public static func list(_ value: JSONValue, channels: Int) throws -> [ViewSpec] {
        if let name = value.string { return try preset(name, size: 32, channels: channels) }
        if value.object != nil { return [try ViewSpec(value, path: "views.", channels: channels)] }
        guard let values = value.array, !values.isEmpty, values.count <= 64 else {
            throw CARLError.configuration("\"views\" must be a preset's name or a list of 1 to 64 specifications, got \(value.kind)")
        }
        return try values.enumerated().map { try ViewSpec($1, path: "views[\($0)].", channels: channels) }
    }

    var json: JSONValue {
        func list(_ values: [Float]) -> JSONValue { .array(values.map { .number(shortest($0)) }) }
        func number(_ value: Float) -> JSONValue { .number(shortest(value)) }
        /// The Double that prints like the Float, so that 0.4 is not written 0.4000000059.
        func shortest(_ value: Float) -> Double { Double("\(value)") ?? Double(value) }
        return [
            "size": .number(Double(size)), "scale": list(scale), "ratio": list(ratio),
            "interpolation": .string(interpolation.rawValue), "flip": number(flip), "jitter": list(jitter),
            "jitter_p": number(jitterProbability), "gray": number(gray), "blur": list(blur), "blur_p": number(blurProbability),
            "blur_kernel": .number(Double(2 * blurRadius + 1)), "solarize": number(solarize), "mean": list(mean), "std": list(std), "count": .number(Double(count)),
        ]
    }
}
