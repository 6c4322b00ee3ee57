import Foundation
import Testing

@testable import CARL

@Suite struct CrossEntropyTests {
    /// Loss as the definition reads.
    static func reference(_ s: Values, _ classes: Int, _ labels: [Int32], _ smoothing: Double) -> Double {
        var loss = 0.0
        for (row, label) in labels.enumerated() {
            let logits = (0..<classes).map { s.data[row * classes + $0] }
            let top = logits.max()!
            let logSum = top + log(logits.reduce(0.0) { $0 + exp($1 - top) })
            for c in 0..<classes {
                let target = smoothing / Double(classes) + (c == Int(label) ? 1 - smoothing : 0)
                loss -= target * (logits[c] - logSum) / Double(labels.count)
            }
        }
        return loss
    }

    static func evaluate(_ s: Values, _ classes: Int, _ labels: [Int32], _ smoothing: Double, threads: Int = 2) throws
        -> (result: CrossEntropy.Result, gradient: Values)
    {
        let logits = try s.buffer()
        let gradient = try FloatBuffer(logits.count)
        let result = try labels.withUnsafeBufferPointer {
            try CrossEntropy.evaluate(
                logits.base, labels.count, classes, labels: $0.baseAddress!, smoothing: smoothing, gradient: gradient.base,
                Compute(threads: threads))
        }
        return (result, Values(gradient.base, gradient.count))
    }

    @Test(arguments: [(1, 1), (1, 2), (2, 1), (3, 2), (5, 10), (7, 33), (300, 19)], [0.0, 0.1, 1.0])
    func lossAndGradient(_ shape: (batch: Int, classes: Int), _ smoothing: Double) throws {
        var random = RandomStream(seed: UInt64(shape.batch * 100 + shape.classes), purpose: .order)
        let s = Values(random: shape.batch * shape.classes, &random, scale: 3)
        let labels = (0..<shape.batch).map { _ in Int32(random.below(shape.classes)) }
        let (result, gradient) = try Self.evaluate(s, shape.classes, labels, smoothing)
        let want = Self.reference(s, shape.classes, labels, smoothing)
        #expect(abs(result.loss - want) <= 1e-7 * max(1, want))
        if shape.batch <= 7 {
            let numerical = numericalGradient(s) { Self.reference($0, shape.classes, labels, smoothing) }
            for (a, b) in zip(gradient.data, numerical.data) { #expect(abs(a - b) < 2e-7) }
        }
        let correct = labels.indices.filter { row in
            let logits = (0..<shape.classes).map { s.data[row * shape.classes + $0] }
            return logits.firstIndex(of: logits.max()!) == Int(labels[row])
        }
        #expect(result.correct == correct.count)
    }

    @Test func threadsDoNotMatter() throws {
        var random = RandomStream(seed: 3, purpose: .order)
        let s = Values(random: 900 * 50, &random)
        let labels = (0..<900).map { _ in Int32(random.below(50)) }
        let one = try Self.evaluate(s, 50, labels, 0.1, threads: 1)
        let three = try Self.evaluate(s, 50, labels, 0.1, threads: 3)
        #expect(one.result == three.result && one.gradient.data == three.gradient.data)
    }

    @Test func extremeLogitsStayFinite() throws {
        let s = Values([1e4, -1e4, 0, -1e4, 1e4, 3e4])
        let (result, gradient) = try Self.evaluate(s, 3, [1, 0], 0.1)
        #expect(abs(result.loss - Self.reference(s, 3, [1, 0], 0.1)) < 1e-3)
        #expect(gradient.data.allSatisfy { $0.isFinite })
        // The label's probability is 0: the whole pull is still there.
        #expect(abs(gradient.data[1] + 0.5 * (0.9 + 0.1 / 3)) < 1e-6)
    }

    @Test func notANumberIsNotHidden() throws {
        let (result, _) = try Self.evaluate(Values([1, .nan, 0]), 3, [0], 0)
        #expect(!result.loss.isFinite)
    }
}
