import Testing

@testable import CARL

/// Encoders of which not all learns. Their gradients and steps are compared with the float64 reference in Python.
@Suite struct FrozenEncoderTests {
    static func trainer(_ more: String) throws -> Trainer {
        let base = try Configuration(
            json: """
                {"encoder": "resnet18", "width": 0.125, "in_channels": 2, "projector": [16, 8], "prototypes": 7,
                 "threads": 2, "zero_init_residual": false, "weight_decay": 0.1, "learning_rate": 0.01,
                 "views": [{"size": 12, "count": 2}, {"size": 8}]}
                """)
        return try Trainer(base.overriding(JSONValue.parse("{\(more)}")))
    }

    /// Views of two sizes for a step.
    static func views(_ step: Int, _ body: ([FloatImages]) throws -> Void) throws {
        let memory = try [12, 12, 8].enumerated().map { view, size in
            var random = RandomStream(seed: UInt64(10 * step + view), purpose: .order)
            let buffer = try FloatBuffer(5 * size * size * 2)
            for i in 0..<buffer.count { buffer.base[i] = random.normal() }
            return (buffer, size)
        }
        try withExtendedLifetime(memory) {
            try body(memory.map { FloatImages($0.base, batch: 5, height: $1, width: $1, channels: 2) })
        }
    }

    @Test(arguments: ["sgd", "lars", "adamw"]) func whatIsFrozenStaysBitByBit(_ optimizer: String) throws {
        for part in ["\"none\"", "1", "3"] {
            let trainer = try Self.trainer(
                #""train_encoder": \#(part), "optimizer": "\#(optimizer)", "teacher_momentum": 0.9"#)
            let before = try TrainerTests.state(trainer)
            for step in 0..<2 { try Self.views(step) { _ = try trainer.step(views: $0) } }
            let (after, tensors) = (try TrainerTests.state(trainer), trainer.tensors)
            let learning = part == "1" ? ["layer4.1."] : part == "3" ? ["layer3.1.", "layer4."] : []
            for (i, tensor) in tensors.enumerated() {
                let name = tensor.name.hasPrefix("teacher.") ? String(tensor.name.dropFirst(8)) : tensor.name
                let frozen =
                    name.hasPrefix("encoder.") && !learning.contains { name.dropFirst(8).hasPrefix($0) }
                #expect((before[i] == after[i]) == frozen, "\(tensor.name) of \(part)")
                if frozen { #expect(!tensor.trained) }
            }
            for entry in trainer.training.optimizerEntries where entry.name.contains(".encoder.layer1.") {
                #expect((0..<entry.count).allSatisfy { entry.values[$0] == 0 })
            }
            #expect(throws: CARLError.self) {
                var value: Float = 0
                try trainer.readGradient("encoder.bn1.weight", into: &value, count: 8)
            }
        }
    }

    /// A step on the features that the encoder gives for the views is the step on the views. Rounding differs: what
    /// convolutions are computed by depends on how many images there are.
    @Test(arguments: ["", #", "teacher_momentum": 0.9"#, #", "recompute": true"#, #", "encoder": "resnet50""#])
    func stepsOnCachedFeatures(_ more: String) throws {
        let (whole, cached) = (
            try Self.trainer(#""train_encoder": "none""# + more),
            try Self.trainer(#""train_encoder": "none""# + more)
        )
        let width = try cached.evaluator.width(.features)
        for step in 0..<3 {
            try Self.views(step) { views in
                let features = try FloatBuffer(3 * 5 * width)
                for (i, view) in views.enumerated() {
                    try cached.evaluator.embed(view, .features, into: features.base + i * 5 * width)
                }
                let a = try whole.step(views: views)
                let b = try cached.step(features: features.base, views: 3, batch: 5, globalViews: 2)
                #expect(abs(a.loss - b.loss) < 1e-5 * abs(a.loss) && a.step == b.step)
                #expect(abs(a.gradientNorm - b.gradientNorm) < 1e-4 * a.gradientNorm)
            }
        }
        for (a, b) in zip(try TrainerTests.state(whole), try TrainerTests.state(cached)) {
            for (x, y) in zip(a, b) { #expect(abs(x - y) <= 3e-5 * max(1, abs(x))) }
        }
    }

    @Test func whatCannotBe() throws {
        let deep = #expect(throws: CARLError.self) { try Self.trainer(#""train_encoder": 9"#) }
        #expect(deep?.description.contains("1 to 8, got 9") == true)
        for value in ["0", "\"some\"", "1.5", "true", "[]", "-1"] {
            let error = #expect(throws: CARLError.self) { try Self.trainer(#""train_encoder": \#(value)"#) }
            #expect(error?.description.contains("train_encoder") == true)
        }
        for value in ["0", "1.01", "-1"] {
            let error = #expect(throws: CARLError.self) { try Self.trainer(#""layer_decay": \#(value)"#) }
            #expect(error?.description.contains("layer_decay") == true)
        }
        var features = [Float](repeating: 0, count: 2 * 5 * 64)
        let learning = try Self.trainer(#""train_encoder": 1"#)
        #expect(throws: CARLError.self) { try learning.step(features: features, views: 2, batch: 5) }
        let frozen = try Self.trainer(#""train_encoder": "none""#)
        for (views, batch, global) in [(1, 5, 0), (2, 1, 0), (2, 5, 3), (2, 5, -1)] {
            #expect(throws: CARLError.self) {
                try frozen.step(features: features, views: views, batch: batch, globalViews: global)
            }
        }
        features[400] = .nan
        let error = #expect(throws: CARLError.self) { try frozen.step(features: features, views: 2, batch: 5) }
        #expect(error?.description.contains("view 1") == true)
        #expect(frozen.stepCount == 0)
    }
}
