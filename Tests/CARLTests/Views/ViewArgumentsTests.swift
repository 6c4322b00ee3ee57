import Testing

@testable import CARL

/// What no image and no view can be is an error that names it, in every call that takes images or specifications.
@Suite struct ViewArgumentsTests {
    private static let side = 8

    static let images: [(String, (UnsafePointer<UInt8>) -> SourceImage)] =
        [
            ("height", { .init(pixels: $0, height: -1, width: 8, channels: 1, rowStride: 8) }),
            ("height", { .init(pixels: $0, height: 0, width: 8, channels: 1, rowStride: 8) }),
            ("height", { .init(pixels: $0, height: .max, width: 8, channels: 1, rowStride: 8) }),
            ("width", { .init(pixels: $0, height: 8, width: 0, channels: 1, rowStride: 8) }),
            ("width", { .init(pixels: $0, height: 8, width: .max, channels: 1, rowStride: .max) }),
            ("channels", { .init(pixels: $0, height: 8, width: 8, channels: -1, rowStride: 8) }),
            ("channels", { .init(pixels: $0, height: 1, width: 1, channels: 1025, rowStride: 1025) }),
            ("rowStride", { .init(pixels: $0, height: 8, width: 8, channels: 1, rowStride: 0) }),
            ("rowStride", { .init(pixels: $0, height: 8, width: 8, channels: 1, rowStride: 7) }),
            ("rowStride", { .init(pixels: $0, height: 8, width: 8, channels: 1, rowStride: .min) }),
            ("rowStride", { .init(pixels: $0, height: 8, width: 8, channels: 1, rowStride: .max) }),
        ]

    /// The error's description; empty where there is none.
    private static func refusal(_ call: () throws -> Void) -> String {
        do {
            try call()
            return ""
        } catch { return "\(error)" }
    }

    static func trainer() throws -> Trainer {
        try Trainer(
            Configuration(
                json: """
                    {"encoder": "resnet18", "width": 0.0625, "in_channels": 1, "view_size": 8, "prototypes": 3,
                     "projector": [4], "threads": 1}
                    """))
    }

    @Test func imagesThatCannotBe() throws {
        let pixels = [UInt8](repeating: 7, count: 64)
        let trainer = try Self.trainer()
        let compute = try Compute(threads: 1)
        let out = try FloatBuffer(1 << 16)
        try pixels.withUnsafeBufferPointer { pixels in
            let base = try #require(pixels.baseAddress)
            let good = SourceImage(pixels: base, height: 8, width: 8, channels: 1, rowStride: 8)
            for (name, make) in Self.images {
                let images = [good, make(base)]
                let refusals = [
                    Self.refusal { _ = try trainer.step(images) },
                    Self.refusal { try trainer.evaluator.embed(images, size: 0, .features, into: out.base) },
                    Self.refusal {
                        try ViewMaker.make(
                            images, views: [ViewSpec()], seed: 0, epoch: 0, indices: nil, into: [out.base], compute)
                    },
                    Self.refusal {
                        try ViewMaker.evaluation(images, size: 8, mean: [0], std: [1], into: out.base, compute)
                    },
                ]
                for refusal in refusals { #expect(refusal.contains(name)) }
            }
            for size in [-1, 4097, Int.max] {
                let refusal = Self.refusal {
                    try trainer.evaluator.embed([good], size: size, .features, into: out.base)
                }
                #expect(refusal.contains("size: got \(size)"))
            }
            #expect(try trainer.step([good, good]).step == 1)
        }
    }

    static let specifications: [(String, @Sendable (inout ViewSpec) -> Void)] = [
        ("size", { $0.size = 0 }), ("size", { $0.size = -1 }), ("size", { $0.size = .max }),
        ("scale", { $0.scale = [1, .infinity] }), ("scale", { $0.scale = [-2, -1] }),
        ("scale", { $0.scale = [1, 0.5] }),
        ("ratio", { $0.ratio = [0, 0] }), ("ratio", { $0.ratio = [-1, 1] }), ("flip", { $0.flip = 2 }),
        ("blur", { $0.blur = [-1, -1] }), ("blur_kernel", { $0.blurKernel = -9 }), ("mean", { $0.mean = [.nan] }),
        ("std", { $0.std = [0] }), ("mean", { $0.mean = [0, 1] }), ("jitter", { $0.jitter = [1] }),
    ]

    @Test(arguments: specifications.indices) func specificationsThatCannotBe(_ number: Int) throws {
        let (name, change) = Self.specifications[number]
        let pixels = [UInt8](repeating: 7, count: 64)
        let out = try FloatBuffer(1 << 12)
        let compute = try Compute(threads: 1)
        var spec = ViewSpec()
        change(&spec)
        try pixels.withUnsafeBufferPointer { pixels in
            let image = SourceImage(
                pixels: try #require(pixels.baseAddress), height: 8, width: 8, channels: 1, rowStride: 8)
            let refusal = Self.refusal {
                try ViewMaker.make(
                    [image], views: [spec], seed: 0, epoch: 0, indices: nil, into: [out.base], compute)
            }
            #expect(refusal.contains("\"views[0].\(name)\""), "\(refusal)")
        }
        #expect(throws: CARLError.self) {
            try ViewSelection.specifications([spec]).resolved(size: 32, channels: 1)
        }
    }

    @Test func otherArguments() throws {
        let pixels = [UInt8](repeating: 7, count: 64)
        let out = try FloatBuffer(1 << 12)
        let compute = try Compute(threads: 1)
        try pixels.withUnsafeBufferPointer { pixels in
            let image = SourceImage(
                pixels: try #require(pixels.baseAddress), height: 8, width: 8, channels: 1, rowStride: 8)
            let refusal = Self.refusal {
                try ViewMaker.make(
                    [image], views: [ViewSpec(), ViewSpec()], seed: 0, epoch: 0, indices: nil, into: [out.base], compute
                )
            }
            #expect(refusal.contains("out: got 1"))
            for (size, crop, mean, std) in [
                (0, 1.0, [Float(0)], [Float(1)]), (8, 0, [0], [1]), (8, 1e-18, [0], [1]), (8, .nan, [0], [1]),
                (8, 2, [0], [1]),
                (8, 1, [], [1]), (8, 1, [0, 0], [1]), (8, 1, [0], [0]), (.max, 1, [0], [1]),
            ] {
                let refusal = Self.refusal {
                    try ViewMaker.evaluation(
                        [image], size: size, crop: crop, mean: mean, std: std, into: out.base, compute)
                }
                #expect(!refusal.isEmpty)
            }
        }
        var many = ViewSpec()
        for count in [-1, 0, .max] {
            many.count = count
            #expect(ViewSpec.views([many]).count <= ViewSpec.mostViews)
        }
        for size in [-1, 0, .max] {
            for name in ViewSpec.presetNames {
                #expect(throws: CARLError.self) { try ViewSpec.preset(name, size: size, channels: 3) }
            }
            #expect(throws: CARLError.self) { try ViewSpec.expanded("multicrop", size: size, channels: 3) }
        }
        for threads in [-1, 1025, .max] {
            #expect(throws: CARLError.self) { try Compute(threads: threads) }
        }
    }

    /// Views of other places would be those of a smaller index or epoch.
    @Test func placesThatCannotBe() throws {
        let pixels = [UInt8](repeating: 7, count: 64)
        let trainer = try Self.trainer()
        let out = try FloatBuffer(1 << 12)
        try pixels.withUnsafeBufferPointer { pixels in
            let image = SourceImage(
                pixels: try #require(pixels.baseAddress), height: 8, width: 8, channels: 1, rowStride: 8)
            for (indices, epoch, name) in [
                ([0, 1 << 40], 0, "indices[1]"), ([.max, 1], 0, "indices[0]"), ([0, 1], 1 << 24, "epoch"),
            ] as [([UInt64], UInt64, String)] {
                let step = Self.refusal { _ = try trainer.step([image, image], indices: indices, epoch: epoch) }
                let make = Self.refusal {
                    try ViewMaker.make(
                        [image, image], views: [ViewSpec()], seed: 0, epoch: epoch, indices: indices, into: [out.base],
                        trainer.compute)
                }
                #expect(step.hasPrefix("\(name): got") && make.hasPrefix("\(name): got"), "\(step) \(make)")
            }
            #expect(try trainer.step([image, image], indices: [0, 1 << 40 - 1], epoch: 1 << 24 - 1).step == 1)
        }
    }
}
