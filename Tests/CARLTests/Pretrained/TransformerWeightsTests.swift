import Testing

@testable import CARL

/// Vision transformers in the names of each program. Parity with the programs themselves is tested in Python.
@Suite struct TransformerWeightsTests {
    /// A model with values at random, also where they would begin at 0 or 1.
    static func trainer(_ more: String = "") throws -> Trainer {
        let trainer = try Trainer(
            Configuration(
                json: """
                    {"encoder": "vit_tiny", "patch_size": 16, "view_size": 64, "position_grid": 4, "threads": 2,
                     "projector": [4], "prototypes": 3\(more)}
                    """))
        var random = RandomStream(seed: 1, purpose: .order)
        for tensor in trainer.tensors where tensor.name.hasPrefix("encoder.") {
            let values = (0..<tensor.count).map { _ in random.normal() * 0.1 }
            try trainer.writeTensor(tensor.name, from: values, count: tensor.count)
        }
        return trainer
    }

    static func features(_ model: some ImageEmbedding, size: Int = 64) throws -> [Float] {
        var random = RandomStream(seed: 2, purpose: .order)
        let images = (0..<2 * size * size * 3).map { _ in random.normal() }
        var out = [Float](repeating: 0, count: 2 * (try model.width(.features)))
        try out.withUnsafeMutableBufferPointer { out in
            try images.withUnsafeBufferPointer {
                try model.embed(
                    FloatImages($0.baseAddress!, batch: 2, height: size, width: size, channels: 3), .features,
                    into: out.baseAddress!)
            }
        }
        return out
    }

    /// DINOv2's own patches of 14 pixels are evaluated at 224, though their positions are of 518; others as they are.
    @Test(arguments: [(14, 37, 224), (14, 4, 56), (16, 24, 384), (12, 4, 48)])
    func sizeOfImages(_ patch: Int, _ grid: Int, _ size: Int) throws {
        let tensors = try WeightsFile.tensors(
            Trainer(
                Configuration(
                    json: """
                        {"encoder": "vit_tiny", "patch_size": \(patch), "position_grid": \(grid), "layer_scale": 0.1,
                         "views": [{"size": \(2 * patch), "count": 2}], "projector": [4], "prototypes": 2}
                        """)))
        let file = try WeightsFile(Naming.dinov2.tensors(tensors))
        let weights = try PretrainedWeights(path: file.path)
        #expect(weights.family == .dinov2 && weights.preprocessing.size == size)
        #expect(try weights.configuration().viewSpecs[0].size == size)
    }

    @Test(arguments: Naming.allCases) func featuresAreThoseOfTheModel(_ naming: Naming) throws {
        let scaled = naming == .dinov2 || naming == .chunked || naming == .transformersDinov2
        let trainer = try Self.trainer(scaled ? #", "layer_scale": 0.1, "registers": 2"# : "")
        let file = try WeightsFile(
            naming.tensors(try WeightsFile.tensors(trainer)) + [WeightsFile.Tensor("head.weight", [2, 192])])
        let weights = try PretrainedWeights(path: file.path)
        let family: WeightsFamily =
            switch naming {
            case .timm: .timmViT
            case .dinov2, .chunked: .dinov2
            case .transformersViT: .transformersViT
            case .transformersDinov2: .transformersDinov2
            case .torchvision: .torchvisionViT
            }
        #expect(weights.family == family && weights.ignored == ["head.weight"])
        for (key, value) in [
            ("encoder", "vit_tiny"), ("patch_size", 16), ("position_grid", 4), ("registers", scaled ? 2 : 0),
            ("in_channels", 3), ("pool", "class"), ("layer_scale", scaled ? 1e-5 : nil),
        ] as [(String, JSONValue)] {
            #expect(weights.encoderKeys[key] == value, "\(key)")
        }
        #expect(weights.preprocessing.size == 64)
        let encoder = try Evaluator(weights: file.path, threads: 2)
        #expect(try Self.features(encoder) == Self.features(trainer.evaluator))
        #expect(try Self.features(encoder, size: 96) == Self.features(trainer.evaluator, size: 96))
        // the mean of the patches, which the file knows nothing of
        let pooled = try Evaluator(weights: file.path, overrides: ["pool": "class_mean"], threads: 2)
        #expect(try pooled.width(.features) == 384)
        let other = try Self.trainer(scaled ? #", "layer_scale": 0.1, "registers": 2, "seed": 9"# : #", "seed": 9"#)
        try other.loadWeights(from: file.path)
        #expect(try Self.features(other.evaluator) == Self.features(trainer.evaluator))
    }

    /// timm's models with registers have no position for the class token: that row is 0.
    @Test func positionsOfThePatchesAlone() throws {
        let trainer = try Self.trainer(#", "registers": 4"#)
        let name = "encoder.pos_embed"
        var positions = [Float](repeating: 0, count: 17 * 192)
        try trainer.readTensor(name, into: &positions, count: positions.count)
        for c in 0..<192 { positions[c] = 0 }
        try trainer.writeTensor(name, from: positions, count: positions.count)
        var tensors = try WeightsFile.tensors(trainer)
        let place = try #require(tensors.firstIndex { $0.name == "pos_embed" })
        tensors[place] = .init("pos_embed", [1, 16, 192], Array(positions[192...]))
        let file = try WeightsFile(tensors)
        #expect(try Self.features(Evaluator(weights: file.path, threads: 2)) == Self.features(trainer.evaluator))
    }

    /// Models without biases of queries, keys and values; and files in types of less or more bits.
    @Test func biasesThatAreNotThereAndOtherTypes() throws {
        let trainer = try Self.trainer()
        var tensors = try WeightsFile.tensors(trainer)
        for i in tensors.indices {
            // what bfloat16 can hold
            tensors[i].values = tensors[i].values.map { Float(bitPattern: $0.bitPattern & 0xffff_0000) }
            tensors[i].type = i % 3 == 0 ? .bfloat16 : i % 3 == 1 ? .float64 : .float32
            let name = "encoder." + tensors[i].name
            if name.hasSuffix(".qkv.bias") {
                tensors[i].values = [Float](repeating: 0, count: tensors[i].values.count)
            }
            try trainer.writeTensor(name, from: tensors[i].values, count: tensors[i].values.count)
        }
        let file = try WeightsFile(tensors.filter { !$0.name.hasSuffix(".qkv.bias") })
        #expect(try Self.features(Evaluator(weights: file.path, threads: 2)) == Self.features(trainer.evaluator))
    }

    /// A file does not say how wide heads are; of this one it is known that they are not 64 wide.
    @Test func otherHeadsAreRefused() throws {
        func small(_ prefix: String) throws -> WeightsFile {
            var tensors: [WeightsFile.Tensor] = [
                .init("cls_token", [1, 1, 384]), .init("pos_embed", [1, 5, 384]),
                .init("patch_embed.proj.weight", [384, 3, 2, 2]),
            ]
            for block in 0..<12 { tensors.append(.init("blocks.\(block).norm1.weight", [384])) }
            return try WeightsFile(tensors.map { .init(prefix + $0.name, $0.shape) })
        }
        let known = try small("module.encoder.")
        #expect(try PretrainedWeights(path: known.path).encoderKeys["encoder"] == "vit_small")
        for wrapper in ["base_encoder", "momentum_encoder"] {
            let file = try small("module.\(wrapper).")
            let error = #expect(throws: CARLError.self) { try PretrainedWeights(path: file.path) }
            #expect(error?.description.contains("12 heads of 32 values") == true)
        }
    }

    @Test func whatDoesNotFitIsNamed() throws {
        let tensors = Naming.transformersViT.tensors(try WeightsFile.tensors(try Self.trainer()))
        func error(_ change: (inout [WeightsFile.Tensor]) -> Void) throws -> String {
            var changed = tensors
            change(&changed)
            let file = try WeightsFile(changed)
            let error = #expect(throws: CARLError.self) { try Evaluator(weights: file.path) }
            return error?.description ?? ""
        }
        #expect(
            try error { $0.removeAll { $0.name.hasSuffix("layer.3.attention.attention.key.weight") } }.contains(
                "missing: blocks.3.attn.qkv.weight (part 2 of 3)"))
        #expect(
            try error { $0.append(.init("vit.encoder.layer.3.gate.weight", [2])) }.contains(
                "more than the model has: vit.encoder.layer.3.gate.weight"))
        #expect(try error { $0.append(.init("vit.embeddings.strange", [2])) }.contains("vit.embeddings.strange"))
        #expect(try error { $0.append(.init("other.norm.weight", [2])) }.contains("other.norm.weight"))
        #expect(try error { $0.removeAll { $0.name.contains(".layer.7.") } }.contains("only 11"))
        #expect(try error { $0.removeAll { $0.name.contains(".layer.11.") } }.contains("11 blocks deep"))
        #expect(try error { $0.removeAll { $0.name.contains("position") } }.contains("no pos_embed"))
        #expect(
            try error { changed in
                let place = changed.firstIndex { $0.name.hasSuffix("position_embeddings") }!
                changed[place] = .init(changed[place].name, [1, 19, 192])
            }.contains("19 rows"))
        let twice = try WeightsFile(try WeightsFile.tensors(try Self.trainer()) + [.init("fc_norm.weight", [192])])
        let error = #expect(throws: CARLError.self) { try Evaluator(weights: twice.path) }
        #expect(
            error?.description.contains("fc_norm.weight") == true || error?.description.contains("norm.weight") == true)
    }

    @Test func otherChannels() throws {
        let trainer = try Self.trainer()
        let file = try WeightsFile(try WeightsFile.tensors(trainer))
        let name = "encoder.patch_embed.proj.weight"
        var own = [Float](repeating: 0, count: 192 * 3 * 256)
        try trainer.readTensor(name, into: &own, count: own.count)
        for channels in [1, 2, 5] {
            let model = try Self.trainer(#", "in_channels": \#(channels)"#)
            try model.loadWeights(from: file.path)
            var adapted = [Float](repeating: 0, count: 192 * channels * 256)
            try model.readTensor(name, into: &adapted, count: adapted.count)
            for i in adapted.indices {
                let (filter, rest) = i.quotientAndRemainder(dividingBy: channels * 256)
                let (channel, pixel) = rest.quotientAndRemainder(dividingBy: 256)
                func weight(_ c: Int) -> Float { own[(filter * 3 + c) * 256 + pixel] }
                let wanted =
                    channels == 1 ? weight(0) + weight(1) + weight(2) : weight(channel % 3) * (3 / Float(channels))
                #expect(adapted[i] == wanted)
                if adapted[i] != wanted { return }
            }
        }
    }
}
