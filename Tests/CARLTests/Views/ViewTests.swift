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
        interpolation: ViewSpec.Interpolation = .bilinear, change: (inout ViewParameters) -> Void = { _ in }
    ) throws -> [Double] {
        let compute = Compute(threads: 1)
        var spec = ViewSpec()
        spec.size = size
        spec.interpolation = interpolation
        (spec.mean, spec.std) = ([0], [1])
        let crop = crop ?? (0, 0, width, height)
        var parameters = ViewParameters(left: crop.0, top: crop.1, width: crop.2, height: crop.3)
        change(&parameters)
        let scratch = try compute.scratch(1 << 20)
        let out = try FloatBuffer(size * size * channels)
        pixels.withUnsafeBufferPointer {
            let source = SourceImage(pixels: $0.baseAddress!, height: height, width: width, channels: channels, rowStride: width * channels)
            ViewMaker.make(
                source, parameters, spec, NormalizedRows(mean: spec.mean, std: spec.std, channels: channels), out.base, scratch[0])
        }
        return out.values.map { Double($0) * 255 }
    }

    static func largestError(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } }

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
        #expect(cases.count >= 12)
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
                interpolation: golden["interpolation"]?.string == "bicubic" ? .bicubic : .bilinear
            ) { parameters in
                for step in golden["jitter"]?.array ?? [] {
                    let names = ["brightness", "contrast", "saturation", "hue"]
                    let operation = ViewParameters.ColorOperation(rawValue: names.firstIndex(of: step["op"]?.string ?? "") ?? 0)
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

    @Test func blurIsAGaussianWithReflectedEdges() throws {
        let size = 40
        let pixels = Self.image(size, size, 1)
        let sigma = 1.3
        let blurred = try Self.view(pixels, size, size, 1, size: size) { $0.blur = Float(sigma) }
        let radius = GaussianBlur.standardRadius(size: size)
        var weights = (-radius...radius).map { exp(-0.5 * Double($0 * $0) / sigma / sigma) }
        let sum = weights.reduce(0, +)
        weights = weights.map { $0 / sum }
        func reflect(_ i: Int) -> Int { i < 0 ? -i : i >= size ? 2 * size - 2 - i : i }
        for (y, x) in [(0, 0), (0, 17), (39, 39), (20, 20), (1, 38)] {
            var expected = 0.0
            for dy in -radius...radius {
                for dx in -radius...radius {
                    expected += weights[dy + radius] * weights[dx + radius] * Double(pixels[reflect(y + dy) * size + reflect(x + dx)])
                }
            }
            #expect(abs(blurred[y * size + x] - expected) < 0.01)
        }
    }

    @Test func stridesAndThreadsAndOrderDoNotMatter() throws {
        let spec = try ViewSpec.preset("simclr", size: 24, channels: 3)[0]
        let pixels = Self.image(40, 30, 3)
        // The same image from the bottom up, and with wider rows.
        var reversed: [UInt8] = []
        for y in (0..<40).reversed() { reversed += pixels[y * 90..<(y + 1) * 90] + [9, 9, 9, 9] }
        let make = { (threads: Int, indices: [UInt64], upsideDown: Bool) throws -> [Float] in
            let out = try FloatBuffer(indices.count * 24 * 24 * 3)
            try pixels.withUnsafeBufferPointer { straight in
                try reversed.withUnsafeBufferPointer { reversed in
                    let source =
                        upsideDown
                        ? SourceImage(pixels: reversed.baseAddress! + 39 * 94, height: 40, width: 30, channels: 3, rowStride: -94)
                        : SourceImage(pixels: straight.baseAddress!, height: 40, width: 30, channels: 3, rowStride: 90)
                    try ViewMaker.make(
                        indices.map { _ in source }, views: [spec], seed: 1, epoch: 2, indices: indices, into: [out.base],
                        Compute(threads: threads))
                }
            }
            return Array(out.values)
        }
        let straight = try make(1, [5, 6, 7], false)
        #expect(try make(3, [5, 6, 7], false) == straight)
        #expect(try make(2, [5, 6, 7], true) == straight)
        let swapped = try make(2, [7, 6, 5], false)
        let n = 24 * 24 * 3
        #expect(Array(swapped[0..<n]) == Array(straight[2 * n..<3 * n]))
        #expect(Array(straight[0..<n]) != Array(straight[n..<2 * n]))
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
                    let source = SourceImage(pixels: $0.baseAddress!, height: h, width: w, channels: c, rowStride: w * c)
                    try ViewMaker.make([source], views: [own], seed: 0, epoch: 0, indices: nil, into: [out.base], Compute(threads: 1))
                    #expect(out.values.allSatisfy { $0.isFinite && $0 >= -2.001 && $0 <= 2.001 })
                    try ViewMaker.evaluation([source], size: size, mean: [0.5], std: [0.25], into: out.base, Compute(threads: 1))
                    #expect(out.values.allSatisfy { $0.isFinite && $0 >= -2.001 && $0 <= 2.001 })
                }
            }
        }
    }

    @Test func randomCropsFollowTheirDistribution() throws {
        var spec = ViewSpec()
        spec.scale = [0.25, 0.75]
        var area = 0.0
        var flips = 0
        let n = 4000
        for i in 0..<n {
            var random = RandomStream(seed: 3, purpose: .views, minor: UInt64(i))
            let p = ViewParameters(spec, height: 100, width: 120, random: &random)
            #expect(p.left >= 0 && p.top >= 0 && p.left + p.width <= 120 && p.top + p.height <= 100)
            let share = Double(p.width * p.height) / 12000
            #expect(share > 0.23 && share < 0.78)
            area += share
            flips += p.flip ? 1 : 0
        }
        #expect(abs(area / Double(n) - 0.5) < 0.02)
        #expect(abs(Double(flips) / Double(n) - 0.5) < 0.04)
    }
}
