import Testing

@testable import CARL

/// Small views first: sizes, the step of the change, what is refused.
@Suite struct EarlyViewsTests {
    static func configuration(_ keys: String) throws -> Configuration { try Configuration(json: "{\(keys)}") }

    @Test func sizesAndBlurFollowTheFirstSpecification() throws {
        let made = try Self.configuration(
            #""views": [{"size": 32, "count": 2, "blur": [0.2, 2]}, {"size": 20, "blur_kernel": 5, "count": 4}], "total_steps": 50, "early_view_size": 24"#
        )
        #expect(made.earlySteps == 35)
        #expect(made.earlyViewSpecs.map(\.size) == [24, 15])
        #expect(made.earlyViewSpecs.map(\.count) == [2, 4])
        #expect(abs(made.earlyViewSpecs[0].blur[1] - 1.5) < 1e-6 && abs(made.earlyViewSpecs[0].blur[0] - 0.15) < 1e-6)
        let saved = try Configuration(made.json)
        #expect(saved.earlyViewSpecs.map(\.blurRadius) == made.earlyViewSpecs.map(\.blurRadius))
        #expect(made.earlyViewSpecs[1].blurKernel == 5)  // a radius of 2, times 3/4, rounded
        #expect(made.viewSpecs(step: 34) == made.earlyViewSpecs && made.viewSpecs(step: 35) == made.viewSpecs)
        #expect(try Configuration(json: made.json.serialized()) == made)
    }

    /// Local views that come to the size of the global ones are no targets all the same: a step on views of the same
    /// pixels has another consistency where all four are.
    @Test func smallLocalViewsAreNoTargets() throws {
        let keys = #""width": 0.125, "in_channels": 1, "prototypes": 6, "projector": [8, 4], "seed": 2, "threads": 1"#
        let plain = #""jitter_p": 0, "gray": 0, "blur_p": 0"#
        let early = try Trainer(
            Self.configuration(
                #"\#(keys), "views": [{"size": 12, "count": 2, \#(plain)}, {"size": 11, "count": 2, \#(plain)}], "early_view_size": 6, "early_steps": 1"#
            ))
        let all = try Trainer(Self.configuration(#"\#(keys), "views": [{"size": 6, "count": 4, \#(plain)}]"#))
        #expect(early.configuration.viewSpecs(step: 0).map(\.size) == [6, 6] && early.configuration.globalViews == 2)
        let sizes = [Int](repeating: 6, count: 4).map { (height: $0, width: $0) }
        let runs = try ViewRuns(sizes, globalViews: 2, batch: 3, channels: 1, Workspace())
        #expect(runs.runs.map(\.groups) == [2, 2])
        let (a, b) = (try TrainerTests.step(early, seed: 0), try TrainerTests.step(all, seed: 0))
        #expect(abs((a.terms["contrast"] ?? 0) - (b.terms["contrast"] ?? 1)) < 1e-4)
        #expect(abs((a.terms["consistency"] ?? 0) - (b.terms["consistency"] ?? 0)) > 1e-4)
    }

    @Test func aTransformersSmallViewsAreOfWholePatches() throws {
        let views = #""views": [{"size": 56, "count": 2}, {"size": 28}]"#
        let made = try Self.configuration(
            #""encoder": "vit_tiny", "patch_size": 14, "early_view_size": 42, "early_steps": 3, \#(views)"#)
        #expect(made.earlyViewSpecs.map(\.size) == [42, 28])
        #expect(throws: CARLError.self) {
            try Self.configuration(
                #""encoder": "vit_tiny", "patch_size": 14, "early_view_size": 40, "early_steps": 3, \#(views)"#)
        }
    }

    /// Five eighths, in fours from 20 on; nothing where it was not measured, or the number of steps is not known.
    @Test(
        arguments: [
            (#""view_size": 28, "total_steps": 100"#, 20, 70), (#""view_size": 32, "total_steps": 100"#, 20, 70),
            (#""view_size": 48, "early_steps": 3"#, 32, 3), (#""view_size": 224, "total_steps": 10"#, 140, 7),
            (#""view_size": 32, "total_steps": 100, "early_view_size": 25"#, 25, 70),
            (#""view_size": 26, "total_steps": 100"#, nil, 0), (#""view_size": 32"#, nil, 0),
            (#""view_size": 32, "total_steps": 100, "early_steps": 0"#, nil, 0),
            (#""view_size": 32, "total_steps": 100, "objective": "carl""#, nil, 0),
            (#""view_size": 32, "total_steps": 100, "train_encoder": 1"#, nil, 0),
            (#""view_size": 224, "total_steps": 100, "encoder": "vit_tiny""#, nil, 0),
        ] as [(String, Int?, Int)])
    func smallViewsAreStandard(_ keys: String, _ size: Int?, _ steps: Int) throws {
        let made = try Self.configuration(keys)
        #expect(made.earlyViewSize == size && made.earlySteps == steps)
        #expect(made.earlyViewSpecs.isEmpty == (size == nil))
        #expect(try Configuration(json: made.json.serialized()) == made)
    }

    /// What was saved before small views were standard goes on as it began, and so does a run whose length is told
    /// later.
    @Test func runsThatHadNoneHaveNone() throws {
        let saved = #"{"objective": "carl-contrast", "view_size": 32, "total_steps": 100"#
        for end in ["}", #", "early_view_size": null, "early_steps": null}"#] {
            #expect(try Configuration(saved: saved + end).earlyViewSize == nil)
        }
        let later = try Self.configuration(#""view_size": 32"#).overriding(JSONValue.parse(#"{"total_steps": 100}"#))
        #expect(later.earlyViewSize == nil && later.earlySteps == 0)
    }

    @Test(arguments: [
        (#""early_steps": 3, "view_size": 16"#, "early_view_size"), (#""early_view_size": 16"#, "total_steps"),
        (#""early_view_size": 33, "early_steps": 3"#, "at most"),
        (#""early_view_size": 0, "early_steps": 3"#, "early_view_size"),
        (#""early_view_size": 16, "early_steps": -1"#, "early_steps"),
        (#""early_view_size": 1.5, "early_steps": 1"#, "early_view_size"),
        (#""early_view_size": 16, "early_steps": 3, "train_encoder": "none""#, "train_encoder"),
    ])
    func whatDoesNotGoTogetherIsNamed(_ keys: String, _ named: String) {
        do {
            _ = try Self.configuration(keys)
            Issue.record("\(keys) was taken")
        } catch { #expect("\(error)".contains(named), "\(error)") }
    }

    /// The same bits as a run with small views that is saved, and resumed with the large ones.
    @Test func stepsAreThoseOfTheTwoSizes() throws {
        let small =
            #"{"size": 9, "jitter": [0.4, 0.4, 0, 0], "blur_p": 0.5, "blur": [0.075, 1.5], "blur_kernel": 3, "count": 2}"#
        let first = try TrainerTests.trainer(#""views": [\#(small)]"#)
        let whole = try TrainerTests.trainer(#""early_view_size": 9, "early_steps": 2"#)
        for seed in 0..<2 {
            let (a, b) = (
                try TrainerTests.step(first, seed: UInt64(seed)), try TrainerTests.step(whole, seed: UInt64(seed))
            )
            #expect(a.loss == b.loss)
        }
        #expect(try TrainerTests.state(first) == TrainerTests.state(whole))
        let large = try TrainerTests.trainer("")
        for tensor in first.tensors {
            var values = [Float](repeating: 0, count: tensor.count)
            try values.withUnsafeMutableBufferPointer {
                try whole.readTensor(tensor.name, into: $0.baseAddress!, count: tensor.count)
                try large.writeTensor(tensor.name, from: $0.baseAddress!, count: tensor.count)
            }
        }
        // The same images have the same numbers.
        let places = (40..<60).map { UInt64($0) }
        let (a, b) = (
            try TrainerTests.step(large, seed: 5, indices: places),
            try TrainerTests.step(whole, seed: 5, indices: places)
        )
        #expect(a.loss == b.loss)
        let smaller = try TrainerTests.step(TrainerTests.trainer(#""early_view_size": 9, "early_steps": 1"#), seed: 0)
        #expect(smaller.loss != (try TrainerTests.step(TrainerTests.trainer(""), seed: 0)).loss)
    }

    /// A run that cannot end does not begin: memory is asked for views of the full size.
    @Test func memoryIsThatOfFullSize() throws {
        let trainer = try TrainerTests.trainer(#""early_view_size": 1, "early_steps": 2"#)
        #expect(throws: CARLError.self) { try trainer.checkBatch(1 << 40) }
        let whole = try TrainerTests.trainer("")
        for count in [2, 1 << 20, 1 << 34] {
            let (early, all) = ((try? trainer.checkBatch(count)) == nil, (try? whole.checkBatch(count)) == nil)
            #expect(early == all)
        }
    }

    /// A kernel that was not given is of the standard size at every size, also once a file has said how large it is.
    @Test(arguments: [64, 96, 112, 120, 160, 224]) func savedKernels(_ size: Int) throws {
        let made = try Configuration(
            json: """
                {"views": [{"size": \(size), "count": 2, "blur_p": 0.5}], "total_steps": 10,
                 "early_view_size": \(size * 5 / 32 * 4)}
                """)
        let saved = try Configuration(made.json)
        #expect(saved.earlyViewSpecs.map(\.blurRadius) == made.earlyViewSpecs.map(\.blurRadius))
        #expect(made.earlyViewSpecs[0].blurRadius == max(1, made.earlyViewSpecs[0].size / 20))
    }
}
