import Foundation
import Testing

@testable import CARL

/// Memory that ends where a page without access begins: one value too many, read or written, ends the test run.
private final class GuardedBytes {
    let end: UnsafeMutableRawPointer
    private let start: UnsafeMutableRawPointer
    private let mapped: Int

    init(_ room: Int) {
        let page = Int(getpagesize())
        mapped = (room + page - 1) / page * page + page
        start = mmap(nil, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        end = start + (mapped - page)
        mprotect(end, page, PROT_NONE)
    }

    deinit { munmap(start, mapped) }
}

@Suite struct ViewMemoryTests {
    @Test func nothingIsReadOrWrittenBeyondTheImageOrTheBatch() throws {
        let compute = try Compute(threads: 1)
        for (height, width, channels, size) in [
            (5, 7, 3, 8), (9, 3, 1, 9), (31, 23, 3, 24), (4, 4, 5, 3), (1, 1, 3, 1), (1, 1, 1, 16), (33, 40, 3, 16),
            (16, 22, 4, 31), (6, 65, 1, 7),
        ] {
            let (bytes, values) = (height * width * channels, size * size * channels)
            let (input, output) = (GuardedBytes(bytes), GuardedBytes(4 * values))
            let pixels = (input.end - bytes).bindMemory(to: UInt8.self, capacity: bytes)
            for i in 0..<bytes { pixels[i] = UInt8(truncatingIfNeeded: i &* 37) }
            let out = (output.end - 4 * values).bindMemory(to: Float.self, capacity: values)
            let source = SourceImage(
                pixels: pixels, height: height, width: width, channels: channels, rowStride: width * channels)
            for preset in ["simclr", "byol", "gray", "weak"] {
                var spec = try ViewSpec.preset(preset, size: size, channels: channels)[0]
                (spec.blurProbability, spec.scale) = (0.5, [0.1, 1])
                for index: UInt64 in 0..<6 {
                    for i in 0..<values { out[i] = .nan }
                    try withUnsafePointer(to: index) {
                        try ViewMaker.make(
                            [source], views: [spec], seed: 0, epoch: 0, indices: $0, into: [out], compute)
                    }
                    #expect((0..<values).allSatisfy { out[$0].isFinite })
                }
            }
            try ViewMaker.evaluation([source], size: size, mean: [0.5], std: [0.25], into: out, compute)
        }
    }

    /// The flag is the first value that is written: the rows behind it are then left out, in a view with blur, with
    /// contrast and with neither, and in a whole image.
    @Test func aViewThatIsCancelledEndsWithItsNextRows() throws {
        let size = 64
        let pixels = ViewTests.image(70, 80, 3)
        let compute = try Compute(threads: 1)
        var views = [ViewSpec(), ViewSpec(), ViewSpec()]
        for index in views.indices { views[index].size = size }
        (views[1].blurProbability, views[2].jitter, views[2].jitterProbability) = (1, [0, 0.5, 0, 0], 1)
        let out = try FloatBuffer(size * size * 3)
        try pixels.withUnsafeBufferPointer { pixels in
            let source = SourceImage(
                pixels: pixels.baseAddress!, height: 70, width: 80, channels: 3, rowStride: 240)
            let calls: [() throws -> Void] =
                views.map { view in
                    {
                        try ViewMaker.make(
                            [source], views: [view], seed: 1, epoch: 0, indices: nil, into: [out.base], compute)
                    }
                } + [
                    {
                        try ViewMaker.evaluation(
                            [source], size: size, mean: [0.5], std: [0.25], into: out.base, compute)
                    }
                ]
            for call in calls {
                out.base.update(repeating: 0, count: out.count)
                let flag = UnsafeRawPointer(out.base).assumingMemoryBound(to: Int32.self)
                do { try Cancellation.with(flag, call) } catch CARLError.cancelled {}
                #expect(out.base[0] != 0 && (out.count / 2..<out.count).allSatisfy { out.base[$0] == 0 })
                try call()
                #expect((out.count / 2..<out.count).contains { out.base[$0] != 0 })
            }
        }
    }

    /// A part of a larger image, described by its first pixel and the larger image's stride, gives what a copy of it
    /// gives.
    @Test func partsOfAnImageNeedNoCopy() throws {
        let (height, width) = (50, 60)
        let pixels = ViewTests.image(height, width, 3)
        let views = try ViewSpec.preset("multicrop", size: 32, channels: 3).flatMap {
            Array(repeating: $0, count: $0.count)
        }
        let compute = try Compute(threads: 2)
        func make(_ pointer: UnsafePointer<UInt8>, _ stride: Int) throws -> [[Float]] {
            let buffers = try views.map { try FloatBuffer($0.size * $0.size * 3) }
            let source = SourceImage(pixels: pointer, height: 20, width: 30, channels: 3, rowStride: stride)
            try ViewMaker.make(
                [source], views: views, seed: 5, epoch: 1, indices: nil, into: buffers.map(\.base), compute)
            return buffers.map { Array($0.values) }
        }
        let copy = (0..<20).flatMap { y in (0..<90).map { pixels[((y + 11) * width + 17) * 3 + $0] } }
        let fromPart = try pixels.withUnsafeBufferPointer {
            try make($0.baseAddress! + (11 * width + 17) * 3, width * 3)
        }
        let fromCopy = try copy.withUnsafeBufferPointer { try make($0.baseAddress!, 90) }
        #expect(fromPart == fromCopy)
        // Every second row, and rows from the last to the first.
        let halves = (0..<20).flatMap { y in (0..<90).map { pixels[(2 * y * width + 3) * 3 + $0] } }
        let fromHalves = try halves.withUnsafeBufferPointer { try make($0.baseAddress!, 90) }
        #expect(try pixels.withUnsafeBufferPointer { try make($0.baseAddress! + 9, 2 * width * 3) } == fromHalves)
        let turned = (0..<20).flatMap { y in (0..<90).map { halves[(19 - y) * 90 + $0] } }
        let fromTurned = try turned.withUnsafeBufferPointer { try make($0.baseAddress! + 19 * 90, -90) }
        #expect(fromTurned == fromHalves)
    }
}
