extension ViewSpec {
    /// Names that `preset` knows.
    public static let presetNames = ["auto", "simclr", "byol", "multicrop", "weak", "gray"]

    /// Mean and standard deviation of ImageNet's colours, of values scaled to 0 ... 1.
    static let imageNetStatistics: (mean: [Float], std: [Float]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

    /// Mean and standard deviation used where none are given: ImageNet's for three channels, 0.5 and 0.25 for others.
    static func statistics(_ channels: Int) -> (mean: [Float], std: [Float]) {
        channels == 3 ? imageNetStatistics : ([0.5], [0.25])
    }

    /// Ready-made lists of views.
    ///
    /// - "simclr": two alike, strong colour jitter (Chen et al., arXiv 2002.05709); blur from 64 pixels on.
    /// - "byol": two that differ in blur and solarize (Grill et al., arXiv 2006.07733).
    /// - "multicrop": two global views and six local ones of 3/7 the size (Caron et al., arXiv 2006.09882; scales of
    ///   CARP, arXiv 2310.12692).
    /// - "weak": two, crop and flip only.
    /// - "gray": two, for images without colour: crop, flip, brightness, contrast and a light blur.
    /// - "auto": "simclr" for three channels, "gray" for others.
    public static func preset(_ name: String, size: Int, channels: Int) throws -> [ViewSpec] {
        var base = ViewSpec()
        base.size = size
        try Settings.check(base, path: "")
        let standard = statistics(channels)
        base.$mean.setDefault(standard.mean)
        base.$std.setDefault(standard.std)
        base.interpolation = size >= 64 ? .bicubic : .bilinear
        switch name {
        case "auto": return try preset(channels == 3 ? "simclr" : "gray", size: size, channels: channels)
        case "weak":
            base.count = 2
            return [base]
        case "gray":
            base.count = 2
            base.jitter = [0.6, 0.6, 0, 0]
            base.blur = [0.1, size >= 64 ? 2 : 1]
            base.blurProbability = 0.5
            return [base]
        case "simclr":
            base.count = 2
            base.scale = [size >= 64 ? 0.08 : 0.2, 1]
            base.jitter = size >= 64 ? [0.8, 0.8, 0.8, 0.2] : [0.4, 0.4, 0.4, 0.1]
            base.gray = 0.2
            base.blurProbability = size >= 64 ? 0.5 : 0
            return [base]
        case "byol":
            base.scale = [size >= 64 ? 0.08 : 0.2, 1]
            base.jitter = [0.4, 0.4, 0.2, 0.1]
            base.gray = 0.2
            var second = base
            base.blurProbability = size >= 64 ? 1 : 0
            second.blurProbability = size >= 64 ? 0.1 : 0
            second.solarize = 0.2
            return [base, second]
        case "multicrop":
            base.count = 2
            base.scale = [0.2, 1]
            base.jitter = [0.8, 0.8, 0.8, 0.2]
            base.gray = 0.2
            base.blurProbability = size >= 64 ? 0.5 : 0
            var local = base
            local.count = 6
            // A multiple of 8, but smaller than the others.
            local.size = max(1, min(size - 1, max(8, (size * 3 / 7 + 4) / 8 * 8)))
            local.scale = [0.05, 0.2]
            return [base, local]
        default:
            let hint = JSONValue.nearest(name, in: presetNames).map { "; did you mean \"\($0)\"?" } ?? "."
            throw CARLError.configuration(
                "\"views\": there is no preset \"\(name)\"\(hint) Presets are \(presetNames.joined(separator: ", "))")
        }
    }
}
