import Foundation
import Testing

@testable import CARL

@Suite struct InstanceContrastTests {
    struct Case: CustomTestStringConvertible, Sendable {
        var views = 2, batch = 5, dimension = 3
        var temperature = 0.2, weight = 1.0
        var testDescription: String { "V\(views) B\(batch) D\(dimension) T\(temperature) w\(weight)" }
    }

    /// Equation 1 of arXiv 2002.05709 in float64, the mean over all other views of an image as positives.
    static func reference(_ z: [Values], _ c: Case) -> Double {
        let d = c.dimension
        let rows = z.flatMap { view in
            (0..<c.batch).map { i in
                let row = view.data[i * d..<(i + 1) * d]
                let length = max(row.reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-12)
                return row.map { $0 / length }
            }
        }
        var loss = 0.0
        for i in rows.indices {
            let s = rows.map { other in zip(rows[i], other).reduce(0) { $0 + $1.0 * $1.1 } / c.temperature }
            let others = rows.indices.filter { $0 != i }
            let top = others.map { s[$0] }.max()!
            loss += top + log(others.reduce(0.0) { $0 + exp(s[$1] - top) })
            let positives = others.filter { $0 % c.batch == i % c.batch }
            loss -= positives.reduce(0.0) { $0 + s[$1] } / Double(max(positives.count, 1))
        }
        return loss / Double(rows.count)
    }

    static func run(_ z: [Values], _ c: Case, threads: Int = 2) throws -> (loss: Double, gradients: [Values]) {
        let buffers = try z.map { try $0.buffer() }
        let gradients = try z.map { try FloatBuffer($0.data.count) }
        for gradient in gradients { for i in 0..<gradient.count { gradient.base[i] = 1 } }  // it is added to
        let loss = try InstanceContrast(temperature: c.temperature, compute: Compute(threads: threads)).evaluate(
            buffers.map { UnsafePointer($0.base) }, batch: c.batch, dimension: c.dimension, weight: c.weight, gradients: gradients.map(\.base))
        withExtendedLifetime(buffers) {}
        return (loss, gradients.map { Values(Values($0.base, $0.count).data.map { $0 - 1 }) })
    }

    /// 300 rows of 2 views are more than are held at a time, and no multiple of it.
    static let cases = [
        Case(), Case(views: 3), Case(views: 4, batch: 2, dimension: 1), Case(batch: 1), Case(views: 1, batch: 6),
        Case(batch: 17, dimension: 9, temperature: 0.05, weight: 0.3), Case(views: 2, batch: 1, dimension: 1),
    ]

    @Test(arguments: cases) func lossAndGradients(_ c: Case) throws {
        var random = RandomStream(seed: 5, purpose: .initialWeights, minor: UInt64(c.batch * 10 + c.views))
        let z = (0..<c.views).map { _ in Values(random: c.batch * c.dimension, &random) }
        let (loss, gradients) = try Self.run(z, c)
        #expect(abs(loss - Self.reference(z, c)) < 1e-5 * max(1, abs(loss)))
        for v in 0..<c.views {
            let numeric = numericalGradient(z[v]) { changed in
                var moved = z
                moved[v] = changed
                return c.weight * Self.reference(moved, c)
            }
            let size = numeric.data.map(abs).max() ?? 0
            for (a, b) in zip(gradients[v].data, numeric.data) { #expect(abs(a - b) < 1e-3 * max(size, 1e-3)) }
        }
    }

    @Test func manyRowsEqualTheReferenceForEveryNumberOfThreads() throws {
        let c = Case(views: 2, batch: 150, dimension: 8)
        var random = RandomStream(seed: 6, purpose: .initialWeights)
        let z = (0..<2).map { _ in Values(random: c.batch * c.dimension, &random) }
        let (one, three) = (try Self.run(z, c, threads: 1), try Self.run(z, c, threads: 3))
        #expect(abs(one.loss - Self.reference(z, c)) < 1e-5 * one.loss)
        for v in 0..<2 { #expect(relativeError(one.gradients[v], three.gradients[v]) < 1e-4) }
        // Half of the loss's sum is each view's: a few coordinates by differences.
        for i in [0, 77, 1199] {
            var (up, down) = (z, z)
            up[0].data[i] += 1e-5
            down[0].data[i] -= 1e-5
            let slope = (Self.reference(up, c) - Self.reference(down, c)) / 2e-5
            #expect(abs(one.gradients[0].data[i] - slope) < 1e-5)
        }
    }

    @Test func equalEmbeddingsAreFinite() throws {
        let c = Case(views: 2, batch: 3, dimension: 4, temperature: 1e-3)
        let same = Values([Double](repeating: 0.5, count: 12))
        let zero = Values([Double](repeating: 0, count: 12))
        for z in [[same, same], [zero, zero]] {
            let (loss, gradients) = try Self.run(z, c)
            #expect(loss.isFinite)
            #expect(gradients.allSatisfy { $0.data.allSatisfy(\.isFinite) })
        }
    }
}
