/// The programs whose weights are recognised, by the names that they give to an encoder's tensors.
public enum WeightsFamily: String, Sendable {
    /// torchvision's, and timm's of the same names; also what this library exports of ResNets.
    case resnet
    /// timm's vision transformers without LayerScale, and others of the same names, such as MAE's and DINO's.
    case timmViT = "timm_vit"
    /// DINOv2's own names, and timm's for vision transformers with LayerScale.
    case dinov2
    /// ViT of the library transformers.
    case transformersViT = "transformers_vit"
    /// Dinov2 of the library transformers, with and without registers: what has LayerScale.
    case transformersDinov2 = "transformers_dinov2"
    /// torchvision's vision transformers.
    case torchvisionViT = "torchvision_vit"

    var isTransformer: Bool { self != .resnet }

    /// For messages.
    var title: String {
        switch self {
        case .resnet: "a ResNet in torchvision's names"
        case .timmViT: "a vision transformer in timm's names"
        case .dinov2: "a vision transformer in DINOv2's names"
        case .transformersViT: "a vision transformer (ViT) in transformers' names"
        case .transformersDinov2: "a vision transformer (Dinov2) in transformers' names"
        case .torchvisionViT: "a vision transformer in torchvision's names"
        }
    }
}

/// A family, and what stands in front of its names in a file, such as "module.encoder.".
struct WeightsNaming: Equatable {
    let family: WeightsFamily
    let prefix: String
    /// What stands in front of the names of other encoders that the file has: averages of this one, or what they are
    /// averages of.
    var others: [String] = []

    /// Wrappers that training programs put around an encoder.
    private static let wrappers: Set<String> = [
        "module", "model", "encoder", "backbone", "resnet", "net", "network", "base_encoder", "encoder_q", "teacher",
        "vit", "dinov2", "dinov2_with_registers", "_orig_mod", "state_dict", "online_encoder", "online_network",
        "teacher_backbone", "anchor_backbone",
    ]

    /// Wrappers of the second of two encoders, in the order in which they are taken where there is no first: MoCo, BYOL
    /// and their like are evaluated by the encoder that has learnt, DINO and its like by the teacher.
    private static let seconds = [
        "student", "student_backbone", "encoder_k", "momentum_encoder", "momentum_backbone", "backbone_momentum",
        "target_encoder",
        "target_network",
    ]

    /// The naming of a file's tensors, nil if it is none that is known. Where an encoder is found in several places,
    /// the one with the shortest prefix counts.
    static func recognise(_ names: [String]) -> WeightsNaming? {
        let markers: [(suffix: String, family: WeightsFamily)] = [
            ("layer1.0.conv1.weight", .resnet), ("4.0.conv1.weight", .resnet),
            ("patch_embed.proj.weight", .timmViT),
            ("embeddings.patch_embeddings.projection.weight", .transformersViT),
            ("conv_proj.weight", .torchvisionViT),
        ]
        var found: [WeightsNaming] = []
        for name in names {
            for (suffix, family) in markers where name.hasSuffix(suffix) {
                let prefix = name.dropLast(suffix.count)
                let parts = prefix.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
                guard prefix.isEmpty || parts.last == "",
                    parts.dropLast().allSatisfy({ wrappers.contains($0) || seconds.contains($0) })
                else { continue }
                found.append(WeightsNaming(family: family, prefix: String(prefix)))
            }
        }
        found.sort { ($0.rank, $0.prefix.utf8.count, $0.prefix) < ($1.rank, $1.prefix.utf8.count, $1.prefix) }
        guard var first = found.first else { return nil }
        first.others = found.dropFirst().map(\.prefix).filter { !first.prefix.hasPrefix($0) }
        func has(_ test: (Substring) -> Bool) -> Bool {
            names.contains { $0.hasPrefix(first.prefix) && test($0.dropFirst(first.prefix.count)) }
        }
        switch first.family {
        case .timmViT where has({ $0 == "register_tokens" || $0 == "mask_token" || $0.hasSuffix(".ls1.gamma") }):
            return WeightsNaming(family: .dinov2, prefix: first.prefix, others: first.others)
        case .transformersViT where has({ $0.hasSuffix(".layer_scale1.lambda1") }):
            return WeightsNaming(family: .transformersDinov2, prefix: first.prefix, others: first.others)
        default: return first
        }
    }

    /// 0 of a first encoder, more of a second one.
    private var rank: Int {
        prefix.split(separator: ".").compactMap { Self.seconds.firstIndex(of: String($0)) }.map { $0 + 1 }.max() ?? 0
    }

    /// What a tensor of the file is to the encoder.
    enum Role: Equatable {
        /// Of this encoder's tensor, part `part` of `of` along the first dimension.
        case tensor(String, part: Int = 0, of: Int = 1)
        /// Of a head, or needed in training only.
        case ignored
        /// A counter that is not worth a word.
        case counter
        case unknown
    }

    /// What classifies, projects, pools or decodes behind the encoder, and what stands for patches that are masked.
    private static let heads: Set<String> = [
        "fc", "head", "heads", "head_dist", "classifier", "pooler", "projector", "projection_head", "predictor",
        "prediction_head", "prototypes", "last_layer", "bn", "queue", "queue_ptr", "momentum_projector",
        "momentum_classifier", "projection_head_momentum", "student_head", "teacher_head", "online_classifier",
        "momentum_head", "momentum_predictor", "online_predictor", "target_projector", "dino_loss_func", "loss",
        "mask_token", "decoder", "local_projection_head",
    ]

    /// torchvision's parts of a ResNet, by their numbers in a `Sequential` of all but the last.
    private static let numbered = [
        "0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4",
    ]

    func role(_ name: String) -> Role {
        if name.hasSuffix(".num_batches_tracked") { return .counter }
        if others.contains(where: { name.hasPrefix($0) }) { return .ignored }
        guard name.hasPrefix(prefix) else {
            // beside the encoder, within wrappers
            var rest = name.split(separator: ".", omittingEmptySubsequences: false)[...]
            while let part = rest.first.map(String.init), Self.wrappers.contains(part) || Self.seconds.contains(part) {
                rest.removeFirst()
            }
            return rest.first.map { Self.heads.contains(String($0)) } == true ? .ignored : .unknown
        }
        let own = name.dropFirst(prefix.count)
        let parts = own.split(separator: ".", omittingEmptySubsequences: false)
        if Self.heads.contains(String(parts[0])) { return .ignored }
        switch family {
        case .resnet:
            return Self.numbered[String(parts[0])].map { renamed([$0[...]], parts.dropFirst()) } ?? .tensor(String(own))
        case .timmViT, .dinov2: return timm(parts)
        case .transformersViT, .transformersDinov2: return transformers(parts)
        case .torchvisionViT: return torchvision(parts)
        }
    }

    private func timm(_ parts: [Substring]) -> Role {
        switch parts[0] {
        case "mask_token": return .ignored
        case "register_tokens": return .tensor("reg_token")
        case "fc_norm": return renamed(["norm"], parts.dropFirst())
        // DINOv2 keeps blocks in chunks: blocks.0.3 is block 3.
        case "blocks" where parts.count > 3 && Int(parts[1]) != nil && Int(parts[2]) != nil:
            return renamed(["blocks"], parts.dropFirst(2))
        default: return renamed([], parts[...])
        }
    }

    private func transformers(_ parts: [Substring]) -> Role {
        if parts.count == 2, parts[0] == "embeddings" {
            switch parts[1] {
            case "cls_token": return .tensor("cls_token")
            case "mask_token": return .ignored
            case "register_tokens": return .tensor("reg_token")
            case "position_embeddings": return .tensor("pos_embed")
            default: return .unknown
            }
        }
        if parts.starts(with: ["embeddings", "patch_embeddings", "projection"]) {
            return renamed(["patch_embed", "proj"], parts.dropFirst(3))
        }
        if parts[0] == "layernorm" { return renamed(["norm"], parts.dropFirst()) }
        guard parts.count > 4, parts.starts(with: ["encoder", "layer"]) else { return .unknown }
        return block(
            parts[2], parts.dropFirst(3),
            [
                ("attention.attention.query", "attn.qkv", 0), ("attention.attention.key", "attn.qkv", 1),
                ("attention.attention.value", "attn.qkv", 2), ("attention.output.dense", "attn.proj", nil),
                ("layer_scale1.lambda1", "ls1.gamma", nil), ("layer_scale2.lambda1", "ls2.gamma", nil),
                ("norm1", "norm1", nil), ("norm2", "norm2", nil), ("mlp.fc1", "mlp.fc1", nil),
                ("mlp.fc2", "mlp.fc2", nil), ("layernorm_before", "norm1", nil), ("layernorm_after", "norm2", nil),
                ("intermediate.dense", "mlp.fc1", nil), ("output.dense", "mlp.fc2", nil),
            ])
    }

    private func torchvision(_ parts: [Substring]) -> Role {
        if parts == ["class_token"] { return .tensor("cls_token") }
        if parts[0] == "conv_proj" { return renamed(["patch_embed", "proj"], parts.dropFirst()) }
        if parts == ["encoder", "pos_embedding"] { return .tensor("pos_embed") }
        if parts.starts(with: ["encoder", "ln"]) { return renamed(["norm"], parts.dropFirst(2)) }
        let marker = "encoder_layer_"
        guard parts.count > 4, parts.starts(with: ["encoder", "layers"]), parts[2].hasPrefix(marker) else {
            return .unknown
        }
        return block(
            parts[2].dropFirst(marker.count), parts.dropFirst(3),
            [
                ("ln_1", "norm1", nil), ("ln_2", "norm2", nil),
                ("self_attention.in_proj_weight", "attn.qkv.weight", nil),
                ("self_attention.in_proj_bias", "attn.qkv.bias", nil), ("self_attention.out_proj", "attn.proj", nil),
                ("mlp.0", "mlp.fc1", nil), ("mlp.3", "mlp.fc2", nil), ("mlp.linear_1", "mlp.fc1", nil),
                ("mlp.linear_2", "mlp.fc2", nil),
            ])
    }

    /// The tensor of block `number` whose name begins as one of `names` says; the third is its part of queries, keys
    /// and values.
    private func block(
        _ number: Substring, _ parts: ArraySlice<Substring>, _ names: [(theirs: String, own: String, part: Int?)]
    ) -> Role {
        let rest = parts.joined(separator: ".")
        for (theirs, own, part) in names where rest == theirs || rest.hasPrefix(theirs + ".") {
            let name = "blocks.\(number).\(own)\(rest.dropFirst(theirs.count))"
            return part.map { .tensor(name, part: $0, of: 3) } ?? .tensor(name)
        }
        return .unknown
    }

    private func renamed(_ front: [Substring], _ rest: ArraySlice<Substring>) -> Role {
        .tensor((front + rest).joined(separator: "."))
    }
}
