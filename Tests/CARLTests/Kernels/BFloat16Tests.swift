import Testing

@testable import CARL

/// bfloat16 formats that this build and processor can compute with.
let bfloat16Formats: [ProductFormat] =
    Precision.hasBFloat16 ? [.emulatedBFloat16, .bfloat16] : [.emulatedBFloat16]

extension Values {
    /// The values after rounding to bfloat16.
    var rounded: Values { Values(data.map { Double(Float(bitPattern: BFloat16.rounded(Float($0)))) }) }
}

/// Rounding to bfloat16, and products of rounded operands against float64.
@Suite struct BFloat16Tests {
    /// To nearest by the definition: of the two bfloat16 values around x, the nearer one, of equally near ones that
    /// whose last bit is 0.
    private static func reference(_ x: Float) -> Float {
        if x.isNaN || x.isInfinite || x == 0 { return x }
        if x.isSubnormal { return x.sign == .minus ? -0.0 : 0 }
        let below = Float(bitPattern: x.bitPattern & 0xffff_0000)
        let aboveBits = below.bitPattern + 0x1_0000
        // Above the largest finite value the next one would be 2^128.
        let above =
            aboveBits & 0x7f80_0000 == 0x7f80_0000
            ? Double(x.sign == .minus ? -0x1p128 : 0x1p128)
            : Double(Float(bitPattern: aboveBits))
        let (down, up) = (abs(Double(x) - Double(below)), abs(above - Double(x)))
        if down < up || (down == up && below.bitPattern & 0x1_0000 == 0) { return below }
        return Float(bitPattern: aboveBits)
    }

    private static let special: [UInt32] = [
        0, 0x8000_0000, 1, 0x8000_0001, 0x007f_ffff, 0x0080_0000, 0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff,
        0xbf80_8000, 0xbf81_8000, 0x7f7f_ffff, 0xff7f_ffff, 0x7f7f_7fff, 0x7f7f_8000, 0x7f80_0000, 0xff80_0000,
        0x7f80_0001, 0xffff_ffff, 0x7fc0_0000, 0x0000_8000, 0x0080_8000,
    ]

    @Test func roundsToNearestEven() throws {
        var random = RandomStream(seed: 1, purpose: .order)
        let bits = Self.special + (0..<100_000).map { _ in UInt32(truncatingIfNeeded: random.next()) }
        let values = bits.map { Float(bitPattern: $0) }
        // Words of a row's neighbours and of two rows, by vectors and one by one, give what single values do.
        let count = values.count | 1
        let source = try FloatBuffer(2 * count)
        for i in 0..<count { source.base[i] = i < values.count ? values[i] : 1 }
        let neighbours = try FloatBuffer(count / 2 + 1)
        BFloat16.pair(source.base, count, to: neighbours.base)
        let rows = try FloatBuffer(count)
        BFloat16.pairRows(source.base, 1, count, to: rows.base)
        for (i, value) in values.enumerated() {
            let got = Float(bitPattern: BFloat16.rounded(value))
            let wanted = Self.reference(value)
            #expect(got.isNaN == wanted.isNaN)
            if !wanted.isNaN { #expect(got.bitPattern == wanted.bitPattern) }
            #expect(got.bitPattern & 0xffff == 0)
            let word = neighbours.base[i / 2].bitPattern
            #expect((i % 2 == 0 ? word << 16 : word & 0xffff_0000) == got.bitPattern)
            #expect(rows.base[i].bitPattern == got.bitPattern >> 16)
        }
        #expect(neighbours.base[count / 2].bitPattern >> 16 == 0)
        // The same words without the processor's own conversion, of every length that a tail can have; of NaN, too.
        for length in [1, 2, 15, 16, 17, 31, 32, 33, 63, count] {
            let portable = try FloatBuffer(count)
            let own = try FloatBuffer(count)
            BFloat16.pairPortably(source.base, length, to: portable.base)
            BFloat16.pair(source.base, length, to: own.base)
            #expect((0..<count).allSatisfy { own.base[$0].bitPattern == portable.base[$0].bitPattern })
            for high in [nil, UnsafePointer(source.base + 5)] {
                BFloat16.pairPortably(source.base, high, length, to: portable.base)
                BFloat16.pair(source.base, high, length, to: own.base)
                #expect((0..<count).allSatisfy { own.base[$0].bitPattern == portable.base[$0].bitPattern })
            }
        }
        withExtendedLifetime((source, neighbours, rows)) {}
    }

    static let shapes = [
        (1, 1, 1), (1, 33, 2), (5, 15, 3), (6, 16, 256), (7, 17, 513), (13, 40, 300), (97, 35, 1025), (200, 70, 31),
        (3, 16, 0),
    ]

    private static func expect(
        _ c: UnsafePointer<Float>, _ ldc: Int, _ m: Int, _ n: Int, _ k: Int, a: Values, b: Values, before: Double
    ) {
        var (wanted, got) = (Values([]), Values([]))
        for row in 0..<m {
            for column in 0..<n {
                var sum = before
                for i in 0..<k { sum += a.data[row * k + i] * b.data[i * n + column] }
                wanted.data.append(sum)
                got.data.append(Double(c[row * ldc + column]))
            }
            #expect(c[row * ldc + n] == 7)
        }
        #expect(relativeError(got, wanted) < 2e-6)
    }

    /// Panels of weights in either order, and an A whose rows or whose columns lie together.
    @Test(arguments: shapes, bfloat16Formats)
    func packedProduct(_ shape: (Int, Int, Int), _ format: ProductFormat) throws {
        let (m, n, k) = shape
        let compute = try Compute(threads: 2)
        var random = RandomStream(seed: 2, purpose: .initialWeights, minor: UInt64(m * 1000 + n))
        let a = Values(random: m * k, &random)
        let b = Values(random: k * n, &random)
        func transposed(_ values: Values, _ rows: Int, _ columns: Int) -> Values {
            Values((0..<rows * columns).map { values.data[$0 % rows * columns + $0 / rows] })
        }
        let rows = try a.buffer()
        let columns = try transposed(a, m, k).buffer()
        for isTransposed in [false, true] {
            let weights = try (isTransposed ? transposed(b, k, n) : b).buffer()
            let memory = try FloatBuffer(PackedMatrix.count(k, n, format), zeroed: false)
            let packed = PackedMatrix(depth: k, columns: n, values: memory.base, format: format)
            packed.fill(weights.base, transposed: isTransposed, compute)
            for left in [
                PackedGEMM.Left(base: rows.base, rowStride: k, depthStride: 1),
                PackedGEMM.Left(base: columns.base, rowStride: 1, depthStride: m),
            ] {
                for accumulate in [false, true] {
                    let c = try FloatBuffer(m * (n + 1))
                    c.fill(7)
                    PackedGEMM.multiply(m, n, k, left, packed.right, c.base, n + 1, accumulate: accumulate)
                    Self.expect(c.base, n + 1, m, n, k, a: a.rounded, b: b.rounded, before: accumulate ? 7 : 0)
                    // The same bits by columns and pieces of the depth.
                    let pieces = try FloatBuffer(m * (n + 1))
                    pieces.fill(7)
                    for first in stride(from: 0, to: n, by: PackedGEMM.width) {
                        for start in stride(from: 0, to: k, by: 512) {
                            PackedGEMM.multiply(
                                m, min(PackedGEMM.width, n - first), min(512, k - start),
                                .init(
                                    base: left.base + start * left.depthStride, rowStride: left.rowStride,
                                    depthStride: left.depthStride),
                                packed.right.from(column: first).from(depth: start), pieces.base + first, n + 1,
                                accumulate: accumulate || start > 0)
                        }
                    }
                    if k > 0 { #expect((0..<c.count).allSatisfy { c.base[$0] == pieces.base[$0] }) }
                    withExtendedLifetime((c, pieces)) {}
                }
            }
            withExtendedLifetime((weights, memory)) {}
        }
        withExtendedLifetime((rows, columns)) {}
    }

    /// The general product, in all orders of its operands; the same bits for any number of threads.
    @Test(arguments: shapes + [(301, 517, 300)], bfloat16Formats)
    func generalProduct(_ shape: (Int, Int, Int), _ format: ProductFormat) throws {
        let (m, n, k) = shape
        var random = RandomStream(seed: 3, purpose: .initialWeights, minor: UInt64(m * 1000 + n))
        let a = Values(random: m * k, &random)
        let b = Values(random: k * n, &random)
        for (transposeA, transposeB) in [(false, false), (false, true), (true, false), (true, true)] {
            var (left, right) = ([Float](repeating: 0, count: m * k + 1), [Float](repeating: 0, count: k * n + 1))
            for row in 0..<m {
                for i in 0..<k { left[transposeA ? i * m + row : row * k + i] = Float(a.data[row * k + i]) }
            }
            for i in 0..<k {
                for column in 0..<n {
                    right[transposeB ? column * k + i : i * n + column] = Float(b.data[i * n + column])
                }
            }
            let results = try [1, 2, 3].map { threads in
                var c = [Float](repeating: 7, count: m * (n + 1))
                try c.withUnsafeMutableBufferPointer {
                    try Compute(threads: threads).multiply(
                        m, n, k, left, transposeA ? m : k, transposeA: transposeA, right, transposeB ? k : n,
                        transposeB: transposeB, $0.baseAddress!, n + 1, accumulate: true, format: format)
                }
                return c
            }
            #expect(results[0] == results[1] && results[0] == results[2])
            Self.expect(results[0], n + 1, m, n, k, a: a.rounded, b: b.rounded, before: 7)
        }
    }

    /// Sums of each thread's own and shared ones, over numbers of rows that leave an odd one.
    @Test(arguments: [(64, 72), (65, 129), (520, 513)], [1, 3, 255, 1030])
    func sumOverRows(_ shape: (Int, Int), _ rows: Int) throws {
        let (m, n) = shape
        var random = RandomStream(seed: 4, purpose: .initialWeights, minor: UInt64(m * rows))
        let x = Values(random: rows * m, &random)
        let dy = Values(random: rows * n, &random)
        let (inputs, gradients) = (try x.buffer(), try dy.buffer())
        let compute = try Compute(threads: 2, precision: .emulatedBF16)
        let results = try (0..<2).map { _ in
            let dw = try FloatBuffer(m * n)
            dw.fill(2)
            try RowProductSum.add(
                to: dw.base, m, n, rows: rows, dy: .init(gradients.base, channels: n), compute
            ) { rows, _ in UnsafePointer(inputs.base) + rows.lowerBound * m }
            return Values(dw.base, m * n)
        }
        let isPaired = compute.format(rows: m, columns: n, depth: rows) != .float32
        #expect(isPaired == (rows > 3) || rows == 3)
        let (a, b) = isPaired ? (x.rounded, dy.rounded) : (x, dy)
        var wanted = [Double](repeating: 2, count: m * n)
        for row in 0..<rows {
            for i in 0..<m { for j in 0..<n { wanted[i * n + j] += a.data[row * m + i] * b.data[row * n + j] } }
        }
        #expect(relativeError(results[0], Values(wanted)) < 2e-6)
        #expect(results[0].data == results[1].data)
        withExtendedLifetime((inputs, gradients)) {}
    }

    /// The processor's dot product against float32 instructions, bit for bit: no sum here is below 2^-126.
    @Test(.enabled(if: Precision.hasBFloat16), arguments: shapes)
    func instructionAgreesWithEmulation(_ m: Int, _ n: Int, _ k: Int) throws {
        var random = RandomStream(seed: 5, purpose: .initialWeights, minor: UInt64(m * 1000 + n))
        let (a, b) = ((0..<m * k + 1).map { _ in random.normal() }, (0..<k * n + 1).map { _ in random.normal() })
        let compute = try Compute(threads: 1)
        let results = [ProductFormat.bfloat16, .emulatedBFloat16].map { format in
            var c = [Float](repeating: 0.5, count: m * n)
            c.withUnsafeMutableBufferPointer {
                compute.multiply(m, n, k, a, k, b, n, $0.baseAddress!, n, accumulate: true, format: format)
            }
            return c
        }
        #expect(results[0] == results[1])
    }
}
