import Foundation
import Testing

@testable import CARL

/// The kernels against `ReferenceViews`, with drawn and with fixed parameters.
@Suite struct ViewReferenceTests {
    /// Largest difference of the fast view from the reference, in steps of 255. Values within a step of where solarize
    /// jumps are left out.
    static func error(
        _ pixels: [UInt8], _ height: Int, _ width: Int, _ channels: Int, _ parameters: ViewParameters, _ spec: ViewSpec
    ) throws -> Double {
        let image = ReferenceViews.Image(height, width, channels) { Double(pixels[($0 * width + $1) * channels + $2]) }
        let expected = ReferenceViews.view(
            image, parameters, size: spec.size, bicubic: spec.interpolation == .bicubic, blurRadius: spec.blurRadius)
        let got = try ViewTests.view(
            pixels, height, width, channels, size: spec.size, interpolation: spec.interpolation,
            blurKernel: spec.blurKernel
        ) { $0 = parameters }
        return zip(got, expected.values).reduce(0) {
            parameters.solarize && abs($1.1 - 127.5) < 1 ? $0 : max($0, abs($1.0 - $1.1))
        }
    }

    @Test(arguments: [1, 2, 3, 5]) func drawnViewsAgree(channels: Int) throws {
        var worst = 0.0
        for (i, size) in [1, 2, 5, 8, 9, 16, 24, 31, 40].enumerated() {
            for bicubic in [false, true] {
                var spec = ViewSpec()
                spec.size = size
                spec.scale = [0.02, 1]
                spec.interpolation = bicubic ? .bicubic : .bilinear
                spec.jitter = [0.8, 0.8, 0.8, 0.5]
                spec.gray = 0.3
                (spec.blur, spec.blurProbability) = ([0.1, 2], 0.7)
                spec.blurKernel = [nil, 1, 5, 9][i % 4]
                spec.solarize = 0.3
                for (number, (height, width)) in [(50, 41), (7, 90), (12, 12), (1, 3)].enumerated() {
                    let streams = ViewStreams(seed: 11, epoch: 0, image: UInt64(number), view: size)
                    let parameters = ViewParameters(spec, height: height, width: width, streams)
                    let pixels = ViewTests.image(height, width, channels, seed: UInt64(size))
                    worst = max(worst, try Self.error(pixels, height, width, channels, parameters, spec))
                }
            }
        }
        #expect(worst < 0.005)
    }

    /// Each operation by itself and at its extremes, on all combinations of extreme colours.
    @Test func eachOperationAgreesAtItsExtremes() throws {
        var pixels: [UInt8] = []
        let levels: [UInt8] = [0, 1, 127, 128, 254, 255]
        for r in levels { for g in levels { for b in levels { pixels += [r, g, b] } } }
        pixels += Array(repeating: 7, count: 15 * 15 * 3 - pixels.count)
        var spec = ViewSpec()
        spec.size = 15
        func check(_ name: String, _ change: (inout ViewParameters) -> Void) throws {
            var parameters = ViewParameters(left: 0, top: 0, width: 15, height: 15)
            change(&parameters)
            let error = try Self.error(pixels, 15, 15, 3, parameters, spec)
            #expect(error < 0.002, "\(name)")
        }
        for amount: Float in [0, 0.5, 1, 1.7, 11] {
            try check("brightness \(amount)") { $0.jitter = [(.brightness, amount)] }
            try check("contrast \(amount)") { $0.jitter = [(.contrast, amount)] }
            try check("saturation \(amount)") { $0.jitter = [(.saturation, amount)] }
        }
        for shift: Float in [-0.5, -1 / 3, -1 / 6, -0.001, 0, 0.1, 1 / 6, 0.5] {
            try check("hue \(shift)") { $0.jitter = [(.hue, shift)] }
        }
        try check("gray") { $0.gray = true }
        try check("solarize") { $0.solarize = true }
        for sigma: Float in [0.001, 0.3, 2, 1000] {
            for kernel in [1, 3, 15, 8191] {
                spec.blurKernel = kernel
                try check("blur \(sigma) \(kernel)") { $0.blur = sigma }
            }
        }
        spec.blurKernel = nil
        // Operations do not commute: every order of the jitter.
        let operations: [(ColorOperations.Operation, Float)] = [
            (.brightness, 1.5), (.contrast, 0.4), (.saturation, 1.8), (.hue, 0.2),
        ]
        for first in 0..<4 {
            for second in 0..<4 where second != first {
                for third in 0..<4 where third != first && third != second {
                    let order = [first, second, third, 6 - first - second - third].map { operations[$0] }
                    try check("order \(order)") { $0.jitter = order.map { (operation: $0.0, amount: $0.1) } }
                }
            }
        }
    }

    /// Reductions and enlargements of large factors, and parts of the image at its edges.
    @Test func resizingAgreesForAllFactors() throws {
        for bicubic in [false, true] {
            for (height, width, size) in [
                (400, 300, 7), (3, 300, 10), (300, 2, 9), (40, 40, 64), (65, 1, 1), (33, 29, 32),
            ] {
                let pixels = ViewTests.image(height, width, 3)
                var spec = ViewSpec()
                spec.size = size
                spec.interpolation = bicubic ? .bicubic : .bilinear
                for flip in [false, true] {
                    for (left, top, w, h) in [
                        (0, 0, width, height), (width - 1, height - 1, 1, 1), (width / 2, 0, width - width / 2, height),
                    ] {
                        var parameters = ViewParameters(left: left, top: top, width: w, height: h)
                        parameters.flip = flip
                        let error = try Self.error(pixels, height, width, 3, parameters, spec)
                        #expect(error < 0.002, "\(height) \(width) \(size) \(left) \(top) \(w) \(h) \(flip) \(bicubic)")
                    }
                }
            }
        }
    }

    /// The evaluation's view: shorter side resized to size / crop, centre crop. Half a pixel of the crop's place is
    /// rounded to even, as torchvision does.
    @Test(arguments: [(1.0, false), (0.875, false), (0.9, true), (1, true)])
    func evaluationViewsAgree(_ crop: Double, _ bicubic: Bool) throws {
        for (height, width, size) in [
            (40, 60, 16), (61, 33, 20), (9, 9, 9), (5, 11, 13), (50, 57, 21), (50, 59, 21), (15, 27, 12),
        ] {
            let pixels = ViewTests.image(height, width, 3)
            let shorter = min(height, width)
            let resized = Int(Double(size) / crop)
            let (fullHeight, fullWidth) = (resized * height / shorter, resized * width / shorter)
            let image = ReferenceViews.Image(height, width, 3) { Double(pixels[($0 * width + $1) * 3 + $2]) }
            let full = ReferenceViews.resize(image, height: fullHeight, width: fullWidth, bicubic: bicubic)
            let out = try FloatBuffer(size * size * 3)
            try pixels.withUnsafeBufferPointer {
                let source = SourceImage(
                    pixels: $0.baseAddress!, height: height, width: width, channels: 3, rowStride: width * 3)
                try ViewMaker.evaluation(
                    [source], size: size, crop: crop, interpolation: bicubic ? .bicubic : .bilinear, mean: [0.25],
                    std: [0.5], into: out.base, try Compute(threads: 1))
            }
            func offset(_ full: Int) -> Int {
                let (half, rest) = (full - size).quotientAndRemainder(dividingBy: 2)
                return rest == 1 && half % 2 == 1 ? half + 1 : half
            }
            var worst = 0.0
            for y in 0..<size {
                for x in 0..<size {
                    for c in 0..<3 {
                        let value = full[y + offset(fullHeight), x + offset(fullWidth), c]
                        let expected = (min(max(value, 0), 255) / 255 - 0.25) / 0.5
                        worst = max(worst, abs(expected - Double(out.base[(y * size + x) * 3 + c])))
                    }
                }
            }
            #expect(worst < 1e-5, "\(height) \(width) \(size)")
        }
    }
}
