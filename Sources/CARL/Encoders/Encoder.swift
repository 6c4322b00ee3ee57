/// A network from images (B, H, W, C) to features (B, F). Its parameters lie in a `ParameterLayout`, which it extends
/// when it is made; passes run on any memory of that layout.
protocol Encoder: Sendable {
    /// F.
    var features: Int { get }
    /// Blocks, which have the depths 1 ... blockCount in the layout.
    var blockCount: Int { get }

    /// Training mode: batch statistics, running statistics updated, but for layers that are frozen
    /// (`memory.trainedFrom`). x stays the caller's and must live as long as the pass.
    func forward(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> EncoderPass

    /// Training mode without a way back (a teacher): features as of `forward`, but memory is given back as soon as a
    /// block is done.
    func forwardWithoutTape(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation

    /// Evaluation mode: running statistics, nothing kept.
    func evaluate(_ x: Activation, _ memory: ModelMemory, _ compute: Compute) throws -> Activation
}

/// A forward pass in training mode, with what backward needs of it. The caller owns it, so that several batches can run
/// before one goes back.
struct EncoderPass {
    /// (B, F), the caller's from now on.
    let features: Activation
    /// The feature map that was pooled, (B, h, w, F), or the patches' tokens, (B, h, w, D): for objectives that compare
    /// positions. It is the pass's own and gone after `backward`.
    let map: Activation
    /// Adds the gradients of all parameters that are not frozen, given those of the features and, where an objective
    /// has one, of the map. Consumes both gradients and the pass, not x. To be called once.
    let backward: (_ features: Activation, _ map: Activation?) throws -> Void
}

/// How an image enters an encoder: "imagenet" is a 7x7 convolution of stride 2 and a max-pool (a quarter of the size),
/// "small" a 3x3 convolution of stride 1 without pool, for images below about 64 pixels (as SimCLR does for CIFAR).
public enum EncoderStem: String, SettingChoice { case small, imagenet }

/// What an encoder is made with.
struct EncoderOptions {
    var stem = EncoderStem.small
    /// Factor on all channel counts; 64 * width must be a whole number.
    var width = 1.0
    var inChannels = 3
    /// The last normalisation scale of each residual block starts at 0.
    var zeroInitResidual = true
    /// Of vision transformers: pixels of a patch's side.
    var patchSize = 16
    /// Register tokens.
    var registers = 0
    /// First value of LayerScale's factors; nil: without.
    var layerScale: Double?
    var pool = TokenPool.class
    /// Side of the grid of patches that has learnt positions.
    var positionGrid = 14
    /// Share of images that the last block's branches leave out in training, rising linearly from 0 in the first.
    var dropPath = 0.0
}

/// The encoders there are, by name.
public enum EncoderKind: String, SettingChoice {
    /// F = 512, 512 and 2048, times the configuration's `width`.
    case resnet18, resnet34, resnet50
    /// D = 192, 12 blocks of 3 heads.
    case vitTiny = "vit_tiny"
    /// D = 384, 12 blocks of 6 heads.
    case vitSmall = "vit_small"
    /// D = 768, 12 blocks of 12 heads.
    case vitBase = "vit_base"
    /// D = 1024, 24 blocks of 16 heads.
    case vitLarge = "vit_large"

    var isTransformer: Bool {
        switch self {
        case .resnet18, .resnet34, .resnet50: false
        case .vitTiny, .vitSmall, .vitBase, .vitLarge: true
        }
    }

    /// - Parameter prefix: put in front of every tensor's name, such as "encoder.".
    func make(_ layout: inout ParameterLayout, prefix: String, _ options: EncoderOptions) -> any Encoder {
        layout.group = .encoder
        switch self {
        case .resnet18: return ResNet(&layout, prefix: prefix, .resnet18, options)
        case .resnet34: return ResNet(&layout, prefix: prefix, .resnet34, options)
        case .resnet50: return ResNet(&layout, prefix: prefix, .resnet50, options)
        case .vitTiny: return VisionTransformer(&layout, prefix: prefix, .tiny, options)
        case .vitSmall: return VisionTransformer(&layout, prefix: prefix, .small, options)
        case .vitBase: return VisionTransformer(&layout, prefix: prefix, .base, options)
        case .vitLarge: return VisionTransformer(&layout, prefix: prefix, .large, options)
        }
    }
}
