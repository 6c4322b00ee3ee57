import Foundation
import Testing

@testable import CARL

@Suite struct TrainerTests {
    /// A small model on 12x12 images; `more` adds or changes keys.
    static func trainer(_ more: String = "", threads: Int = 2) throws -> Trainer {
        let base = try Configuration(
            json: """
                {"width": 0.125, "in_channels": 1, "projector": [16, 8], "prototypes": 10, "threads": \(threads), "seed": 4,
                 "learning_rate": 0.01, "optimizer": "sgd", "objective": "carl", "prior_weight": 2, "views": [{"size": 12, "jitter": [0.4, 0.4, 0, 0], "blur_p": 0.5, "count": 2}]}
                """)
        return try Trainer(base.overriding(JSONValue.parse("{\(more)}")))
    }

    /// Images with structure: random blocks of 4 pixels.
    static func images(_ count: Int, seed: UInt64 = 0) -> [UInt8] {
        var random = RandomStream(seed: seed, purpose: .order)
        var pixels = [UInt8](repeating: 0, count: count * 144)
        for i in 0..<count {
            let blocks = (0..<9).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            for y in 0..<12 { for x in 0..<12 { pixels[i * 144 + y * 12 + x] = blocks[y / 4 * 3 + x / 4] } }
        }
        return pixels
    }

    static func step(_ trainer: Trainer, seed: UInt64, indices: [UInt64]? = nil, count: Int = 20) throws -> Metrics {
        let pixels = images(count, seed: seed)
        return try pixels.withUnsafeBufferPointer { pixels in
            let sources = (0..<count).map {
                SourceImage(pixels: pixels.baseAddress! + $0 * 144, height: 12, width: 12, channels: 1, rowStride: 12)
            }
            guard let indices else { return try trainer.step(sources) }
            return try indices.withUnsafeBufferPointer { try trainer.step(sources, indices: $0.baseAddress, epoch: 3) }
        }
    }

    static func state(_ trainer: Trainer) throws -> [[Float]] {
        try trainer.tensors.map { tensor in
            var values = [Float](repeating: 0, count: tensor.count)
            try values.withUnsafeMutableBufferPointer {
                try trainer.readTensor(tensor.name, into: $0.baseAddress!, count: tensor.count)
            }
            return values
        }
    }

    static let variants = [
        "", #""optimizer": "lars""#, #""optimizer": "adamw", "learning_rate": 0.001"#,
        #""teacher_momentum": 0.9, "total_steps": 20, "prior_over_targets": true"#,
        #""accumulate": 2, "clip_norm": 0.5"#,
        #""projector": [8], "schedule": "cosine", "total_steps": 9, "warmup_steps": 3"#,
        #""schedule": "trapezoid", "total_steps": 7, "decay_steps": [2, 1], "warmup_steps": 1, "teacher_momentum": 0.9"#,
        #""partition_size": 4, "freeze_prototypes": 4, "temperature": {"start": 1, "end": 0.1, "steps": 5}"#,
        #""recompute": true, "partition_size": 3, "teacher_momentum": 0.9, "used_window": 2"#,
        #""projector_activation": "gelu", "prior_weight": {"start": 4, "end": 1, "steps": 4}"#,
        #""contrast_weight": {"start": 2, "end": 0, "steps": 5}, "contrast_temperature": 0.5"#,
        #""optimizer": "lars", "trust_coefficient": 0.02"#,
        // Layers wide enough that the rule takes bfloat16.
        #""precision": "bf16-emulated", "encoder": "resnet50", "width": 0.5, "projector": [64, 8]"#,
    ]

    @Test(arguments: variants) func resumeIsExact(_ more: String) throws {
        let path = NSTemporaryDirectory() + "carl-\(UUID().uuidString).carl"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let whole = try Self.trainer(more)
        let half = try Self.trainer(more)
        for i in 0..<3 {
            _ = try Self.step(whole, seed: UInt64(i))
            _ = try Self.step(half, seed: UInt64(i))
        }
        try half.save(to: path, notes: ["epoch": 3])
        let resumed = try Trainer.resume(from: path)
        #expect(resumed.notes == ["epoch": 3])
        // Notes that could not be read again are refused before the file is replaced.
        var deep: JSONValue = 1
        for _ in 0..<150 { deep = .array([deep]) }
        #expect(throws: CARLError.self) { try half.save(to: path, notes: ["deep": deep]) }
        #expect(try Trainer.resume(from: path).notes == ["epoch": 3])
        #expect(resumed.configuration == half.configuration)
        for i in 3..<6 {
            let a = try Self.step(whole, seed: UInt64(i))
            let b = try Self.step(resumed, seed: UInt64(i))
            #expect(a.loss == b.loss && a.terms == b.terms && a.learningRate == b.learningRate)
        }
        #expect(try Self.state(whole) == Self.state(resumed))
    }

    @Test func threadsChangeResultsOnlyByRounding() throws {
        let one = try Self.trainer(threads: 1)
        let three = try Self.trainer(threads: 3)
        let a = try Self.step(one, seed: 1)
        let b = try Self.step(three, seed: 1)
        #expect(abs(a.loss - b.loss) < 1e-5)
        #expect(abs(a.gradientNorm - b.gradientNorm) < 1e-4 * a.gradientNorm)
    }

    @Test func viewsDependOnTheImagesNumbersAlone() throws {
        let a = try Self.trainer()
        let b = try Self.trainer()
        let first = try Self.step(a, seed: 1, indices: (100..<120).map { $0 })
        #expect(try Self.step(b, seed: 1, indices: (100..<120).map { $0 }).terms == first.terms)
        let c = try Self.trainer()
        #expect(try Self.step(c, seed: 1, indices: (200..<220).map { $0 }).terms != first.terms)
    }

    @Test func aStepAllocatesNothingAfterTheFirst() throws {
        let trainer = try Self.trainer()
        _ = try Self.step(trainer, seed: 0)
        let allocations = trainer.compute.workspace.allocations
        let bytes = trainer.compute.bytes
        for i in 1..<4 { _ = try Self.step(trainer, seed: UInt64(i)) }
        #expect(trainer.compute.workspace.allocations == allocations)
        #expect(trainer.compute.bytes == bytes)
    }

    @Test func aStepThatIsNotFiniteLeavesTheModelAsItWas() throws {
        let trainer = try Self.trainer()
        _ = try Self.step(trainer, seed: 0)
        var weights = [Float](repeating: 3e38, count: 8 * 9)
        try trainer.writeTensor("encoder.conv1.weight", from: &weights, count: weights.count)
        let before = try Self.state(trainer)
        #expect(throws: CARLError.self) { try Self.step(trainer, seed: 1) }
        #expect(try Self.state(trainer) == before)
        #expect(trainer.stepCount == 1)
    }

    @Test func learnsToAgree() throws {
        let trainer = try Self.trainer(
            #""learning_rate": 0.1, "used_window": 5, "views": [{"size": 12, "scale": [0.6, 1], "count": 2}]"#)
        var first = 0.0
        var last = Metrics()
        for i in 0..<120 {
            last = try Self.step(trainer, seed: 0)
            if i == 0 { first = last.loss }
        }
        #expect(last.loss < 0.8 * first)
        #expect(last["agreement"]! > 0.5)
        #expect(last["used_prototypes"]! >= 3 && last["used_prototypes"]! <= 10)
        #expect(last.collapse == .none)
    }

    /// Which kind is met first, of those a configuration leads to, is up to its views.
    @Test(arguments: [
        // Without a prior one prototype for all is the best there is.
        (
            #""prior_weight": 0, "learning_rate": 0.1, "temperature": 0.05"#,
            [Collapse.fewPrototypes, .sharedPrototypes, .constantEmbedding]
        ),
        // With seeds 0 to 7 as well: the kind does not hang on last digits.
        (
            #""prior_weight": 0, "learning_rate": 0.05, "temperature": 0.05, "partition_size": 5"#,
            [.fewPrototypes, .sharedPrototypes]
        ),
        // A spike over an even rest: the mean assignment is over many prototypes all the same.
        (
            #""prototypes": 100, "prior_weight": 1, "learning_rate": 0.2, "temperature": 0.1"#,
            [.sharedPrototypes, .shrunkenEmbedding]
        ),
    ])
    func namesACollapse(_ configuration: String, kinds: [Collapse]) throws {
        let trainer = try Self.trainer(configuration)
        var warnings: [String] = []
        trainer.warn = { warnings.append($0) }
        var last = Metrics()
        for _ in 0..<250 where warnings.isEmpty { last = try Self.step(trainer, seed: 0) }
        #expect(kinds.contains(last.collapse))
        #expect(warnings.count == 1)
        #expect(warnings.first?.contains("Try") == true)
    }

    struct Degenerate: Sendable {
        let configuration: String
        let collapse: Collapse
        let advice: [String]
        /// A tensor to set to 0.
        var zero: String? = nil
    }

    static let degenerate = [
        Degenerate(
            configuration: #""learning_rate": 0, "temperature": 1000"#, collapse: .uniform,
            advice: ["all 10 prototypes alike", "temperature"]),
        // Blocks of 5: a largest probability of 1/5 is uniform.
        Degenerate(
            configuration: #""learning_rate": 0, "temperature": 1000, "partition_size": 5"#, collapse: .uniform,
            advice: ["all 5 prototypes alike", "temperature"]),
        Degenerate(
            configuration: #""learning_rate": 0"#, collapse: .constantEmbedding,
            advice: ["the same for all images", "learning_rate"], zero: "projector.3.weight"),
    ]

    @Test(arguments: degenerate) func warnsOnceOfADegenerateRunWithAdvice(_ run: Degenerate) throws {
        let trainer = try Self.trainer(run.configuration)
        if let zero = run.zero, let tensor = trainer.tensors.first(where: { $0.name == zero }) {
            try trainer.writeTensor(zero, from: [Float](repeating: 0, count: tensor.count), count: tensor.count)
        }
        var warnings: [String] = []
        trainer.warn = { warnings.append($0) }
        var last = Metrics()
        for _ in 0..<400 where warnings.isEmpty { last = try Self.step(trainer, seed: 0) }
        #expect(last.collapse == run.collapse)
        _ = try Self.step(trainer, seed: 0)
        #expect(warnings.count == 1)
        for words in run.advice { #expect(warnings.first?.contains(words) == true, "\(warnings)") }
    }

    @Test func recomputingGivesTheSameStepInLessMemory() throws {
        let views = #""views": [{"size": 24, "count": 2}, {"size": 12, "count": 6}]"#
        let kept = try Self.trainer(views)
        let recomputed = try Self.trainer(views + #", "recompute": true"#)
        let (a, b) = (try Self.step(kept, seed: 1), try Self.step(recomputed, seed: 1))
        #expect(abs(a.loss - b.loss) < 1e-6 && abs(a.gradientNorm - b.gradientNorm) < 1e-5 * a.gradientNorm)
        #expect(Double(b.memoryBytes) < 0.7 * Double(a.memoryBytes))
        for (x, y) in zip(try Self.state(kept), try Self.state(recomputed)) {
            for (p, q) in zip(x, y) { #expect(abs(p - q) <= 1e-5 * max(abs(p), 0.1)) }
        }
    }

    @Test func carpIsThePublishedSettingAndGivenKeysStand() throws {
        let carp = try Configuration(json: #"{"objective": "carp", "batch_size": 1024, "total_steps": 10}"#)
        #expect(carp.encoder == .resnet50 && carp.stem == .imagenet && carp.projector == [2048, 2048, 256])
        #expect(carp.prototypes == 65_536 && carp.partitionSize == 512 && carp.temperature == Ramp(1))
        #expect(!carp.normalizeEmbedding && carp.normalizePrototypes && carp.priorOverTargets)
        #expect(carp.teacherMomentum == 0.99 && carp.teacherMomentum(step: 10) == 1 && carp.priorWeight == Ramp(1))
        #expect(carp.optimizer == .lars && carp.learningRate == 1.8 && carp.weightDecay == 1e-6)
        #expect(carp.viewSpecs.map(\.size) == [224, 96] && carp.viewSpecs.map(\.count) == [2, 6])
        #expect(try Configuration(carp.json) == carp)
        let own = try Configuration(
            json:
                #"{"objective": "carp", "encoder": "resnet18", "view_size": 32, "partition_size": 0, "teacher_momentum": 0, "prototypes": 100, "optimizer": "sgd", "learning_rate": 0.1, "views": "weak"}"#
        )
        #expect(own.encoder == .resnet18 && own.stem == .small && own.partitionSize == 0 && own.learningRate == 0.1)
        #expect(own.teacherMomentum == 0 && !own.priorOverTargets && own.views == .preset("weak"))
        #expect(try Configuration(own.json) == own)
        #expect(try Configuration(json: #"{"objective": "carp", "prototypes": 100}"#).partitionSize == 100)
        #expect(throws: CARLError.self) { try carp.overriding(["objective": "carl"]) }
        #expect(throws: CARLError.self) { try Configuration(json: #"{"prototypes": 5, "partition_size": 6}"#) }
    }

    @Test func badInputIsNamed() throws {
        let trainer = try Self.trainer()
        func message(_ body: () throws -> Void) -> String {
            do {
                try body()
                return ""
            } catch { return "\(error)" }
        }
        #expect(message { _ = try Self.step(trainer, seed: 0, count: 1) }.contains("images"))
        var values = [Float](repeating: 0, count: 4 * 144)
        values[200] = .nan
        let text = message {
            try values.withUnsafeBufferPointer { values in
                let view = FloatImages(values.baseAddress!, batch: 4, height: 12, width: 12, channels: 1)
                _ = try trainer.step(views: [view, view])
            }
        }
        #expect(text.contains("views[0]") && text.contains("image 1"))
        #expect(message { _ = try Configuration(json: #"{"protoypes": 3}"#) }.contains("prototypes"))
        #expect(message { _ = try Configuration(json: #"{"temperature": 0}"#) }.contains("temperature"))
        #expect(message { _ = try Configuration(json: #"{"views": "simclrr"}"#) }.contains("simclr"))
        #expect(message { _ = try Configuration(json: #"{"width": 0.001}"#) }.contains("width"))
        #expect(message { _ = try Trainer.resume(from: "/nowhere/at/all.carl") }.contains("/nowhere/at/all.carl"))
    }

    @Test func configurationSurvivesItsJSON() throws {
        for more in Self.variants {
            let configuration = try Self.trainer(more).configuration
            #expect(try Configuration(configuration.json) == configuration)
        }
        for preset in ViewSpec.presetNames {
            let configuration = try Configuration(json: #"{"views": "\#(preset)", "view_size": 40}"#)
            #expect(try Configuration(configuration.json) == configuration)
        }
    }

    /// Steps behind the end of the schedule, at which the learning rate is 0, are told once.
    @Test func stepsPastTheScheduleAreTold() throws {
        for (more, told) in [("", 1), (", \"min_learning_rate\": 0.001", 0), (", \"schedule\": \"constant\"", 0)] {
            let trainer = try Self.trainer("\"total_steps\": 3\(more)")
            var warnings: [String] = []
            trainer.warn = { warnings.append($0) }
            for step in 0..<3 { _ = try Self.step(trainer, seed: UInt64(step)) }
            #expect(warnings.isEmpty)
            for step in 3..<6 { _ = try Self.step(trainer, seed: UInt64(step)) }
            #expect(warnings.count == told, "\(more)")
            if told > 0 { #expect(warnings[0].contains("step 4 is past \"total_steps\" (3)")) }
        }
    }
}
