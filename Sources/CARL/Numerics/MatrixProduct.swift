import COpenBLAS
import Synchronization

/// Row-major matrix products on OpenBLAS, one thread a call; `Compute.multiply` splits a product over the threads.
public enum MatrixProduct {
    /// C (m x n) = alpha * op(A) (m x k) * op(B) (k x n) + beta * C, with row strides `lda`, `ldb`, `ldc`.
    @inline(__always)
    static func multiply(
        _ m: Int, _ n: Int, _ k: Int,
        _ a: UnsafePointer<Float>, _ lda: Int, transposeA: Bool = false,
        _ b: UnsafePointer<Float>, _ ldb: Int, transposeB: Bool = false,
        _ c: FloatPointer, _ ldc: Int, alpha: Float = 1, beta: Float = 0
    ) {
        if m == 0 || n == 0 { return }
        cblas_sgemm(
            CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans,
            blasint(m), blasint(n), blasint(k), alpha, a, blasint(lda), b, blasint(ldb), beta, c, blasint(ldc))
    }

    private static let users = Mutex<(count: Int, threads: Int32)>((0, 1))

    /// Runs `body` with OpenBLAS told to use one thread, and restores its number of threads when the last user leaves.
    /// The library's own loops are parallel; a pool inside each of them would only fight over the cores.
    public static func withSingleThread<Result, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        users.withLock { state in
            if state.count == 0 {
                state.threads = openblas_get_num_threads()
                if state.threads != 1 { openblas_set_num_threads(1) }
            }
            state.count += 1
        }
        defer {
            users.withLock { state in
                state.count -= 1
                if state.count == 0, state.threads != 1 { openblas_set_num_threads(state.threads) }
            }
        }
        return try body()
    }
}

extension Compute {
    /// `MatrixProduct.multiply` with the rows or columns of C shared among the threads.
    func multiply(
        _ m: Int, _ n: Int, _ k: Int,
        _ a: UnsafePointer<Float>, _ lda: Int, transposeA: Bool = false,
        _ b: UnsafePointer<Float>, _ ldb: Int, transposeB: Bool = false,
        _ c: FloatPointer, _ ldc: Int, alpha: Float = 1, beta: Float = 0
    ) {
        // Small products are not worth waking a thread for.
        let grain = max(8, 1 << 17 / max(1, (m >= n ? n : m) * k))
        if m >= n {
            parallelRanges(m, grain: grain) { _, rows in
                MatrixProduct.multiply(
                    rows.count, n, k, a + (transposeA ? rows.lowerBound : rows.lowerBound * lda), lda, transposeA: transposeA,
                    b, ldb, transposeB: transposeB, c + rows.lowerBound * ldc, ldc, alpha: alpha, beta: beta)
            }
        } else {
            parallelRanges(n, grain: grain) { _, columns in
                MatrixProduct.multiply(
                    m, columns.count, k, a, lda, transposeA: transposeA,
                    b + (transposeB ? columns.lowerBound * ldb : columns.lowerBound), ldb, transposeB: transposeB,
                    c + columns.lowerBound, ldc, alpha: alpha, beta: beta)
            }
        }
    }
}
