import Testing

@testable import CARL

/// The product without packing against sums in Double.
@Suite struct PackedGEMMTests {
    static let shapes = [
        (1, 1, 1), (5, 15, 3), (6, 16, 256), (7, 17, 257), (13, 40, 300), (24, 8, 513), (64, 33, 2), (3, 16, 0),
        (1, 80, 384), (3, 40, 300), (197, 40, 300), (197, 24, 513), (9, 33, 300), (49, 64, 513), (17, 31, 1),
        // Half of a panel's columns or fewer, for one and more pairs of tiles.
        (16, 16, 16), (12, 8, 300), (35, 3, 300), (32, 12, 7), (48, 1, 5), (50, 48, 260), (100, 7, 600),
    ]

    /// A as it lies for the forward product (rows together), with columns together, and in tiles; B in panels and as
    /// plain rows; C written, written from a bias on, and added to.
    @Test(arguments: shapes) func agreesWithTheDefinition(_ m: Int, _ n: Int, _ k: Int) throws {
        var random = RandomStream(seed: 9, purpose: .initialWeights, minor: UInt64(m * 1000 + n))
        let a = Values(random: max(m * k, 1), &random)
        let width = PackedGEMM.width
        let panels = (n + width - 1) / width
        // Whatever lies behind the last column must count for nothing.
        let b = try FloatBuffer(panels * max(k, 1) * width)
        b.fill(.nan)
        let wide = panels * width + 3
        let plain = try FloatBuffer(max(k, 1) * wide)
        plain.fill(.nan)
        let values = Values(random: max(n * k, 1), &random)
        for row in 0..<k {
            for column in 0..<n {
                let value = Float(values.data[row * n + column])
                b.base[(column / width * k + row) * width + column % width] = value
                plain.base[row * wide + column] = value
            }
        }
        let rows = try FloatBuffer(max(m * k, 1))
        let columns = try FloatBuffer(max(m * k, 1))
        let height = PackedGEMM.rows
        let tiles = try FloatBuffer((m + height - 1) / height * height * max(k, 1))
        tiles.fill(.nan)
        let bias = try Values(random: n, &random).buffer()
        for row in 0..<m {
            for i in 0..<k {
                tiles.base[(row / height * k + i) * height + row % height] = Float(a.data[row * k + i])
                rows.base[row * k + i] = Float(a.data[row * k + i])
                columns.base[i * m + row] = Float(a.data[row * k + i])
            }
        }
        let ldc = n + 5
        for (left, right) in [
            (
                PackedGEMM.Left(base: rows.base, rowStride: k, depthStride: 1),
                PackedGEMM.Right(base: b.base, panelStride: k * width, depthStride: width)
            ),
            (
                PackedGEMM.Left(base: rows.base, rowStride: k, depthStride: 1),
                PackedGEMM.Right(base: b.base, panelStride: k * width, depthStride: width, isFar: true)
            ),
            (
                PackedGEMM.Left(base: columns.base, rowStride: 1, depthStride: m),
                PackedGEMM.Right(base: plain.base, panelStride: width, depthStride: wide)
            ),
            (
                PackedGEMM.Left(tiles: tiles.base, depth: k),
                PackedGEMM.Right(base: b.base, panelStride: k * width, depthStride: width)
            ),
        ] {
            for (accumulate, start) in [(false, nil), (false, bias.base), (true, nil)] {
                let c = try FloatBuffer(m * ldc)
                c.fill(7)
                PackedGEMM.multiply(
                    m, n, k, left, right, c.base, ldc, accumulate: accumulate, bias: start.map { UnsafePointer($0) })
                for row in 0..<m {
                    for column in 0..<ldc {
                        var expected = column >= n || accumulate ? 7.0 : Double(start?[column] ?? 0)
                        if column < n {
                            for i in 0..<k { expected += a.data[row * k + i] * values.data[i * n + column] }
                        }
                        #expect(
                            abs(Double(c.base[row * ldc + column]) - expected) < 1e-4 * max(1, Double(k).squareRoot()))
                    }
                }
            }
        }
        withExtendedLifetime((rows, columns, tiles, bias, b, plain)) {}
    }

    /// Prefetching changes no value, nor does taking columns, or pieces of the depth that a chain is cut to, by
    /// themselves.
    @Test(arguments: [0, 1, 3, 9, 23, 49, 197]) func partsOfFarPanels(_ m: Int) throws {
        let (n, k) = (5 * PackedGEMM.width - 3, 600)
        var random = RandomStream(seed: 10, purpose: .initialWeights, minor: UInt64(m))
        let a = try Values(random: m * k, &random).buffer()
        let b = try Values(random: PackedMatrix.count(k, n), &random).buffer()
        let left = PackedGEMM.Left(base: a.base, rowStride: k, depthStride: 1)
        var right = PackedMatrix(depth: k, columns: n, values: b.base).right
        right.isFar = false
        let expected = try FloatBuffer(m * n)
        PackedGEMM.multiply(m, n, k, left, right, expected.base, n, accumulate: false)
        right.isFar = true
        let got = try FloatBuffer(m * n)
        for first in stride(from: 0, to: n, by: 2 * PackedGEMM.width) {
            PackedGEMM.multiply(
                m, min(2 * PackedGEMM.width, n - first), k, left, right.from(column: first), got.base + first, n,
                accumulate: false)
        }
        #expect((0..<m * n).allSatisfy { got.base[$0] == expected.base[$0] })
        for first in stride(from: 0, to: k, by: 256) {
            PackedGEMM.multiply(
                m, n, min(256, k - first), .init(base: a.base + first, rowStride: k, depthStride: 1),
                right.from(depth: first), got.base, n, accumulate: first > 0)
        }
        #expect((0..<m * n).allSatisfy { got.base[$0] == expected.base[$0] })
        withExtendedLifetime((a, b, expected, got)) {}
    }
}
