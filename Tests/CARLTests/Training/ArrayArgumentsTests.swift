import Testing

@testable import CARL

/// Arrays in the place of pointers give what pointers give, and have one element for each image.
@Suite struct ArrayArgumentsTests {
    @Test func arraysAreCounted() throws {
        let pixels = (0..<2 * 64).map { UInt8(truncatingIfNeeded: $0 * 37) }
        try pixels.withUnsafeBufferPointer { pixels in
            let base = try #require(pixels.baseAddress)
            let images = (0..<2).map {
                SourceImage(pixels: base + $0 * 64, height: 8, width: 8, channels: 1, rowStride: 8)
            }
            let trainer = try ViewArgumentsTests.trainer()
            let evaluator = trainer.evaluator
            let features = try evaluator.embed(images)
            let memory = try FloatBuffer(features.count)
            try evaluator.embed(images, size: 0, .features, into: memory.base)
            let width = try evaluator.width(.features)
            #expect(features == Array(memory.values) && features.count == 2 * width)
            #expect(throws: CARLError.self) { try trainer.step(images, indices: [1]) }
            #expect(try trainer.step(images, indices: [5, 9], epoch: 2).step == 1)

            var configuration = ClassifierConfiguration()
            (configuration.classes, configuration.freezeEncoder) = (3, true)
            let classifier = try Classifier(configuration, encoder: evaluator)
            for labels: [Int32] in [[], [1], [0, 1, 2]] {
                #expect(throws: CARLError.self) { try classifier.step(images, labels: labels) }
            }
            #expect(throws: CARLError.self) { try classifier.step(images, labels: [0, 1], indices: [1]) }
            #expect(try classifier.step(images, labels: [0, 1], indices: [1, 2], epoch: 1).step == 1)
            #expect(try classifier.step(images, labels: [0, 1]).step == 2)
            let values = [Float](repeating: 0.5, count: 2 * 64)
            try values.withUnsafeBufferPointer { values in
                let batch = FloatImages(
                    try #require(values.baseAddress), batch: 2, height: 8, width: 8, channels: 1)
                #expect(try classifier.step(batch, labels: [0, 1]).step == 3)
                #expect(throws: CARLError.self) { try classifier.step(batch, labels: [0]) }
                #expect(try evaluator.embed(batch).count == 2 * width)
            }
        }
    }
}
