import Foundation
import Testing

@testable import CARL

/// What the objective adds to the loss: diagnostics, collapse, temperatures.
@Suite struct AssignmentObjectiveTests {
    @Test func collapseIsJudgedByWhatTheStepShows() {
        var healthy = Terms()
        for (name, value) in [
            "embedding_std": 0.085, "effective_prototypes": 290, "max_probability": 0.1, "assigned_prototypes": 120,
        ] {
            healthy[name] = value
        }
        func judge(_ changes: [String: Double] = [:], images: Int = 128) -> Collapse {
            var terms = healthy
            for (name, value) in changes { terms[name] = value }
            return Collapse.judge(terms, count: 300, dimension: 128, images: images)
        }
        #expect(judge() == .none)
        #expect(judge(["assigned_prototypes": 1]) == .sharedPrototypes)
        #expect(judge(["assigned_prototypes": 7]) == .sharedPrototypes)
        #expect(judge(["assigned_prototypes": 8]) == .none)
        #expect(judge(["embedding_std": 0.045]) == .shrunkenEmbedding)
        #expect(judge(["embedding_std": 0.045, "contrast_weight": 4]) == .none)
        #expect(judge(["embedding_std": 0.02, "contrast_weight": 4]) == .shrunkenEmbedding)
        #expect(judge(["embedding_std": 0.003, "assigned_prototypes": 1]) == .constantEmbedding)
        #expect(judge(["effective_prototypes": 1.05, "assigned_prototypes": 1]) == .fewPrototypes)
        #expect(judge(["max_probability": 0.0034]) == .uniform)
        // Of a few images it cannot be told.
        #expect(judge(["embedding_std": 0.045, "assigned_prototypes": 1], images: 15) == .none)
    }

    /// As a run reports it: with a contrast, which spreads a crowded embedding again, one is not a collapse yet.
    @Test(arguments: [(0.0, Collapse.shrunkenEmbedding), (4, .none)])
    func aCrowdedEmbeddingIsJudgedByTheRunsTerms(weight: Double, wanted: Collapse) throws {
        let (batch, d) = (64, 16)
        var settings = AssignmentObjective.Settings()
        settings.contrastWeight = Ramp(weight)
        var layout = ParameterLayout()
        let run = try AssignmentTraining(AssignmentObjective(&layout, prototypes: 30, dimension: d, settings))
        let state = try TrainingState(layout, .init(optimizer: .sgd))
        try layout.initialize(state.parameters.base, state.statistics.base, seed: 3)
        let (z, gradients) = (try FloatBuffer(2 * batch * d), try FloatBuffer(2 * batch * d))
        var random = RandomStream(seed: 5, purpose: .order)
        // Around one direction, half as far from each other as all over the sphere.
        for i in 0..<2 * batch * d { z.base[i] = (i % d == 0 ? 7 : 0) + random.normal() }
        let compute = try Compute(threads: 1)
        let evaluated = try run.evaluate(
            ObjectiveBatch(
                step: 0, batch: batch, dimension: d,
                embeddings: [UnsafePointer(z.base), UnsafePointer(z.base + batch * d)],
                gradients: [gradients.base, gradients.base + batch * d], globalViews: 2, memory: state.memory), compute)
        let spread = try #require(evaluated.terms["embedding_std"]) * Double(d).squareRoot()
        #expect(spread > 0.25 && spread < 0.6)
        var collapse = Collapse.none
        for step in 1...30 {
            var result = evaluated
            collapse = run.stepTaken(step, images: batch, &result)
        }
        #expect(collapse == wanted)
    }

    @Test func spreadIsTheEntropyOfTheVotes() throws {
        let usage = try PrototypeUsage(8)
        usage.clear()
        for i in 0..<4 { usage.votes[i] = 5 }
        #expect(abs(usage.spread(blocks: 1) - 4) < 1e-9)
        // Two blocks, each with all its votes on one prototype.
        usage.clear()
        (usage.votes[0], usage.votes[5]) = (6, 6)
        #expect(abs(usage.spread(blocks: 2) - 1) < 1e-9)
    }

    /// A run that recovers half and collapses again is warned of once; one that has recovered is warned of anew.
    @Test func aCollapseIsNamedOnce() throws {
        var layout = ParameterLayout()
        let run = try AssignmentTraining(AssignmentObjective(&layout, prototypes: 30, dimension: 16, .init()))
        var (step, warnings) = (0, 0)
        func take(_ steps: Int, spread: Double) {
            for _ in 0..<steps {
                step += 1
                var result = ObjectiveResult()
                result.terms["embedding_std"] = spread
                let collapse = run.stepTaken(step, images: 8, &result)
                if run.warning(collapse, result) != nil { warnings += 1 }
            }
        }
        take(29, spread: 0)
        #expect(warnings == 0)
        take(1, spread: 0)
        #expect(warnings == 1)
        for _ in 0..<5 {
            take(3, spread: 0.25)
            take(12, spread: 0)
        }
        #expect(warnings == 1)
        take(60, spread: 0.25)
        take(40, spread: 0)
        #expect(warnings == 2)
    }

    /// A teacher's temperature of its own: its targets are sharper, as the same logits divided by less are.
    @Test func targetsMayHaveATemperatureOfTheirOwn() throws {
        let compute = try Compute(threads: 1)
        var random = RandomStream(seed: 4, purpose: .order)
        let (batch, d, k) = (5, 6, 7)
        func values(_ count: Int) throws -> FloatBuffer {
            let buffer = try FloatBuffer(count)
            for i in 0..<count { buffer.base[i] = random.normal() }
            return buffer
        }
        let (z, t, c) = (try values(batch * d), try values(batch * d), try values(k * d))
        var options = AssignmentOptions()
        (options.temperature, options.targetTemperature, options.priorWeight) = (0.5, 0.2, 0)
        var inputs = ConsistentAssignment.Inputs(
            embeddings: [UnsafePointer(z.base)], batch: batch, dimension: d, prototypes: c.base, prototypeCount: k)
        inputs.targets = [UnsafePointer(t.base), UnsafePointer(t.base)]
        let loss = try ConsistentAssignment(options, compute).evaluate(inputs).consistency
        func softmax(_ rows: FloatBuffer, _ row: Int, _ temperature: Double) -> [Double] {
            func unit(_ values: FloatBuffer, _ i: Int) -> [Double] {
                let v = (0..<d).map { Double(values.base[i * d + $0]) }
                let norm = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
                return v.map { $0 / norm }
            }
            let e = (0..<k).map { i in
                exp(zip(unit(rows, row), unit(c, i)).reduce(0) { $0 + $1.0 * $1.1 } / temperature)
            }
            return e.map { $0 / e.reduce(0, +) }
        }
        let expected = (0..<batch).reduce(0.0) { sum, row in
            sum - log(zip(softmax(z, row, 0.5), softmax(t, row, 0.2)).reduce(0) { $0 + $1.0 * $1.1 }) / Double(batch)
        }
        #expect(abs(loss - expected) < 1e-5)
    }

    /// Each kind's advice names what was seen and what to change.
    @Test func adviceNamesTheNumbersAndTheKeys() {
        var terms = Terms()
        for (name, value) in [
            ("prior_weight", 1.5), ("effective_prototypes", 1.02), ("assigned_prototypes", 1.25), ("agreement", 0.9),
        ] {
            terms[name] = value
        }
        func advice(_ kind: Collapse, detached: Bool = true) -> String {
            kind.advice(terms, count: 100, dimension: 16, steps: 30, detached: detached) ?? ""
        }
        for (kind, words) in [
            (Collapse.fewPrototypes, ["about one prototype", "1.02 of 100", "\"prior_weight\" (now 1.5)"]),
            (
                .sharedPrototypes,
                ["much the same assignment", "1.25 of 100", "100 prototypes want 2.069 or more", "contrast_weight"]
            ),
            (.uniform, ["all 100 prototypes alike", "temperature"]),
            (.shrunkenEmbedding, ["about 0.25 fills it", "temperature"]),
            (.constantEmbedding, ["the same for all images", "learning_rate"]),
        ] {
            for word in words { #expect(advice(kind).contains(word), "\(kind): \(word) in \(advice(kind))") }
        }
        // Where the target gets a gradient too, twice the weight is needed.
        #expect(advice(.sharedPrototypes, detached: false).contains("want 4.138 or more"))
        // A contrast need not be recommended to who has one.
        #expect(advice(.shrunkenEmbedding).contains("or a \"contrast_weight\""))
        terms["contrast_weight"] = 4
        #expect(advice(.shrunkenEmbedding).contains("unless \"embedding_std\" rises: early in a run the contrast"))
        #expect(!advice(.shrunkenEmbedding).contains("contrast_weight"))
        #expect(Collapse.none.advice(terms, count: 100, dimension: 16, steps: 30, detached: true) == nil)
    }
}
