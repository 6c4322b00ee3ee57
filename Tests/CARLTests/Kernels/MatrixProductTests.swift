import COpenBLAS
import Testing

@testable import CARL

/// Our product against float64 sums and against OpenBLAS, over orders of the operands and sizes that are no multiple of a tile.
struct MatrixProductTests {
    struct Shape: CustomTestStringConvertible, Sendable {
        let m, n, k: Int
        var testDescription: String { "\(m) x \(n) x \(k)" }
    }

    static let shapes: [Shape] = [
        .init(m: 1, n: 1, k: 1), .init(m: 1, n: 300, k: 128), .init(m: 7, n: 5, k: 3), .init(m: 6, n: 16, k: 256), .init(m: 13, n: 33, k: 257),
        .init(m: 2, n: 1, k: 700), .init(m: 97, n: 193, k: 513), .init(m: 200, n: 31, k: 64), .init(m: 5, n: 4, k: 0), .init(m: 331, n: 770, k: 40),
    ]

    @Test(arguments: shapes, [1, 3]) func agreesWithReferences(_ shape: Shape, threads: Int) throws {
        let (m, n, k) = (shape.m, shape.n, shape.k)
        let compute = try Compute(threads: threads)
        var random = RandomStream(seed: 5, purpose: .initialWeights)
        for (transposeA, transposeB) in [(false, false), (false, true), (true, false), (true, true)] {
            // Rows further apart than their length, with values between that must not count.
            let (lda, ldb, ldc) = ((transposeA ? m : k) + 3, (transposeB ? k : n) + 2, n + 1)
            let a = (0..<max(1, (transposeA ? k : m) * lda)).map { _ in random.normal() }
            let b = (0..<max(1, (transposeB ? n : k) * ldb)).map { _ in random.normal() }
            let before = (0..<m * ldc).map { _ in random.normal() }
            for (alpha, accumulate) in [(Float(1), false), (0.7, true)] {
                var c = before
                c.withUnsafeMutableBufferPointer {
                    compute.multiply(
                        m, n, k, a, lda, transposeA: transposeA, b, ldb, transposeB: transposeB, $0.baseAddress!, ldc, alpha: alpha,
                        accumulate: accumulate)
                }
                var blas = before
                cblas_sgemm(
                    CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans, blasint(m), blasint(n),
                    blasint(k), alpha, a, blasint(lda), b, blasint(ldb), accumulate ? 1 : 0, &blas, blasint(ldc))
                for row in 0..<m {
                    for column in 0..<n {
                        var sum = 0.0
                        for i in 0..<k {
                            sum += Double(a[transposeA ? i * lda + row : row * lda + i]) * Double(b[transposeB ? column * ldb + i : i * ldb + column])
                        }
                        let at = row * ldc + column
                        let expected = Double(alpha) * sum + (accumulate ? Double(before[at]) : 0)
                        let tolerance = 2e-6 * (Double(k).squareRoot() + 1) * 4
                        #expect(abs(Double(c[at]) - expected) < tolerance)
                        #expect(abs(c[at] - blas[at]) < Float(2 * tolerance))
                    }
                    #expect(c[row * ldc + n] == before[row * ldc + n])
                }
            }
        }
    }

    /// The same bits with any number of threads.
    @Test func doesNotDependOnThreads() throws {
        var random = RandomStream(seed: 6, purpose: .initialWeights)
        let (m, n, k) = (301, 517, 300)
        let a = (0..<m * k).map { _ in random.normal() }
        let b = (0..<n * k).map { _ in random.normal() }
        let results = try [1, 2, 5, 64].map { threads -> [Float] in
            var c = [Float](repeating: .nan, count: m * n)
            let compute = try Compute(threads: threads)
            c.withUnsafeMutableBufferPointer { compute.multiply(m, n, k, a, k, b, k, transposeB: true, $0.baseAddress!, n) }
            return c
        }
        #expect(results.allSatisfy { $0 == results[0] })
    }
}
