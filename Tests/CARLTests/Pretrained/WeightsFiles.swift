import Foundation

@testable import CARL

/// Weights files as other programs write them.
final class WeightsFile {
    let path = NSTemporaryDirectory() + "carl-weights-\(UUID().uuidString).safetensors"

    struct Tensor {
        var name: String
        var shape: [Int]
        var values: [Float]
        var type = Safetensors.ElementType.float32

        var bytes: [UInt8] {
            switch type {
            case .bfloat16:
                values.flatMap { value in
                    withUnsafeBytes(of: UInt16(truncatingIfNeeded: value.bitPattern >> 16)) { Array($0) }
                }
            case .float64: values.flatMap { value in withUnsafeBytes(of: Double(value)) { Array($0) } }
            default: values.withUnsafeBytes { Array($0) }
            }
        }

        init(_ name: String, _ shape: [Int], _ values: [Float]? = nil) {
            (self.name, self.shape) = (name, shape)
            self.values = values ?? [Float](repeating: 0.5, count: shape.reduce(1, *))
        }
    }

    init(_ tensors: [Tensor]) throws {
        let bytes = tensors.map(\.bytes)
        var entries: [Safetensors.Entry] = []
        for (tensor, bytes) in zip(tensors, bytes) {
            bytes.withUnsafeBytes {
                entries.append(
                    Safetensors.Entry(name: tensor.name, shape: tensor.shape, type: tensor.type, bytes: $0))
            }
        }
        try withExtendedLifetime(bytes) {
            try Safetensors.write(path: path, entries: entries, metadata: [("format", "pt")])
        }
    }

    init(bytes: [UInt8]) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

    deinit { unlink(path) }

    /// An encoder's tensors in its own names, which are those of torchvision and timm.
    static func tensors(_ trainer: Trainer) throws -> [Tensor] {
        zip(trainer.tensors, try TrainerTests.state(trainer)).filter { $0.0.name.hasPrefix("encoder.") }.map {
            Tensor(String($0.0.name.dropFirst(8)), $0.0.shape, $0.1)
        }
    }
}

/// A vision transformer's tensors in the names of other programs.
enum Naming: String, CaseIterable {
    case timm, dinov2, chunked, transformersViT, transformersDinov2, torchvision

    func tensors(_ own: [WeightsFile.Tensor]) -> [WeightsFile.Tensor] { own.flatMap { renamed($0) } }

    private func renamed(_ tensor: WeightsFile.Tensor) -> [WeightsFile.Tensor] {
        let parts = tensor.name.split(separator: ".").map(String.init)
        func named(_ name: String) -> [WeightsFile.Tensor] {
            var result = tensor
            result.name = name
            return [result]
        }
        let (last, block) = (parts[parts.count - 1], parts.count > 1 ? parts[1] : "")
        switch self {
        case .timm: return named(tensor.name)
        case .dinov2, .chunked:
            if tensor.name == "reg_token" { return named("register_tokens") }
            if self == .chunked, parts[0] == "blocks" {
                return named("blocks.\(Int(block)! / 4)." + parts.dropFirst().joined(separator: "."))
            }
            return named(tensor.name)
        case .transformersViT, .transformersDinov2:
            let prefix = self == .transformersViT ? "vit." : ""
            let simple = [
                "cls_token": "embeddings.cls_token", "reg_token": "embeddings.register_tokens",
                "pos_embed": "embeddings.position_embeddings",
                "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
                "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
                "norm.weight": "layernorm.weight", "norm.bias": "layernorm.bias",
            ]
            if let name = simple[tensor.name] { return named(prefix + name) }
            let start = "\(prefix)encoder.layer.\(block)."
            let inside = parts.dropFirst(2).joined(separator: ".")
            if inside.hasPrefix("attn.qkv") {
                let rows = tensor.shape[0] / 3
                let count = tensor.values.count / 3
                return ["query", "key", "value"].enumerated().map { i, name in
                    WeightsFile.Tensor(
                        "\(start)attention.attention.\(name).\(last)", [rows] + tensor.shape.dropFirst(),
                        Array(tensor.values[i * count..<(i + 1) * count]))
                }
            }
            let names =
                self == .transformersViT
                ? [
                    "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.output.dense",
                    "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
                ]
                : [
                    "norm1": "norm1", "norm2": "norm2", "attn.proj": "attention.output.dense", "mlp.fc1": "mlp.fc1",
                    "mlp.fc2": "mlp.fc2", "ls1": "layer_scale1", "ls2": "layer_scale2",
                ]
            let layer = parts[2..<parts.count - 1].joined(separator: ".")
            return named(start + names[layer]! + "." + (last == "gamma" ? "lambda1" : last))
        case .torchvision:
            let simple = [
                "cls_token": "class_token", "pos_embed": "encoder.pos_embedding",
                "patch_embed.proj.weight": "conv_proj.weight", "patch_embed.proj.bias": "conv_proj.bias",
                "norm.weight": "encoder.ln.weight", "norm.bias": "encoder.ln.bias",
            ]
            if let name = simple[tensor.name] { return named(name) }
            let names = [
                "norm1.": "ln_1.", "norm2.": "ln_2.", "attn.qkv.": "self_attention.in_proj_",
                "attn.proj.": "self_attention.out_proj.", "mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.3.",
            ]
            let layer = parts[2..<parts.count - 1].joined(separator: ".") + "."
            return named("encoder.layers.encoder_layer_\(block).\(names[layer]!)\(last)")
        }
    }
}
