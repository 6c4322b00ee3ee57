/// How images are made ready for weights: what they were trained or are usually evaluated with.
public struct Preprocessing: Equatable, Sendable {
    /// Pixels of a side of what the network sees.
    public var size: Int
    /// Share of the resized image's shorter side that the centre crop takes: it is resized to `size / crop`.
    public var crop: Double
    /// How the image is resized; antialiased either way.
    public var interpolation: ViewSpec.Interpolation
    /// Of values scaled to 0 ... 1: for three channels, or where it is a model's for each of its own.
    public var mean: [Float]
    /// What the difference is divided by, for the same channels as `mean`.
    public var std: [Float]

    /// The table by family. A file does not say what it was trained with; where a model of a family is an exception
    /// (timm's ResNets of newer recipes crop 0.95 bicubic, MAE and DINO in timm's names use ImageNet's statistics), the
    /// keys are to be given.
    ///
    /// - Parameters:
    ///   - size: what the weights' positions were made for; that of a ResNet follows from its stem.
    ///   - patch: pixels of a patch's side, nil of a ResNet.
    init(_ family: WeightsFamily, size: Int, patch: Int?) {
        let (mean, std) = ViewSpec.imageNetStatistics
        switch family {
        case .resnet:
            // torchvision: resized to 256, crop of 224. Small images are taken as they are.
            self.init(
                size: size, crop: size >= 64 ? 224 / 256 : 1, interpolation: .bilinear, mean: mean, std: std)
        case .timmViT:
            // timm's supervised vision transformers (augreg) are trained with 0.5 and 0.5.
            self.init(size: size, crop: 0.9, interpolation: .bicubic, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5])
        case .dinov2, .transformersDinov2:
            // Positions of 518 pixels are evaluated at 224: 256 resized, crop of 224, which is 16 patches of 14.
            self.init(
                size: patch == 14 ? min(size, 224) : size, crop: 224 / 256, interpolation: .bicubic, mean: mean,
                std: std)
        case .transformersViT:
            self.init(size: size, crop: 1, interpolation: .bilinear, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5])
        case .torchvisionViT:
            // Those of 224 pixels as its ResNets; larger ones (SWAG) bicubic and whole.
            self.init(
                size: size, crop: size <= 224 ? 224 / 256 : 1, interpolation: size <= 224 ? .bilinear : .bicubic,
                mean: mean, std: std)
        }
    }

    /// A model's own, for images that are made ready as `view` says.
    init(_ configuration: Configuration, view: ViewSpec) {
        let channels = configuration.inChannels
        func each(_ values: [Float]) -> [Float] {
            values.count == channels ? values : Array(repeating: values.first ?? 0, count: channels)
        }
        self.init(
            size: view.size, crop: configuration.evaluationCrop, interpolation: configuration.evaluationInterpolation,
            mean: each(view.mean), std: each(view.std))
    }

    private init(size: Int, crop: Double, interpolation: ViewSpec.Interpolation, mean: [Float], std: [Float]) {
        (self.size, self.crop, self.interpolation, self.mean, self.std) = (size, crop, interpolation, mean, std)
    }

    /// For images of some channels: the mean over those there are where there are others.
    func normalization(channels: Int) -> (mean: [Float], std: [Float]) {
        if channels == mean.count { return (mean, std) }
        func average(_ values: [Float]) -> [Float] { [values.reduce(0, +) / Float(values.count)] }
        return (average(mean), average(std))
    }

    var json: JSONValue {
        [
            "size": size.json, "crop": crop.json, "interpolation": interpolation.json, "mean": mean.json,
            "std": std.json,
        ]
    }
}
