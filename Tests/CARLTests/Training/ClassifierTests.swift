import Foundation
import Testing

@testable import CARL

@Suite struct ClassifierTests {
    static func evaluator(seed: Int = 4) throws -> Evaluator {
        try Evaluator(copying: TrainerTests.trainer("\"seed\": \(seed)"), teacher: false)
    }

    static func classifier(_ more: String = "", threads: Int = 2) throws -> Classifier {
        try Classifier(
            JSONValue.parse("{\"classes\": 3, \"seed\": 7, \"threads\": \(threads)\(more.isEmpty ? "" : ", ")\(more)}"),
            encoder: evaluator())
    }

    static func withImages<Result>(_ count: Int, seed: UInt64 = 0, _ body: ([SourceImage]) throws -> Result) rethrows
        -> Result
    {
        try TrainerTests.images(count, seed: seed).withUnsafeBufferPointer { pixels in
            try body(
                (0..<count).map {
                    SourceImage(
                        pixels: pixels.baseAddress! + $0 * 144, height: 12, width: 12, channels: 1, rowStride: 12)
                })
        }
    }

    static func step(_ classifier: Classifier, seed: UInt64 = 0, indices: [UInt64]? = nil, count: Int = 12) throws
        -> Classifier.Metrics
    {
        let labels = (0..<count).map { Int32($0 % 3) }
        return try withImages(count, seed: seed) { images in
            try indices.map {
                try $0.withUnsafeBufferPointer {
                    try classifier.step(images, labels: labels, indices: $0.baseAddress, epoch: 3)
                }
            }
                ?? classifier.step(images, labels: labels)
        }
    }

    static func state(_ classifier: Classifier) throws -> [[Float]] {
        try classifier.tensors.map { tensor in
            var values = [Float](repeating: 0, count: tensor.count)
            try classifier.readTensor(tensor.name, into: &values, count: tensor.count)
            return values
        }
    }

    static func predictions(_ classifier: Classifier, _ output: ModelOutput = .probabilities, count: Int = 9) throws
        -> [Float]
    {
        var out = [Float](repeating: -1, count: count * (try classifier.width(output)))
        try withImages(count) { try classifier.embed($0, size: 0, output, into: &out) }
        return out
    }

    static let variants = [
        "", #""freeze_encoder": true"#, #""label_smoothing": 0.1, "total_steps": 6, "warmup_steps": 2"#,
        #""from_scratch": true, "momentum": 0, "schedule": "constant", "total_steps": 3"#,
    ]

    @Test(arguments: variants) func repeatsAndResumesExactly(_ more: String) throws {
        let path = NSTemporaryDirectory() + "carl-\(UUID().uuidString).carl"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let (whole, half) = (try Self.classifier(more), try Self.classifier(more))
        for i in 0..<3 {
            let a = try Self.step(whole, seed: UInt64(i))
            let b = try Self.step(half, seed: UInt64(i))
            #expect(a.loss == b.loss && a.gradientNorm == b.gradientNorm)
        }
        try half.save(to: path, notes: ["classes": ["a", "b", "c"]])
        let resumed = try Classifier.load(from: path)
        #expect(resumed.notes == ["classes": ["a", "b", "c"]])
        #expect(
            resumed.configuration == half.configuration && resumed.encoderConfiguration == half.encoderConfiguration)
        #expect(try Self.predictions(resumed) == Self.predictions(half))
        for i in 3..<6 {
            let a = try Self.step(whole, seed: UInt64(i))
            let b = try Self.step(resumed, seed: UInt64(i))
            #expect(a.loss == b.loss && a.step == b.step && a.headLearningRate == b.headLearningRate)
        }
        #expect(try Self.state(whole) == Self.state(resumed))
    }

    @Test func filesThatAreNoneAreRefused() throws {
        let path = NSTemporaryDirectory() + "carl-\(UUID().uuidString).carl"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try TrainerTests.trainer().save(to: path)
        #expect(throws: CARLError.self) { try Classifier.load(from: path) }
        let classifier = try Self.classifier()
        try classifier.save(to: path)
        #expect(throws: CARLError.self) { try Trainer.resume(from: path) }
        #expect(throws: CARLError.self) { try Classifier.load(from: path, overrides: ["classes": 4]) }
        #expect(throws: CARLError.self) { try Classifier.load(from: path, overrides: ["freeze_encoder": true]) }
        #expect(throws: CARLError.self) { try Classifier.load(from: path, overrides: 3) }
        #expect(try Classifier.load(from: path, overrides: ["threads": 1]).compute.threads == 1)
    }

    @Test func aFrozenEncoderStaysBitByBitAndTheCopyIsTheClassifiersOwn() throws {
        let evaluator = try Self.evaluator()
        let before = Array(evaluator.trained.parameters.values) + Array(evaluator.trained.statistics.values)
        let frozen = try Classifier(["classes": 3, "freeze_encoder": true], encoder: evaluator)
        let start = try Self.state(frozen)
        for i in 0..<4 { _ = try Self.step(frozen, seed: UInt64(i)) }
        for ((tensor, a), b) in zip(zip(frozen.tensors, start), try Self.state(frozen)) {
            let moved = tensor.name == "classifier.weight" || tensor.name == "classifier.bias"
            #expect((a == b) == !moved, "\(tensor.name)")
            #expect(tensor.trained == moved)
        }
        let tuned = try Classifier(["classes": 3], encoder: evaluator)
        _ = try Self.step(tuned)
        #expect(try Self.state(tuned)[0] != start[0])
        #expect(Array(evaluator.trained.parameters.values) + Array(evaluator.trained.statistics.values) == before)
    }

    @Test func featuresAreTheEncodersUntilItTrains() throws {
        let classifier = try Self.classifier()
        var want = [Float](repeating: 0, count: 9 * 64)
        try Self.withImages(9) { try Self.evaluator().embed($0, size: 0, .features, into: &want) }
        #expect(try Self.predictions(classifier, .features) == want)
        let scratch = try Self.classifier(#""from_scratch": true"#)
        #expect(try Self.predictions(scratch, .features) != want)
        // Of the encoder's own seed, new weights are those it started with.
        let same = try Classifier(["classes": 3, "seed": 4, "from_scratch": true], encoder: Self.evaluator())
        #expect(try Self.state(same)[0] == Self.state(classifier)[0])
    }

    @Test func weightsSetByHandReachAFrozenEncodersPredictions() throws {
        let frozen = try Self.classifier(#""freeze_encoder": true"#)
        let before = try Self.predictions(frozen, .features)
        for tensor in frozen.tensors where tensor.name.hasSuffix("conv1.weight") {
            var values = [Float](repeating: 0, count: tensor.count)
            try frozen.readTensor(tensor.name, into: &values, count: tensor.count)
            values.reverse()
            try frozen.writeTensor(tensor.name, from: values, count: tensor.count)
        }
        let tuned = try Self.classifier()
        for tensor in tuned.tensors {
            var values = [Float](repeating: 0, count: tensor.count)
            try frozen.readTensor(tensor.name, into: &values, count: tensor.count)
            try tuned.writeTensor(tensor.name, from: values, count: tensor.count)
        }
        let after = try Self.predictions(frozen, .features)
        #expect(after != before)
        #expect(try Self.predictions(tuned, .features) == after)
    }

    @Test func standardisesFeatures() throws {
        let classifier = try Self.classifier(#""freeze_encoder": true"#)
        try Self.withImages(40) { try classifier.standardize($0) }
        let features = Values(try Self.predictions(classifier, .features, count: 40).map { Double($0) })
        let state = Dictionary(uniqueKeysWithValues: zip(classifier.tensors.map(\.name), try Self.state(classifier)))
        let moments = (0..<64).map { c in
            let column = (0..<40).map { features.data[$0 * 64 + c] }
            let mean = column.reduce(0, +) / 40
            return (mean, (column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 40).squareRoot())
        }
        let varying = moments.filter { $0.1 > 1e-6 * abs($0.0) && $0.1 > 1e-30 }.map(\.1)
        let floor = 0.1 * (varying.reduce(0) { $0 + $1 * $1 } / Double(max(1, varying.count))).squareRoot()
        for (c, (mean, deviation)) in moments.enumerated() {
            #expect(abs(Double(state["classifier.feature_mean"]![c]) - mean) <= 1e-5 * abs(mean) + 1e-12)
            let want = deviation > 1e-6 * abs(mean) && deviation > 1e-30 ? max(deviation, floor) : 1
            #expect(abs(Double(state["classifier.feature_deviation"]![c]) - want) <= 1e-5 * want)
        }
        var bad = [Float](repeating: 1, count: 64)
        for value in [0, -1, Float.nan, .infinity] {
            bad[3] = value
            #expect(throws: CARLError.self) {
                try classifier.writeTensor("classifier.feature_deviation", from: bad, count: 64)
            }
        }
        #expect(throws: CARLError.self) { try Self.withImages(1) { try classifier.standardize($0) } }
    }

    @Test func probabilitiesAreTheSoftmaxOfLogits() throws {
        let classifier = try Self.classifier()
        let (logits, probabilities) = (try Self.predictions(classifier, .logits), try Self.predictions(classifier))
        for row in 0..<9 {
            let e = (0..<3).map { exp(Double(logits[row * 3 + $0])) }
            for c in 0..<3 { #expect(abs(Double(probabilities[row * 3 + c]) - e[c] / e.reduce(0, +)) < 1e-6) }
        }
        #expect(throws: CARLError.self) { try classifier.width(.projection) }
    }

    @Test(arguments: ["", #""freeze_encoder": true"#]) func aStepAllocatesNothingAfterTheFirst(_ more: String) throws {
        let classifier = try Self.classifier(more)
        _ = try Self.step(classifier)
        let seen = { classifier.compute.workspace.allocations + classifier.evaluationCompute.workspace.allocations }
        let (allocations, bytes) = (seen(), classifier.compute.bytes + classifier.evaluationCompute.bytes)
        for i in 1..<4 { _ = try Self.step(classifier, seed: UInt64(i)) }
        #expect(seen() == allocations)
        #expect(classifier.compute.bytes + classifier.evaluationCompute.bytes == bytes)
    }

    @Test func viewsDependOnTheImagesNumbersAlone() throws {
        let numbers: [UInt64] = (100..<112).map { $0 }
        let first = try Self.step(Self.classifier(), indices: numbers)
        #expect(try Self.step(Self.classifier(), indices: numbers).loss == first.loss)
        #expect(try Self.step(Self.classifier(), indices: numbers.map { $0 + 50 }).loss != first.loss)
    }

    @Test(arguments: ["", #""freeze_encoder": true"#]) func aStepThatIsNotFiniteLeavesTheClassifierAsItWas(
        _ more: String
    ) throws {
        let classifier = try Self.classifier(more)
        _ = try Self.step(classifier)
        var weights = [Float](repeating: 3e38, count: 3 * 64)
        try classifier.writeTensor("classifier.weight", from: &weights, count: weights.count)
        let before = try Self.state(classifier)
        #expect(throws: CARLError.self) { try Self.step(classifier, seed: 1) }
        #expect(try Self.state(classifier) == before)
        #expect(classifier.stepCount == 1)
    }

    @Test(arguments: ["", #""freeze_encoder": true"#]) func learnsTheLabels(_ more: String) throws {
        let whole = #", "view": {"scale": [1, 1], "ratio": [1, 1], "flip": 0}"#
        let classifier = try Self.classifier((more.isEmpty ? #""learning_rate": 0.05"# : more) + whole)
        if !more.isEmpty { try Self.withImages(12) { try classifier.standardize($0) } }
        var (first, last) = (Classifier.Metrics(), Classifier.Metrics())
        for i in 0..<60 {
            last = try Self.step(classifier, indices: (0..<12).map { $0 })
            if i == 0 { first = last }
        }
        #expect(last.loss < 0.7 * first.loss)
        #expect(last.accuracy > first.accuracy)
    }

    @Test func badInputIsNamed() throws {
        func message(_ body: () throws -> Void) -> String {
            do { try body() } catch { return "\(error)" }
            return "no error"
        }
        let classifier = try Self.classifier()
        for (labels, words) in [
            ([0, 1, 3], "labels[2]: got 3"), ([0, -1, 2], "labels[1]: got -1"), ([.max, 0, 0], "labels[0]"),
        ] as [([Int32], String)] {
            #expect(message { _ = try Self.withImages(3) { try classifier.step($0, labels: labels) } }.contains(words))
        }
        #expect(message { _ = try Self.step(classifier, count: 1) }.contains("at least 2"))
        #expect(message { _ = try Self.step(classifier, count: 0) }.contains("got 0"))
        #expect(
            message { _ = try Self.step(Self.classifier(#""freeze_encoder": true"#), count: 0) }.contains("at least 1"))
        for (json, words) in [
            ("{}", "\"classes\""), (#"{"classes": 0}"#, "classes"), (#"{"classes": 3, "clases": 3}"#, "classes"),
            (#"{"classes": 3, "label_smoothing": 1.1}"#, "label_smoothing"),
            (#"{"classes": 3, "learning_rate": -1}"#, "learning_rate"),
            (#"{"classes": 3, "freeze_encoder": true, "learning_rate": 0.1}"#, "head_learning_rate"),
            (#"{"classes": 3, "view": "weak"}"#, "view"),
            (#"{"classes": 3, "view": {"count": 2}}"#, "count"),
            (#"{"classes": 3, "view": {"scael": [1, 1]}}"#, "scale"),
            (#"{"classes": 3, "schedule": "cosine"}"#, "total_steps"),
            (#"{"classes": 3, "schedule": "trapezoid"}"#, "schedule"), ("3", "object"),
            (#"{"classes": 2e9}"#, "classes"),
        ] {
            #expect(
                message { _ = try Classifier(JSONValue.parse(json), encoder: Self.evaluator()) }.contains(words),
                "\(json)")
        }
    }

    @Test func theViewIsNormalisedAsTheEncodersFirst() throws {
        let model = try TrainerTests.trainer(
            #""views": [{"size": 10, "mean": [0.3], "std": [0.2], "interpolation": "bicubic", "blur_p": 1, "count": 2}]"#
        )
        let view = try Classifier(
            ["classes": 2, "view": ["scale": [0.5, 1]]], encoder: Evaluator(copying: model, teacher: false)
        ).configuration.view
        #expect(view.size == 10 && view.mean == [0.3] && view.std == [0.2] && view.interpolation == .bicubic)
        #expect(view.scale == [0.5, 1] && view.blurProbability == 0 && view.flip == 0.5)
    }
}
