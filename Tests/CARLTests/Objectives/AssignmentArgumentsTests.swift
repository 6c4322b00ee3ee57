import Testing

@testable import CARL

/// What the objective cannot be computed of is an error that names it.
@Suite struct AssignmentArgumentsTests {
    typealias Change = @Sendable (inout ConsistentAssignment.Inputs, inout AssignmentOptions) throws -> Void

    static let changes: [(String, Change)] = [
        ("batch", { inputs, _ in inputs.batch = 0 }), ("batch", { inputs, _ in inputs.batch = .max }),
        ("dimension", { inputs, _ in inputs.dimension = -1 }),
        ("prototypeCount", { inputs, _ in inputs.prototypeCount = 0 }),
        ("prototypeCount", { inputs, _ in inputs.prototypeCount = .max }),
        ("embeddings.count", { inputs, _ in inputs.embeddings = [] }),
        (
            "no pair",
            { inputs, _ in
                inputs.embeddings.removeLast()
                inputs.embeddingGradients.removeLast()
            }
        ),
        ("no pair", { _, options in (options.symmetric, options.targetViews) = (false, 1) }),
        ("embeddingGradients.count", { inputs, _ in inputs.embeddingGradients.removeLast() }),
        ("options.temperature", { _, options in options.temperature = 0 }),
        ("options.temperature", { _, options in options.temperature = .nan }),
        ("options.targetTemperature", { _, options in options.targetTemperature = 0 }),
        ("options.priorWeight", { _, options in options.priorWeight = -.infinity }),
        ("partition", { _, options in options.partitionSize = 2 }),
        ("partition", { inputs, _ in inputs.partition = try RandomPartition(count: 400, blockSize: 4, seed: 0) }),
        (
            "partition",
            { inputs, options in
                options.partitionSize = 2
                inputs.partition = try RandomPartition(count: 4, blockSize: 4, seed: 0)
            }
        ),
    ]

    @Test(arguments: changes.indices) func whatCannotBe(_ number: Int) throws {
        let (name, change) = Self.changes[number]
        let z = try FloatBuffer(2 * 3 * 8)
        let prototypes = try FloatBuffer(4 * 8)
        for i in 0..<prototypes.count { prototypes.base[i] = Float(i % 5) - 2 }
        for i in 0..<z.count { z.base[i] = Float(i % 7) - 3 }
        let gradients = try FloatBuffer(2 * 3 * 8)
        var options = AssignmentOptions()
        var inputs = ConsistentAssignment.Inputs(
            embeddings: [UnsafePointer(z.base), UnsafePointer(z.base + 24)], batch: 3, dimension: 8,
            prototypes: UnsafePointer(prototypes.base), prototypeCount: 4)
        inputs.embeddingGradients = [gradients.base, gradients.base + 24]
        let compute = try Compute(threads: 1)
        #expect(try ConsistentAssignment(options, compute).evaluate(inputs).loss.isFinite)
        try change(&inputs, &options)
        let error = #expect(throws: CARLError.self) {
            try ConsistentAssignment(options, compute).evaluate(inputs)
        }
        #expect(error?.description.contains(name) == true, "\(error?.description ?? "")")
    }

    @Test func partitionsThatCannotBe() throws {
        for (count, size) in [(0, 1), (-1, 1), (.max, 1), (4, 0), (4, 5), (4, -1)] {
            #expect(throws: CARLError.self) { try RandomPartition(count: count, blockSize: size, seed: 0) }
        }
        #expect(try RandomPartition(count: 4, blockSize: 2, seed: 0, step: -1).blocks == 2)
        for views in [-1, 0, .max] {
            #expect(!ConsistentAssignment.hasPairs(views: views, targets: 0, options: AssignmentOptions()))
        }
    }

    /// KL to the uniform distribution of assignments that are uniform: 0, of however many rows.
    @Test(arguments: [64, 4096, 32768]) func thePriorOfManyRows(_ batch: Int) throws {
        let z = try FloatBuffer(batch * 8)
        let prototypes = try FloatBuffer(300 * 8)
        for i in 0..<prototypes.count { prototypes.base[i] = Float(i % 5) - 2 }
        let inputs = ConsistentAssignment.Inputs(
            embeddings: [UnsafePointer(z.base), UnsafePointer(z.base)], batch: batch, dimension: 8,
            prototypes: UnsafePointer(prototypes.base), prototypeCount: 300)
        let compute = try Compute(threads: 2)
        for wholeLimit in [0, ConsistentAssignment.wholeLimit] {
            let result = try ConsistentAssignment(AssignmentOptions(), compute).evaluate(inputs, wholeLimit: wholeLimit)
            #expect(abs(result.prior) < 1e-5 && abs(result.effectivePrototypes - 300) < 0.01)
        }
    }
}
