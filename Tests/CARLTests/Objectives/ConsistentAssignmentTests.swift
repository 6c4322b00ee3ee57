import Foundation
import Testing

@testable import CARL

@Suite struct ConsistentAssignmentTests {
    /// The objective in float64, written as in the paper. Targets are constants where detached.
    static func reference(
        _ z: [Values], targets: [Values], _ c: Values, targetPrototypes: Values?, dimension d: Int, _ o: AssignmentOptions,
        detachedFrom fixed: ([Values], Values)? = nil
    ) -> (loss: Double, consistency: Double, prior: Double) {
        let k = c.data.count / d
        let batch = z[0].data.count / d
        func unit(_ row: ArraySlice<Double>, _ normalize: Bool) -> [Double] {
            let length = normalize ? max(row.reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-12) : 1
            return row.map { $0 / length }
        }
        func logProbabilities(_ z: Values, _ c: Values) -> [[Double]] {
            let prototypes = (0..<k).map { unit(c.data[$0 * d..<($0 + 1) * d], o.normalizePrototypes) }
            return (0..<batch).map { i in
                let row = unit(z.data[i * d..<(i + 1) * d], o.normalizeEmbedding)
                let s = prototypes.map { zip(row, $0).reduce(0) { $0 + $1.0 * $1.1 } / o.temperature }
                let top = s.max()!
                let log = top + Foundation.log(s.reduce(0) { $0 + exp($1 - top) })
                return s.map { $0 - log }
            }
        }
        let p = z.map { logProbabilities($0, c) }
        let teacher = targets.map { logProbabilities($0, targetPrototypes ?? c) }
        let q: [[[Double]]] =
            !targets.isEmpty ? teacher : fixed.map { f in f.0.map { logProbabilities($0, f.1) } } ?? p
        var consistency = 0.0
        var pairs = 0.0
        for a in 0..<z.count {
            for b in 0..<q.count where a != b && (o.symmetric || a < b) {
                pairs += 1
                for i in 0..<batch {
                    let s = zip(p[a][i], q[b][i]).map { $0 + $1 }
                    let top = s.max()!
                    consistency -= top + Foundation.log(s.reduce(0) { $0 + exp($1 - top) })
                }
            }
        }
        consistency /= pairs * Double(batch)
        let rows = (o.priorOverTargets ? p + teacher : p).flatMap { $0 }
        var prior = Foundation.log(Double(k))
        for j in 0..<k {
            let mean = rows.reduce(0.0) { $0 + exp($1[j]) } / Double(rows.count)
            if mean > 0 { prior += mean * Foundation.log(mean) }
        }
        return (consistency + o.priorWeight * prior, consistency, prior)
    }

    struct Case: CustomTestStringConvertible, Sendable {
        var views = 2, targets = 0, batch = 5, dimension = 3, prototypes = 7
        var options = AssignmentOptions()
        var testDescription: String { "V\(views) T\(targets) B\(batch) D\(dimension) K\(prototypes) \(options)" }
    }

    static let cases: [Case] = {
        var list: [Case] = [Case()]
        func add(_ change: (inout Case) -> Void) {
            var new = Case()
            change(&new)
            list.append(new)
        }
        add { $0.options.stopGradient = false }
        add { $0.options.symmetric = false }
        add { $0.options.normalizeEmbedding = false }
        add { $0.options.normalizePrototypes = false }
        add { $0.options.temperature = 0.1; $0.options.priorWeight = 3 }
        add { $0.options.priorWeight = 0 }
        add { $0.views = 3; $0.batch = 4; $0.prototypes = 17 }
        add { $0.views = 3; $0.options.stopGradient = false; $0.options.symmetric = false }
        add { $0.targets = 2 }
        add { $0.views = 4; $0.targets = 2; $0.options.priorOverTargets = true }
        add { $0.views = 1; $0.targets = 2; $0.batch = 3 }
        add { $0.batch = 1; $0.dimension = 1; $0.prototypes = 1 }
        add { $0.batch = 1; $0.prototypes = 8 }
        add { $0.dimension = 1; $0.prototypes = 9 }
        return list
    }()

    static func run(_ c: Case, _ z: [Values], _ targets: [Values], _ prototypes: Values, _ targetPrototypes: Values?, threads: Int = 2)
        throws -> (AssignmentResult, [Values], Values)
    {
        let compute = try Compute(threads: threads)
        let buffers = try z.map { try $0.buffer() }
        let targetBuffers = try targets.map { try $0.buffer() }
        let gradients = try z.map { try FloatBuffer($0.data.count) }
        let prototypeBuffer = try prototypes.buffer()
        let prototypeGradient = try FloatBuffer(prototypes.data.count)
        let targetPrototypeBuffer = try targetPrototypes?.buffer()
        var inputs = ConsistentAssignment.Inputs(
            embeddings: buffers.map { UnsafePointer($0.base) }, batch: c.batch, dimension: c.dimension,
            prototypes: prototypeBuffer.base, prototypeCount: c.prototypes)
        inputs.targets = targetBuffers.map { UnsafePointer($0.base) }
        inputs.targetPrototypes = targetPrototypeBuffer.map { UnsafePointer($0.base) }
        inputs.embeddingGradients = gradients.map(\.base)
        inputs.prototypeGradient = prototypeGradient.base
        let result = try ConsistentAssignment(c.options, compute).evaluate(inputs)
        withExtendedLifetime((buffers, targetBuffers, prototypeBuffer, targetPrototypeBuffer)) {}
        return (result, gradients.map { Values($0.base, $0.count) }, Values(prototypeGradient.base, prototypeGradient.count))
    }

    @Test(arguments: cases) func lossAndGradients(_ c: Case) throws {
        var random = RandomStream(seed: 21, purpose: .initialWeights, minor: UInt64(c.prototypes * 100 + c.views))
        let z = (0..<c.views).map { _ in Values(random: c.batch * c.dimension, &random) }
        let targets = (0..<c.targets).map { _ in Values(random: c.batch * c.dimension, &random) }
        let prototypes = Values(random: c.prototypes * c.dimension, &random)
        let targetPrototypes = c.targets > 0 ? Values(random: c.prototypes * c.dimension, &random) : nil
        let (result, gradients, prototypeGradient) = try Self.run(c, z, targets, prototypes, targetPrototypes)
        let expected = Self.reference(
            z, targets: targets, prototypes, targetPrototypes: targetPrototypes, dimension: c.dimension, c.options)
        #expect(abs(result.consistency - expected.consistency) < 1e-5 * max(1, expected.consistency))
        #expect(abs(result.prior - expected.prior) < 1e-5)
        #expect(abs(result.loss - expected.loss) < 1e-5 * max(1, expected.loss))
        // Finite differences of a loss whose targets stand still, when they are detached.
        let fixed: ([Values], Values)? = c.options.stopGradient && c.targets == 0 ? (z, prototypes) : nil
        func loss(_ z: [Values], _ prototypes: Values) -> Double {
            Self.reference(
                z, targets: targets, prototypes, targetPrototypes: targetPrototypes, dimension: c.dimension, c.options,
                detachedFrom: fixed
            ).loss
        }
        func close(_ a: Values, _ b: Values) -> Bool {
            zip(a.data, b.data).allSatisfy { abs($0 - $1) < 1e-3 * max(b.data.map(abs).max() ?? 0, 1e-3) }
        }
        for v in 0..<c.views {
            let numeric = numericalGradient(z[v]) { changed in
                var moved = z
                moved[v] = changed
                return loss(moved, prototypes)
            }
            #expect(close(gradients[v], numeric))
        }
        #expect(close(prototypeGradient, numericalGradient(prototypes) { loss(z, $0) }))
    }

    @Test func uniformAssignmentsHaveNoPriorAndConsistencyLogK() throws {
        var c = Case()
        c.prototypes = 12
        c.options.normalizePrototypes = false
        var random = RandomStream(seed: 2, purpose: .initialWeights)
        let z = (0..<2).map { _ in Values(random: c.batch * c.dimension, &random) }
        let (result, _, _) = try Self.run(c, z, [], Values([Double](repeating: 0, count: 36)), nil)
        #expect(abs(result.prior) < 1e-6)
        #expect(abs(result.consistency - Foundation.log(12.0)) < 1e-6)
        #expect(abs(result.effectivePrototypes - 12) < 1e-4)
    }

    @Test func extremeLogitsStayFiniteAndKeepTheirGradient() throws {
        // Identical one-hot assignments: no loss. Opposite ones: a large loss with a gradient.
        var c = Case()
        (c.batch, c.dimension, c.prototypes) = (2, 2, 2)
        c.options.normalizeEmbedding = false
        c.options.normalizePrototypes = false
        c.options.priorWeight = 0
        let prototypes = Values([1, 0, 0, 1])
        let hot = Values([1e4, -1e4, -1e4, 1e4])
        let same = try Self.run(c, [hot, hot], [], prototypes, nil)
        #expect(same.0.loss == 0)
        #expect(abs(same.0.prior) < 1e-6)
        let opposite = try Self.run(c, [hot, Values(hot.data.map { -$0 })], [], prototypes, nil)
        #expect(abs(opposite.0.consistency - 2e4) < 1)
        let all = opposite.1.flatMap(\.data) + opposite.2.data
        #expect(all.allSatisfy { $0.isFinite })
        #expect(opposite.1[0].data.contains { abs($0) > 1e-3 })
    }

    @Test func symmetricDetachedLossHasHalfTheGradientOfTheUndetachedOne() throws {
        var c = Case()
        c.options.priorWeight = 0
        var random = RandomStream(seed: 33, purpose: .initialWeights)
        let z = (0..<2).map { _ in Values(random: c.batch * c.dimension, &random) }
        let prototypes = Values(random: c.prototypes * c.dimension, &random)
        let detached = try Self.run(c, z, [], prototypes, nil)
        c.options.stopGradient = false
        let whole = try Self.run(c, z, [], prototypes, nil)
        let doubled = Values(detached.2.data.map { 2 * $0 })
        #expect(relativeError(doubled, whole.2) < 1e-5)
    }

    @Test func resultsDoNotDependOnThreads() throws {
        var c = Case()
        (c.batch, c.dimension, c.prototypes) = (37, 16, 50)
        var random = RandomStream(seed: 34, purpose: .initialWeights)
        let z = (0..<2).map { _ in Values(random: c.batch * c.dimension, &random) }
        let prototypes = Values(random: c.prototypes * c.dimension, &random)
        let one = try Self.run(c, z, [], prototypes, nil, threads: 1)
        let three = try Self.run(c, z, [], prototypes, nil, threads: 3)
        #expect(abs(one.0.loss - three.0.loss) < 1e-6)
        #expect(relativeError(one.2, three.2) < 1e-5)
    }
}
