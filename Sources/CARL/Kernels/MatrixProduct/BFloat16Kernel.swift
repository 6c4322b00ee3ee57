import CBFloat16

/// The micro-kernel on pairs of bfloat16 values: tiles of the size of `MicroKernel`'s.
///
/// For each word the product of the upper halves is added to a sum, then that of the lower ones, each in one rounding.
/// A product of two bfloat16 values is exact in float32, so the two ways of computing it differ in one thing only:
/// VDPBF16PS takes sums and products below 2^-126 for zero, float32 instructions keep them.
enum BFloat16Kernel {
    /// Rows `rows` and columns `columns` of a tile of C; operands as `MicroKernel` reads them, words in the place of
    /// values. To the sums that are stored, rows of `addend` are added if there is one, `distance` from one to the
    /// next.
    @inline(never)
    static func tile(
        _ format: ProductFormat, _ depth: Int, _ a: UnsafePointer<Float>, rowStride: Int, rows: Int, aStep: Int,
        _ b: UnsafePointer<Float>, bStep: Int, _ c: FloatPointer, _ ldc: Int, columns: Int,
        addend: UnsafePointer<Float>?, distance: Int
    ) {
        #if CARL_AVX512
            if format == .bfloat16 {
                carl_bfloat16_tile(
                    depth, UnsafeRawPointer(a).assumingMemoryBound(to: UInt32.self), rowStride, rows, aStep,
                    UnsafeRawPointer(b).assumingMemoryBound(to: UInt32.self), bStep, c, ldc, columns, addend,
                    distance)
                return
            }
        #endif
        let half = FloatVector.scalarCount
        for first in stride(from: 0, to: columns, by: half) {
            let sums = PortableSums(depth, a, rowStride: rowStride, rowCount: rows, aStep: aStep, b + first, bStep)
            let taken = min(half, columns &- first)
            sums.forEachRow { row, values in
                guard row < rows else { return }
                let to = c + (row &* ldc &+ first)
                let from = addend.map { $0 + (row &* distance &+ first) }
                storeVector(from.map { loadVector($0, taken) + values } ?? values, to, taken)
            }
        }
    }

    /// Half of a tile's columns: a word takes two registers once it is widened.
    private struct PortableSums {
        var sum0 = FloatVector.zero, sum1 = FloatVector.zero, sum2 = FloatVector.zero, sum3 = FloatVector.zero
        var sum4 = FloatVector.zero, sum5 = FloatVector.zero
        #if CARL_AVX512
            var sum6 = FloatVector.zero, sum7 = FloatVector.zero
        #endif

        @inline(__always)
        init(
            _ depth: Int, _ a: UnsafePointer<Float>, rowStride: Int, rowCount: Int, aStep: Int,
            _ b: UnsafePointer<Float>, _ bStep: Int
        ) {
            typealias Words = BFloat16.Words
            let last = rowCount &- 1
            let a1 = a + min(1, last) &* rowStride
            let a2 = a + min(2, last) &* rowStride
            let a3 = a + min(3, last) &* rowStride
            let a4 = a + min(4, last) &* rowStride
            let a5 = a + min(5, last) &* rowStride
            #if CARL_AVX512
                let a6 = a + min(6, last) &* rowStride
                let a7 = a + min(7, last) &* rowStride
            #endif
            var panel = b
            var at = 0
            for _ in 0..<depth {
                let words = UnsafeRawPointer(panel).loadUnaligned(as: Words.self)
                let low = unsafeBitCast(words &<< Words(repeating: 16), to: FloatVector.self)
                let high = unsafeBitCast(words & Words(repeating: 0xffff_0000), to: FloatVector.self)
                sum0 = Self.dot(a[at], low, high, sum0)
                sum1 = Self.dot(a1[at], low, high, sum1)
                sum2 = Self.dot(a2[at], low, high, sum2)
                sum3 = Self.dot(a3[at], low, high, sum3)
                sum4 = Self.dot(a4[at], low, high, sum4)
                sum5 = Self.dot(a5[at], low, high, sum5)
                #if CARL_AVX512
                    sum6 = Self.dot(a6[at], low, high, sum6)
                    sum7 = Self.dot(a7[at], low, high, sum7)
                #endif
                panel += bStep
                at &+= aStep
            }
        }

        /// sum + the products of a word's two values with `low` and `high`.
        @inline(__always)
        private static func dot(_ word: Float, _ low: FloatVector, _ high: FloatVector, _ sum: FloatVector)
            -> FloatVector
        {
            let bits = word.bitPattern
            let upper = fmaVector(FloatVector(repeating: Float(bitPattern: bits & 0xffff_0000)), high, sum)
            return fmaVector(FloatVector(repeating: Float(bitPattern: bits &<< 16)), low, upper)
        }

        /// Calls `body` with each row in order.
        @inline(__always)
        func forEachRow(_ body: (_ row: Int, _ values: FloatVector) -> Void) {
            body(0, sum0)
            body(1, sum1)
            body(2, sum2)
            body(3, sum3)
            body(4, sum4)
            body(5, sum5)
            #if CARL_AVX512
                body(6, sum6)
                body(7, sum7)
            #endif
        }
    }
}
