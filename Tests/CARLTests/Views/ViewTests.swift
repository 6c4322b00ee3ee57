import Foundation
import Testing

@testable import CARL

@Suite struct ViewTests {
    static func image(_ height: Int, _ width: Int, _ channels: Int, seed: UInt64 = 0) -> [UInt8] {
        var random = RandomStream(seed: seed, purpose: .order, major: UInt64(height))
        return (0..<height * width * channels).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    /// One view of an image with fixed parameters, as values 0 ... 255.
    static func view(
        _ pixels: [UInt8], _ height: Int, _ width: Int, _ channels: Int, size: Int, crop: (Int, Int, Int, Int)? = nil,
        interpolation: ViewSpec.Interpolation = .bilinear, blurKernel: Int? = nil,
        change: (inout ViewParameters) -> Void = { _ in }
    ) throws -> [Double] {
        let compute = try Compute(threads: 1)
        var spec = ViewSpec()
        spec.size = size
        (spec.interpolation, spec.blurKernel) = (interpolation, blurKernel)
        (spec.mean, spec.std) = ([0], [1])
        let crop = crop ?? (0, 0, width, height)
        var parameters = ViewParameters(left: crop.0, top: crop.1, width: crop.2, height: crop.3)
        change(&parameters)
        let scratch = try compute.scratch(1 << 20)
        let out = try FloatBuffer(size * size * channels)
        pixels.withUnsafeBufferPointer {
            let source = SourceImage(
                pixels: $0.baseAddress!, height: height, width: width, channels: channels, rowStride: width * channels)
            ViewMaker.make(source, parameters, ViewMaker.Recipe(spec, channels: channels), out.base, scratch[0])
        }
        return out.values.map { Double($0) * 255 }
    }

    static func largestError(_ a: [Double], _ b: [Double]) -> Double {
        zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) }
    }

    @Test func sameSizeIsIdentityAndFlipMirrors() throws {
        for channels in [1, 3, 5] {
            let pixels = Self.image(9, 9, channels)
            let same = try Self.view(pixels, 9, 9, channels, size: 9)
            #expect(Self.largestError(same, pixels.map { Double($0) }) < 1e-3)
            let flipped = try Self.view(pixels, 9, 9, channels, size: 9) { $0.flip = true }
            let mirror = (0..<9 * 9 * channels).map { at -> Double in
                let (y, x, c) = (at / channels / 9, at / channels % 9, at % channels)
                return Double(pixels[(y * 9 + 8 - x) * channels + c])
            }
            #expect(Self.largestError(flipped, mirror) < 1e-3)
        }
    }

    /// Values made with Pillow by Tests/python/make_view_goldens.py, one line a case: name, then numbers.
    @Test func agreesWithPillow() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("goldens.json")
        let cases = try JSONValue.parse([UInt8](Data(contentsOf: file))).array ?? []
        #expect(cases.count >= 20)
        for golden in cases {
            let name = golden["name"]?.string ?? "?"
            func integers(_ key: String) -> [Int] { golden[key]?.array?.compactMap(\.integer) ?? [] }
            let shape = integers("shape")
            let pixels = integers("pixels").map { UInt8($0) }
            let expected = integers("expected").map { Double($0) }
            let box = integers("crop")
            let result = try Self.view(
                pixels, shape[0], shape[1], shape[2], size: golden["size"]?.integer ?? 0,
                crop: (box[0], box[1], box[2], box[3]),
                interpolation: golden["interpolation"]?.string == "bicubic" ? .bicubic : .bilinear,
                blurKernel: golden["blur"]?.array?[1].integer
            ) { parameters in
                parameters.flip = golden["flip"]?.bool ?? false
                parameters.blur = golden["blur"]?.array?[0].number.map { Float($0) }
                for step in golden["jitter"]?.array ?? [] {
                    let names = ["brightness", "contrast", "saturation", "hue"]
                    let operation = ColorOperations.Operation(
                        rawValue: names.firstIndex(of: step["op"]?.string ?? "") ?? 0)
                    parameters.jitter.append((operation!, Float(step["amount"]?.number ?? 0)))
                }
                parameters.gray = golden["gray"]?.bool ?? false
                parameters.solarize = golden["solarize"]?.bool ?? false
            }
            let tolerance = golden["tolerance"]?.number ?? 0
            #expect(result.count == expected.count)
            #expect(Self.largestError(result, expected) <= tolerance, "\(name)")
        }
    }

    /// Specifications made in Swift: what is left out follows from the channels, what is wrong is an error.
    @Test func specificationsNeedNotBeResolved() throws {
        let pixels = Self.image(6, 6, 3)
        func make(_ spec: ViewSpec) throws -> [Float] {
            let out = try FloatBuffer(spec.size * spec.size * 3)
            try pixels.withUnsafeBufferPointer {
                let image = SourceImage(pixels: $0.baseAddress!, height: 6, width: 6, channels: 3, rowStride: 18)
                try ViewMaker.make(
                    [image], views: [spec], seed: 1, epoch: 0, indices: nil, into: [out.base], Compute(threads: 1))
            }
            return Array(out.values)
        }
        var spec = ViewSpec()
        spec.size = 5
        #expect(try make(spec) == make(spec.resolved(channels: 3, path: "")))
        spec.scale = [0.5]
        #expect(throws: CARLError.self) { try make(spec) }
    }

    @Test func extremeShapesWork() throws {
        var spec = try ViewSpec.preset("byol", size: 7, channels: 3)[0]
        spec.blurProbability = 1
        spec.solarize = 1
        for (h, w, c) in [(1, 1, 1), (1, 500, 3), (500, 1, 3), (3, 2, 9), (2, 2, 1024)] {
            var own = spec
            (own.mean, own.std) = ([0.5], [0.25])
            for size in [1, 2, 7] {
                own.size = size
                let pixels = Self.image(h, w, c)
                let out = try FloatBuffer(size * size * c)
                try pixels.withUnsafeBufferPointer {
                    let source = SourceImage(
                        pixels: $0.baseAddress!, height: h, width: w, channels: c, rowStride: w * c)
                    try ViewMaker.make(
                        [source], views: [own], seed: 0, epoch: 0, indices: nil, into: [out.base],
                        try Compute(threads: 1))
                    #expect(out.values.allSatisfy { $0.isFinite && $0 >= -2.001 && $0 <= 2.001 })
                    try ViewMaker.evaluation(
                        [source], size: size, mean: [0.5], std: [0.25], into: out.base, try Compute(threads: 1))
                    #expect(out.values.allSatisfy { $0.isFinite && $0 >= -2.001 && $0 <= 2.001 })
                }
            }
        }
    }
}
