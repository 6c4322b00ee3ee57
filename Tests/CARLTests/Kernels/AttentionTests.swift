import Foundation
import Testing

@testable import CARL

/// Attention against its definition in Double, for one token, few, and more than two blocks of queries.
struct AttentionTests {
    private static let width = Attention.headWidth

    struct Case: CustomTestStringConvertible {
        let images: Int
        let tokens: Int
        let heads: Int
        let threads: Int
        var testDescription: String { "\(images) images, \(tokens) tokens, \(heads) heads, \(threads) threads" }
    }

    private static let cases = [
        Case(images: 1, tokens: 1, heads: 1, threads: 1), Case(images: 2, tokens: 5, heads: 3, threads: 2),
        Case(images: 1, tokens: 16, heads: 2, threads: 4), Case(images: 1, tokens: 197, heads: 1, threads: 3),
        Case(images: 3, tokens: 101, heads: 2, threads: 1), Case(images: 1, tokens: 300, heads: 2, threads: 2),
    ]

    /// Outputs, and the gradients of sum(weights * outputs) by finite differences of nothing: by the chain rule in
    /// Double.
    private static func reference(_ joined: [Float], _ weights: [Float], _ test: Case) -> (
        out: [Double], dJoined: [Double]
    ) {
        let d = test.heads * width
        var out = [Double](repeating: 0, count: test.images * test.tokens * d)
        var dJoined = [Double](repeating: 0, count: joined.count)
        func place(_ image: Int, _ token: Int, _ part: Int, _ head: Int) -> Int {
            ((image * test.tokens + token) * 3 + part) * d + head * width
        }
        for image in 0..<test.images {
            for head in 0..<test.heads {
                for i in 0..<test.tokens {
                    let q = place(image, i, 0, head)
                    var p = (0..<test.tokens).map { j in
                        let k = place(image, j, 1, head)
                        return (0..<width).reduce(0.0) { $0 + Double(joined[q + $1]) * Double(joined[k + $1]) } / 8
                    }
                    let largest = p.max() ?? 0
                    p = p.map { exp($0 - largest) }
                    let sum = p.reduce(0, +)
                    p = p.map { $0 / sum }
                    let at = (image * test.tokens + i) * d + head * width
                    let dp = (0..<test.tokens).map { j in
                        let v = place(image, j, 2, head)
                        return (0..<width).reduce(0.0) { $0 + Double(weights[at + $1]) * Double(joined[v + $1]) }
                    }
                    let mean = zip(p, dp).reduce(0) { $0 + $1.0 * $1.1 }
                    for j in 0..<test.tokens {
                        let (k, v) = (place(image, j, 1, head), place(image, j, 2, head))
                        let ds = p[j] * (dp[j] - mean) / 8
                        for c in 0..<width {
                            out[at + c] += p[j] * Double(joined[v + c])
                            dJoined[v + c] += p[j] * Double(weights[at + c])
                            dJoined[q + c] += ds * Double(joined[k + c])
                            dJoined[k + c] += ds * Double(joined[q + c])
                        }
                    }
                }
            }
        }
        return (out, dJoined)
    }

    private static func error(_ got: [Float], _ want: [Double]) -> Double {
        let norm = want.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return zip(got, want).reduce(0) { $0 + pow(Double($1.0) - $1.1, 2) }.squareRoot() / norm
    }

    @Test(arguments: cases)
    func forwardAndBackward(_ test: Case) throws {
        let compute = try Compute(threads: test.threads)
        let shape = Attention.Shape(images: test.images, tokens: test.tokens, heads: test.heads)
        let rows = test.images * test.tokens
        var random = RandomStream(seed: 4, purpose: .order)
        // Scores of some size, so that attention is uneven.
        let joined = (0..<rows * shape.joined).map { _ in random.normal() * 1.5 }
        let weights = (0..<rows * shape.width).map { _ in random.normal() }
        var out = [Float](repeating: .nan, count: rows * shape.width)
        var dJoined = [Float](repeating: .nan, count: joined.count)
        var logSums = [Float](repeating: .nan, count: rows * test.heads)
        try out.withUnsafeMutableBufferPointer { out in
            try logSums.withUnsafeMutableBufferPointer { logSums in
                try Attention.forward(
                    joined, shape, into: out.baseAddress!, logSums: logSums.baseAddress!, compute)
            }
        }
        try dJoined.withUnsafeMutableBufferPointer {
            try Attention.backward(
                joined, out: out, logSums: logSums, gradient: weights, shape, into: $0.baseAddress!, compute)
        }
        let want = Self.reference(joined, weights, test)
        #expect(Self.error(out, want.out) < 2e-6)
        #expect(Self.error(dJoined, want.dJoined) < 5e-6)
    }

    /// Scores far outside the range of exp are no infinities.
    @Test func largeScores() throws {
        let compute = try Compute(threads: 1)
        let shape = Attention.Shape(images: 1, tokens: 9, heads: 1)
        let joined = (0..<9 * shape.joined).map { Float(($0 * 37) % 11 - 5) * 20 }
        var out = [Float](repeating: .nan, count: 9 * shape.width)
        try out.withUnsafeMutableBufferPointer {
            try Attention.forward(joined, shape, into: $0.baseAddress!, logSums: nil, compute)
        }
        let want = Self.reference(joined, out, Case(images: 1, tokens: 9, heads: 1, threads: 1)).out
        #expect(!out.contains { !$0.isFinite })
        #expect(Self.error(out, want) < 1e-5)
    }
}
