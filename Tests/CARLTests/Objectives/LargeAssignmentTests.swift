import Testing

@testable import CARL

/// Partitions and streamed softmaxes: the parts of the objective that are for many prototypes. What they compute is compared with a float64
/// reference in the Python tests; here with each other.
@Suite struct LargeAssignmentTests {
    struct Outcome {
        var result = AssignmentResult()
        var gradients: [[Float]] = []
        var prototypeGradient: [Float] = []
        var votes: [UInt32] = []
        var bytes = 0
    }

    struct Problem: Sendable {
        var views = 2, targets = 0, batch = 9, dimension = 6, prototypes = 1100, threads = 2, scale: Float = 1
        var options = AssignmentOptions()
        var partitionSize = 0
        var gradients = true
    }

    static func run(_ p: Problem, wholeLimit: Int = ConsistentAssignment.wholeLimit) throws -> Outcome {
        var random = RandomStream(seed: 8, purpose: .initialWeights)
        func values(_ count: Int, _ scale: Float = 1) throws -> FloatBuffer {
            let buffer = try FloatBuffer(count)
            for i in 0..<count { buffer.base[i] = random.normal() * scale }
            return buffer
        }
        let z = try (0..<p.views).map { _ in try values(p.batch * p.dimension, p.scale) }
        let targets = try (0..<p.targets).map { _ in try values(p.batch * p.dimension, p.scale) }
        let prototypes = try values(p.prototypes * p.dimension)
        let targetPrototypes = try values(p.prototypes * p.dimension)
        let gradients = try z.map { try FloatBuffer($0.count) }
        let prototypeGradient = try FloatBuffer(prototypes.count)
        var options = p.options
        options.partitionSize = p.partitionSize
        var inputs = ConsistentAssignment.Inputs(
            embeddings: z.map { UnsafePointer($0.base) }, batch: p.batch, dimension: p.dimension, prototypes: prototypes.base,
            prototypeCount: p.prototypes)
        if p.targets > 0 {
            inputs.targets = targets.map { UnsafePointer($0.base) }
            inputs.targetPrototypes = UnsafePointer(targetPrototypes.base)
        }
        if p.gradients {
            inputs.embeddingGradients = gradients.map(\.base)
            inputs.prototypeGradient = prototypeGradient.base
        }
        if p.partitionSize > 0 {
            inputs.partition = try RandomPartition(count: p.prototypes, blockSize: p.partitionSize, seed: 3)
        }
        let compute = try Compute(threads: p.threads)
        var outcome = Outcome(votes: Array(repeating: 0, count: p.prototypes))
        outcome.result = try outcome.votes.withUnsafeMutableBufferPointer { votes in
            inputs.votes = votes.baseAddress
            return try ConsistentAssignment(options, compute).evaluate(inputs, wholeLimit: wholeLimit)
        }
        withExtendedLifetime((z, targets, prototypes, targetPrototypes)) {}
        outcome.gradients = gradients.map { Array($0.values) }
        outcome.prototypeGradient = Array(prototypeGradient.values)
        outcome.bytes = compute.workspace.bytes
        return outcome
    }

    static func distance(_ a: [Float], _ b: [Float]) -> Double {
        let error = zip(a, b).reduce(0.0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
        return (error / max(b.reduce(0.0) { $0 + Double($1) * Double($1) }, 1e-12)).squareRoot()
    }

    static func expectSame(_ a: Outcome, _ b: Outcome) {
        #expect(abs(a.result.loss - b.result.loss) < 2e-6 * max(1, abs(b.result.loss)))
        #expect(abs(a.result.prior - b.result.prior) < 1e-5)
        #expect(abs(a.result.effectivePrototypes - b.result.effectivePrototypes) < 1e-4 * b.result.effectivePrototypes)
        #expect(abs(a.result.maxProbability - b.result.maxProbability) < 1e-5)
        #expect(a.result.agreement == b.result.agreement && a.votes == b.votes)
        for (x, y) in zip(a.gradients, b.gradients) { #expect(distance(x, y) < 2e-5) }
        #expect(distance(a.prototypeGradient, b.prototypeGradient) < 2e-5)
    }

    static let problems: [Problem] = {
        var list = [Problem()]
        func add(_ change: (inout Problem) -> Void) {
            var new = Problem()
            change(&new)
            list.append(new)
        }
        add { $0.threads = 1 }
        add { $0.threads = 5 }
        add { $0.prototypes = 1024 }
        add { $0.prototypes = 513; $0.batch = 1 }
        add { $0.views = 3; $0.options.stopGradient = false; $0.options.symmetric = false }
        add { $0.views = 4; $0.targets = 2; $0.options.priorOverTargets = true }
        add { $0.options.priorWeight = 0; $0.options.temperature = 0.05 }
        add { $0.options.normalizePrototypes = false; $0.options.normalizeEmbedding = false }
        // Views that hardly overlap: shares come from the logits.
        add { $0.options.normalizeEmbedding = false; $0.scale = 200 }
        add { $0.gradients = false }
        return list
    }()

    @Test(arguments: problems) func streamingIsTheWholeSoftmax(_ problem: Problem) throws {
        Self.expectSame(try Self.run(problem, wholeLimit: 0), try Self.run(problem, wholeLimit: .max))
    }

    @Test(arguments: [0, 64]) func oneThreadCountIsBitIdenticalAndOthersAgree(_ partitionSize: Int) throws {
        var problem = Problem()
        problem.partitionSize = partitionSize
        problem.batch = 33
        let first = try Self.run(problem, wholeLimit: 0)
        let again = try Self.run(problem, wholeLimit: 0)
        #expect(first.result == again.result && first.gradients == again.gradients)
        #expect(first.prototypeGradient == again.prototypeGradient && first.votes == again.votes)
        for threads in [1, 3, 17, 40] {
            problem.threads = threads
            Self.expectSame(try Self.run(problem, wholeLimit: 0), first)
        }
    }

    @Test func oneBlockOfAllPrototypesIsTheWholeSoftmax() throws {
        var problem = Problem()
        let whole = try Self.run(problem)
        problem.partitionSize = problem.prototypes
        Self.expectSame(try Self.run(problem), whole)
    }

    /// Nothing of size rows x K is held: with ten times the prototypes, only one logarithm a prototype more.
    @Test(arguments: [0, 100]) func memoryHardlyGrowsWithTheNumberOfPrototypes(_ partitionSize: Int) throws {
        var problem = Problem()
        (problem.partitionSize, problem.batch) = (partitionSize, 50)
        problem.prototypes = 5000
        let few = try Self.run(problem, wholeLimit: 0)
        problem.prototypes = 50_000
        let many = try Self.run(problem, wholeLimit: 0)
        #expect(many.bytes - few.bytes <= (partitionSize > 0 ? 0 : 45_000 * 4))
        #expect(many.bytes < 100 * 50_000 * 4 / 4)
    }

    @Test func aPartitionTakesEveryPrototypeOnceAndDependsOnSeedAndStep() throws {
        let partition = try RandomPartition(count: 1003, blockSize: 100, seed: 7, step: 2)
        #expect(partition.blocks == 10)
        let order = Self.order(partition)
        #expect(order.sorted() == (0..<1003).map { Int32($0) })
        #expect(order == Self.order(try RandomPartition(count: 1003, blockSize: 5, seed: 7, step: 2)))
        #expect(order != Self.order(try RandomPartition(count: 1003, blockSize: 100, seed: 7, step: 3)))
        #expect(order != Self.order(try RandomPartition(count: 1003, blockSize: 100, seed: 8, step: 2)))
    }

    private static func order(_ partition: RandomPartition) -> [Int32] { partition.order.withValues { Array($0) } }

    /// Over many steps each prototype is left out equally often: the remainder is drawn anew.
    @Test func leftOverPrototypesTakeTurns() throws {
        var left = [Int](repeating: 0, count: 10)
        for step in 0..<3000 {
            let order = Self.order(try RandomPartition(count: 10, blockSize: 4, seed: 1, step: step))
            for index in order[8...] { left[Int(index)] += 1 }
        }
        // 600 expected each, standard deviation 22.
        #expect(left.allSatisfy { abs($0 - 600) < 110 })
    }
}
