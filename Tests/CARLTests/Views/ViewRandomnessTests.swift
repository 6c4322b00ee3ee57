import Foundation
import Testing

@testable import CARL

/// What is drawn for a view: its ranges and frequencies, and that nothing else moves it.
@Suite struct ViewRandomnessTests {
    static func draw(_ spec: ViewSpec, _ count: Int, height: Int = 100, width: Int = 120) -> [ViewParameters] {
        (0..<count).map {
            ViewParameters(spec, height: height, width: width, ViewStreams(seed: 3, epoch: 0, image: UInt64($0), view: 0))
        }
    }

    @Test func cropsFollowTheirDistribution() throws {
        var spec = ViewSpec()
        spec.scale = [0.25, 0.75]
        let all = Self.draw(spec, 4000)
        for p in all {
            #expect(p.left >= 0 && p.top >= 0 && p.left + p.width <= 120 && p.top + p.height <= 100)
            let (share, ratio) = (Double(p.width * p.height) / 12000, Double(p.width) / Double(p.height))
            #expect(share > 0.23 && share < 0.78)
            #expect(ratio > 0.72 && ratio < 1.39)
        }
        #expect(abs(all.reduce(0) { $0 + Double($1.width * $1.height) } / (4000 * 12000) - 0.5) < 0.02)
        // Log-uniform: as many upright as lying crops.
        #expect(abs(Double(all.filter { $0.width > $0.height }.count) / 4000 - 0.5) < 0.05)
        #expect(abs(Double(all.filter(\.flip).count) / 4000 - 0.5) < 0.04)
    }

    /// torchvision's way out when no crop fits: the largest centre crop of an allowed ratio.
    @Test func cropsThatCannotFitFallBackToTheCentre() {
        var spec = ViewSpec()
        spec.scale = [1, 1]
        for p in Self.draw(spec, 20, height: 10, width: 100) {
            #expect((p.left, p.top, p.width, p.height) == (43, 0, 13, 10))
        }
        for p in Self.draw(spec, 20, height: 100, width: 10) {
            #expect((p.left, p.top, p.width, p.height) == (0, 43, 10, 13))
        }
    }

    @Test func probabilitiesRangesAndOrders() {
        var spec = ViewSpec()
        spec.jitter = [0.4, 1.5, 0.2, 0.1]
        spec.jitterProbability = 0.8
        (spec.gray, spec.solarize, spec.blurProbability, spec.blur) = (0.2, 0.3, 0.6, [0.5, 1.5])
        let all = Self.draw(spec, 6000)
        func share(_ has: (ViewParameters) -> Bool) -> Double { Double(all.filter(has).count) / 6000 }
        #expect(abs(share { !$0.jitter.isEmpty } - 0.8) < 0.02)
        #expect(abs(share { $0.gray } - 0.2) < 0.02)
        #expect(abs(share { $0.solarize } - 0.3) < 0.02)
        #expect(abs(share { $0.blur != nil } - 0.6) < 0.02)
        #expect(all.allSatisfy { $0.blur.map { $0 >= 0.5 && $0 <= 1.5 } ?? true })
        let ranges: [ClosedRange<Float>] = [0.6...1.4, 0...2.5, 0.8...1.2, -0.1...0.1]
        var orders: [[Int]: Int] = [:]
        var sums = [Float](repeating: 0, count: 4)
        for p in all where !p.jitter.isEmpty {
            orders[p.jitter.map(\.operation.rawValue), default: 0] += 1
            for (operation, amount) in p.jitter {
                #expect(ranges[operation.rawValue].contains(amount))
                sums[operation.rawValue] += amount
            }
        }
        // 24 orders of about 200 each: four standard deviations are 56.
        #expect(orders.count == 24)
        #expect(orders.values.allSatisfy { $0 > 144 && $0 < 256 })
        let jittered = Float(all.filter { !$0.jitter.isEmpty }.count)
        #expect(abs(sums[0] / jittered - 1) < 0.02 && abs(sums[1] / jittered - 1.25) < 0.04 && abs(sums[3] / jittered) < 0.005)
    }

    /// Each operation has a stream of its own: what one draws does not depend on what others do, nor on the order they are listed in.
    @Test func anOperationDoesNotMoveTheOthers() {
        var spec = ViewSpec()
        spec.jitter = [0.4, 0.4, 0.2, 0.1]
        (spec.gray, spec.solarize, spec.blurProbability) = (0.5, 0.5, 0.5)
        let all = Self.draw(spec, 200)
        let changes: [(String, (inout ViewSpec) -> Void)] = [
            ("crop", { $0.scale = [0.9, 1] }), ("flip", { $0.flip = 0 }), ("jitter", { $0.jitterProbability = 0.1 }),
            ("gray", { $0.gray = 0.1 }), ("blur", { $0.blurProbability = 0.1 }), ("solarize", { $0.solarize = 0.1 }),
        ]
        for (changed, change) in changes {
            var other = spec
            change(&other)
            let same = zip(all, Self.draw(other, 200)).map { a, b in
                [
                    "crop": (a.left, a.top, a.width, a.height) == (b.left, b.top, b.width, b.height), "flip": a.flip == b.flip,
                    "jitter": a.jitter.elementsEqual(b.jitter) { $0 == $1 }, "gray": a.gray == b.gray, "blur": a.blur == b.blur,
                    "solarize": a.solarize == b.solarize,
                ]
            }
            for (name, _) in changes {
                #expect(same.allSatisfy { $0[name] == true } == (name != changed), "\(changed) changes \(name)")
            }
        }
    }

    /// Where a view was cut out, as shares of its image.
    @Test func cropsAreTold() throws {
        let pixels = ViewTests.image(20, 40, 3)
        var spec = ViewSpec()
        (spec.size, spec.scale, spec.mean, spec.std) = (6, [0.2, 0.6], [0], [1])
        let nowhere = CropBox(left: 0, top: 0, right: 1, bottom: 1, flipped: false)
        let crops = try HeapArray(2 * 3, repeating: nowhere, for: "crops")
        let out = try (0..<2).map { _ in try FloatBuffer(3 * 6 * 6 * 3) }
        try pixels.withUnsafeBufferPointer {
            let image = SourceImage(pixels: $0.baseAddress!, height: 20, width: 40, channels: 3, rowStride: 120)
            try [image, image, image].withUnsafeBufferPointer {
                try ViewMaker.make(
                    $0, views: [spec, spec], seed: 3, epoch: 0, indices: nil, into: out.map(\.base), crops: crops.base, Compute(threads: 2))
            }
        }
        for view in 0..<2 {
            for image in 0..<3 {
                let p = ViewParameters(spec, height: 20, width: 40, ViewStreams(seed: 3, epoch: 0, image: UInt64(image), view: view))
                let box = crops[view * 3 + image]
                #expect(box.left == Float(p.left) / 40 && box.right == Float(p.left + p.width) / 40 && box.flipped == p.flip)
                #expect(box.top == Float(p.top) / 20 && box.bottom == Float(p.top + p.height) / 20)
            }
        }
    }

    /// A view is named by (seed, epoch, image, place in the list): not by threads, the batch around it, or the other views' specifications.
    @Test func aViewDependsOnItsNameAlone() throws {
        let images = (0..<5).map { i -> UnsafeMutableBufferPointer<UInt8> in
            let memory = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: (20 + i) * (30 - i) * 3)
            _ = memory.initialize(from: ViewTests.image(20 + i, 30 - i, 3, seed: UInt64(i)))
            return memory
        }
        defer { images.forEach { $0.deallocate() } }
        let base = try ViewSpec.preset("multicrop", size: 24, channels: 3)
        let views = [base[0], base[0], base[1]]
        func make(_ order: [Int], _ views: [ViewSpec], threads: Int, seed: UInt64 = 9, epoch: UInt64 = 4) throws -> [[Float]] {
            let buffers = try views.map { try FloatBuffer(order.count * $0.size * $0.size * 3) }
            let sources = order.map {
                SourceImage(
                    pixels: UnsafePointer(images[$0].baseAddress!), height: 20 + $0, width: 30 - $0, channels: 3, rowStride: 3 * (30 - $0))
            }
            try ViewMaker.make(
                sources, views: views, seed: seed, epoch: epoch, indices: order.map { UInt64($0) << 33 }, into: buffers.map(\.base),
                try Compute(threads: threads))
            return buffers.map { Array($0.values) }
        }
        func image(_ values: [Float], _ place: Int, of count: Int) -> ArraySlice<Float> {
            values[place * values.count / count..<(place + 1) * values.count / count]
        }
        let straight = try make([0, 1, 2, 3, 4], views, threads: 1)
        for threads in [2, 3, 7] { #expect(try make([0, 1, 2, 3, 4], views, threads: threads) == straight) }
        let shuffled = try make([3, 1], views, threads: 2)
        for v in 0..<3 {
            #expect(image(shuffled[v], 0, of: 2) == image(straight[v], 3, of: 5))
            #expect(image(shuffled[v], 1, of: 2) == image(straight[v], 1, of: 5))
        }
        var other = views
        other[0].size = 9
        other[0].blurProbability = 1
        #expect(try Array(make([0, 1, 2, 3, 4], other, threads: 1)[1...]) == Array(straight[1...]))
        #expect(straight[0] != straight[1])
        for changed in [try make([0, 1, 2, 3, 4], views, threads: 1, seed: 10), try make([0, 1, 2, 3, 4], views, threads: 1, epoch: 5)] {
            for v in 0..<3 { #expect(changed[v] != straight[v]) }
        }
    }
}
