import Foundation
import Testing

@testable import CARL

@Suite struct ResNetWeightsTests {
    static func trainer(_ more: String = "") throws -> Trainer {
        let base = try Configuration(
            json: """
                {"encoder": "resnet18", "width": 0.0625, "stem": "small", "threads": 2, "projector": [4],
                 "prototypes": 3, "zero_init_residual": false}
                """)
        let trainer = try Trainer(base.overriding(JSONValue.parse("{\(more)}")))
        var random = RandomStream(seed: 1, purpose: .order)
        for tensor in trainer.tensors where tensor.name.hasPrefix("encoder.") && tensor.shape.count == 1 {
            let values = (0..<tensor.count).map { _ in 0.5 + random.uniform() }
            try trainer.writeTensor(tensor.name, from: values, count: tensor.count)
        }
        return trainer
    }

    @Test(arguments: [
        ("resnet18", "small", 32, 1.0), ("resnet34", "small", 32, 1), ("resnet50", "small", 32, 1),
        ("resnet18", "imagenet", 224, 0.875), ("resnet50", "imagenet", 224, 0.875),
    ])
    func kindAndPreprocessing(_ kind: String, _ stem: String, _ size: Int, _ crop: Double) throws {
        let trainer = try Self.trainer(#""encoder": "\#(kind)", "stem": "\#(stem)""#)
        for prefix in ["", "module.", "encoder."] {
            let tensors = try WeightsFile.tensors(trainer).map { tensor in
                var tensor = tensor
                tensor.name = prefix + tensor.name
                return tensor
            }
            let file = try WeightsFile(
                tensors + [.init(prefix + "fc.weight", [2, 2]), .init("prototypes.weight", [1])])
            let weights = try PretrainedWeights(path: file.path)
            #expect(weights.encoderKeys["encoder"] == .string(kind) && weights.encoderKeys["stem"] == .string(stem))
            #expect(
                weights.encoderKeys["width"] == 0.0625
                    && Set(weights.ignored) == [prefix + "fc.weight", "prototypes.weight"])
            let evaluator = try Evaluator(weights: file.path, threads: 2)
            #expect(
                try TransformerWeightsTests.features(evaluator, size: 40)
                    == TransformerWeightsTests.features(trainer.evaluator, size: 40))
            #expect(evaluator.configuration.viewSpecs[0].size == size && evaluator.configuration.evaluationCrop == crop)
            #expect(evaluator.configuration.viewSpecs[0].mean == [0.485, 0.456, 0.406])
            let gray = try weights.configuration(["in_channels": 1])
            #expect(gray.viewSpecs[0].mean.count == 1 && abs(gray.viewSpecs[0].mean[0] - 0.449) < 1e-3)
        }
    }

    /// Files of methods with two encoders: the one that the method is evaluated by is taken, the other one and what
    /// belongs to neither is left out.
    @Test(arguments: [
        ("module.encoder_q.", "module.encoder_k.", ["module.queue", "module.queue_ptr"]),
        ("backbone.", "momentum_backbone.", ["projector.0.weight", "momentum_projector.0.weight", "queue"]),
        ("backbone.", "backbone_momentum.", ["projection_head_momentum.0.weight", "prediction_head.0.weight"]),
        (
            "teacher.backbone.", "student.module.backbone.",
            ["teacher.head.mlp.0.weight", "student_head.0.weight", "student.module.head.last_layer.weight_g"]
        ),
        (
            "backbone.", "momentum_backbone.",
            ["head.mlp.0.weight", "momentum_head.mlp.0.weight", "dino_loss_func.center"]
        ),
        ("teacher_backbone.", "student_backbone.", ["student_head.0.weight", "teacher_head.0.weight"]),
        ("net.", "target_encoder.net.", ["online_predictor.0.weight", "online_encoder.projector.0.weight"]),
        ("online_encoder.net.", "target_encoder.net.", ["predictor.0.weight"]),
        ("", "momentum_encoder.", []),
        (
            "backbone.vit.", "anchor_backbone.vit.",
            ["backbone.mask_token", "decoder.decoder_blocks.0.norm1.weight", "local_projection_head.0.weight"]
        ),
        ("state_dict.module._orig_mod.", "module.encoder_k.", ["module.bn.running_mean"]),
    ])
    func twoEncoders(_ own: String, _ other: String, _ more: [String]) throws {
        let trainer = try Self.trainer()
        let tensors = try WeightsFile.tensors(trainer)
        func named(_ prefix: String, _ factor: Float) -> [WeightsFile.Tensor] {
            tensors.map { .init(prefix + $0.name, $0.shape, $0.values.map { $0 * factor }) }
        }
        for both in [named(own, 1) + named(other, 2), named(other, 2) + named(own, 1)] {
            let file = try WeightsFile(both + more.map { .init($0, [2]) })
            let evaluator = try Evaluator(weights: file.path, threads: 2)
            #expect(
                try TransformerWeightsTests.features(evaluator, size: 40)
                    == TransformerWeightsTests.features(trainer.evaluator, size: 40))
            let ignored = try PretrainedWeights(path: file.path).ignored
            #expect(Set(ignored) == Set(named(other, 2).map(\.name) + more))
        }
        let alone = try WeightsFile(named(other, 1))
        #expect(
            try TransformerWeightsTests.features(Evaluator(weights: alone.path, threads: 2), size: 40)
                == TransformerWeightsTests.features(trainer.evaluator, size: 40))
    }

    /// A `Sequential` of a ResNet's parts, as lightly's examples make one, has numbers for names.
    @Test(arguments: ["", "backbone.", "module.encoder."]) func numberedParts(_ prefix: String) throws {
        let trainer = try Self.trainer()
        let numbers = ["conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"]
        let file = try WeightsFile(
            WeightsFile.tensors(trainer).map { tensor in
                let (first, rest) = (tensor.name.prefix { $0 != "." }, tensor.name.drop { $0 != "." })
                return .init(prefix + (numbers[String(first)] ?? "") + rest, tensor.shape, tensor.values)
            } + [.init("projection_head.layers.0.weight", [2])])
        #expect(
            try TransformerWeightsTests.features(Evaluator(weights: file.path, threads: 2), size: 40)
                == TransformerWeightsTests.features(trainer.evaluator, size: 40))
    }

    @Test func overridesStand() throws {
        let file = try WeightsFile(try WeightsFile.tensors(try Self.trainer()))
        let weights = try PretrainedWeights(path: file.path)
        let own = try weights.configuration(["views": [["size": 48, "count": 2], ["size": 24, "mean": [0.1]]]])
        #expect(own.viewSpecs.map(\.size) == [48, 24] && own.viewSpecs[1].mean == [0.1])
        let given = try weights.configuration(["mean": [0.2], "std": [0.3], "evaluation_crop": 0.5, "view_size": 64])
        #expect(given.viewSpecs[0].mean == [0.2] && given.viewSpecs[0].std == [0.3])
        #expect(given.viewSpecs[0].size == 64 && given.evaluationCrop == 0.5)
        // what a configuration writes it reads again
        #expect(try Configuration(given.json) == given && Configuration(own.json) == own)
        #expect(throws: CARLError.self) { try weights.configuration(["mean": [0.2, 0.3]]) }
    }

    /// No file ends the process: damaged ones are an error, or weights that give numbers or an error.
    /// `CARL_MUTATIONS` says how many are made, `CARL_MUTATION_SEED` which.
    @Test func damagedFiles() throws {
        let environment = ProcessInfo.processInfo.environment
        let count = environment["CARL_MUTATIONS"].flatMap { Int($0) } ?? 2000
        let seed = environment["CARL_MUTATION_SEED"].flatMap { UInt64($0) } ?? 1
        let own = try WeightsFile.tensors(try Self.trainer(#""width": 0.015625"#))
        let transformer = Naming.allCases.map { naming in
            naming.tensors(
                [.init("cls_token", [1, 1, 4]), .init("pos_embed", [1, 5, 4]), .init("norm.weight", [4])]
                    + [.init("patch_embed.proj.weight", [4, 3, 2, 2])]
                    + (0..<12).flatMap {
                        [.init("blocks.\($0).attn.qkv.weight", [12, 4]), .init("blocks.\($0).norm1.weight", [4])]
                    })
        }
        let files = try ([own] + transformer).map { tensors in
            let file = try WeightsFile(tensors + [.init("fc.weight", [2, 2])])
            return Array(try Data(contentsOf: URL(fileURLWithPath: file.path)))
        }
        var (read, refused) = (0, 0)
        for number in 0..<count {
            var random = RandomStream(seed: seed, purpose: .order, major: UInt64(number))
            // the file that can be read most often
            let bytes = Mutations.mutated(files[random.pick(3) > 0 ? 0 : random.pick(files.count)], &random)
            let file = try WeightsFile(bytes: bytes)
            do {
                let weights = try PretrainedWeights(path: file.path)
                #expect(weights.description.serialized().utf8.count < 1 << 16)
                let encoder = try Evaluator(weights: file.path, threads: 1)
                read += 1
                let features = try TransformerWeightsTests.features(encoder, size: 8)
                #expect(features.allSatisfy { $0.isFinite })
            } catch let error as CARLError {
                refused += 1
                #expect(error.description.utf8.count < 1 << 14, "\(number)")
            }
        }
        #expect(read > 0 && refused > count / 4)
        if environment["CARL_MUTATIONS"] != nil { print("\(count) mutations: \(read) read, \(refused) refused") }
    }
}

/// Damage to a safetensors file.
enum Mutations {
    static func mutated(_ bytes: [UInt8], _ random: inout RandomStream) -> [UInt8] {
        var bytes = bytes
        let header = 8 + bytes[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
        for _ in 0...random.pick(3) {
            switch random.pick(9) {
            case 0: bytes.removeLast(random.pick(bytes.count))
            case 1: for i in 0..<min(8, bytes.count) where random.pick(2) == 0 { bytes[i] = random.byte() }
            case 2:
                for _ in 0...random.pick(8) where bytes.count > header { bytes[random.pick(header)] = random.byte() }
            case 3:
                for _ in 0...random.pick(8) where bytes.count > header {
                    bytes[header + random.pick(bytes.count - header)] = random.byte()
                }
            case 4:
                // a value that is no number, or a large one
                let values: [Float] = [.nan, .infinity, 1e38, -1e38, .leastNonzeroMagnitude]
                guard bytes.count > header + 4 else { break }
                let at = header + random.pick((bytes.count - header) / 4) * 4
                withUnsafeBytes(of: values[random.pick(values.count)]) {
                    for i in 0..<min(4, bytes.count - at) { bytes[at + i] = $0[i] }
                }
            case 5:
                replace(&bytes, header, &random, ["F32", "conv1", "layer1", "shape", "blocks", "weight", "0,", "1"])
            case 6:
                bytes.insert(
                    contentsOf: (0...random.pick(20)).map { _ in random.byte() }, at: random.pick(bytes.count + 1))
            case 7: bytes += (0...random.pick(100)).map { _ in random.byte() }
            default:
                // a part of the header twice, for names that are there twice
                guard bytes.count > header, header > 40 else { break }
                let at = 8 + random.pick(header - 40)
                bytes.insert(contentsOf: bytes[at..<at + random.pick(32)], at: at)
            }
        }
        return bytes
    }

    /// One of some words in the header becomes another, and the header's length follows.
    private static func replace(_ bytes: inout [UInt8], _ header: Int, _ random: inout RandomStream, _ words: [String])
    {
        guard bytes.count > header else { return }
        let word = Array(words[random.pick(words.count)].utf8)
        let others = [
            "BF16", "F16", "F64", "I64", "conv2", "layer2", "layer9", "18446744073709551615", "-1", "", "\\u0000",
            "1e300",
        ]
        let places = (8..<max(8, header - word.count)).filter { Array(bytes[$0..<$0 + word.count]) == word }
        guard !places.isEmpty else { return }
        let place = places[random.pick(places.count)]
        let other = Array(others[random.pick(others.count)].utf8)
        bytes.replaceSubrange(place..<place + word.count, with: other)
        let length = UInt64(max(0, header - 8 + other.count - word.count))
        withUnsafeBytes(of: length.littleEndian) { for i in 0..<8 { bytes[i] = $0[i] } }
    }
}

extension RandomStream {
    mutating func pick(_ count: Int) -> Int { count <= 0 ? 0 : Int(next()) % count }
    mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next()) }
}
