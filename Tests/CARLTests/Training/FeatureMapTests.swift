import Foundation
import Testing

@testable import CARL

/// An objective on the positions of the feature maps: half the mean square of the maps, weighted by position.
private struct MapObjective: Objective {
    var usesMaps: Bool { true }
    func width(_ output: ModelOutput) throws -> Int { 1 }
    func evaluate(
        _ z: Activation, _ output: ModelOutput, _ memory: ModelMemory, into out: FloatPointer, _ compute: Compute
    ) throws {}
    func training() throws -> any ObjectiveTraining { MapTraining() }
}

private final class MapTraining: ObjectiveTraining {
    func evaluate(_ batch: ObjectiveBatch, _ compute: Compute) throws -> ObjectiveResult {
        var loss = 0.0
        for (view, map) in batch.maps.enumerated() {
            for i in 0..<batch.batch * map.height * map.width * map.channels {
                let weight = Double(1 + i / map.channels % (map.height * map.width) + view) / 10
                loss += weight * Double(map.values[i]) * Double(map.values[i]) / 2
                map.gradient[i] += Float(weight) * map.values[i]
            }
        }
        for gradient in batch.gradients { gradient.update(repeating: 0, count: batch.batch * batch.dimension) }
        return ObjectiveResult(loss: loss)
    }

    func stepTaken(_ step: Int, images: Int, _ result: inout ObjectiveResult) -> Collapse { .none }
    func warning(_ collapse: Collapse, _ result: ObjectiveResult) -> String? { nil }
    var tensors: [SavedTensor] { [] }
    var counters: [(name: String, value: Int)] { [] }
    func restore(_ counters: (_ name: String) -> Int?) {}
}

@Suite struct FeatureMapTests {
    static func trainer(_ more: String = "") throws -> Trainer {
        let configuration = try Configuration(
            json: """
                {"encoder": "resnet18", "width": 0.0625, "in_channels": 2, "projector": [4], "prototypes": 3,
                 "learning_rate": 0, "zero_init_residual": false, "views": [{"size": 16, "count": 2, "mean": [0.5], "std": [0.25]},
                 {"size": 9, "mean": [0.5], "std": [0.25]}], "threads": 2, "optimizer": "sgd"\(more)}
                """)
        let trainer = try Trainer(uninitialized: configuration) { _, _ in MapObjective() }
        try trainer.model.layout.initialize(
            trainer.training.parameters.base, trainer.training.statistics.base, seed: 5)
        return trainer
    }

    static func step(_ trainer: Trainer) throws -> Metrics {
        let sizes = [16, 16, 9]
        var random = RandomStream(seed: 3, purpose: .order)
        let values = sizes.map { size in (0..<3 * size * size * 2).map { _ in random.normal() } }
        let memory = try values.map { values in
            let buffer = try FloatBuffer(values.count)
            for (i, value) in values.enumerated() { buffer.base[i] = value }
            return buffer
        }
        return try withExtendedLifetime(memory) {
            try trainer.step(
                views: zip(sizes, memory).map { FloatImages($1.base, batch: 3, height: $0, width: $0, channels: 2) })
        }
    }

    /// Gradients of a loss on the maps of views of two sizes, by finite differences.
    @Test(arguments: [
        ("", ["encoder.conv1.weight", "encoder.layer2.0.bn1.weight", "encoder.layer4.1.bn2.bias"]),
        (#", "train_encoder": 3"#, ["encoder.layer3.1.conv1.weight", "encoder.layer4.1.bn2.bias"]),
        (#", "train_encoder": 8"#, ["encoder.layer1.0.conv1.weight", "encoder.layer4.1.bn2.bias"]),
    ])
    func gradientsReachTheEncoder(_ more: String, _ names: [String]) throws {
        let trainer = try Self.trainer(more)
        _ = try Self.step(trainer)
        for name in names {
            let tensor = try #require(trainer.tensors.first { $0.name == name })
            var values = [Float](repeating: 0, count: tensor.count)
            var gradient = values
            _ = try Self.step(trainer)
            try values.withUnsafeMutableBufferPointer {
                try trainer.readTensor(name, into: $0.baseAddress!, count: tensor.count)
            }
            try gradient.withUnsafeMutableBufferPointer {
                try trainer.readGradient(name, into: $0.baseAddress!, count: tensor.count)
            }
            // Along the gradient itself, where the loss changes most: rounding and closed ReLUs weigh least.
            let norm = Float(gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot())
            func loss(_ shift: Float) throws -> Double {
                let moved = zip(values, gradient).map { $0 + shift * $1 / norm }
                try trainer.writeTensor(name, from: moved, count: tensor.count)
                return try Self.step(trainer).loss
            }
            let h: Float = 2e-3
            let difference = try (loss(h) - loss(-h)) / Double(2 * h)
            _ = try loss(0)
            #expect(
                norm > 1e-2 && abs(difference - Double(norm)) < 0.03 * Double(norm), "\(name): \(difference), \(norm)")
        }
    }

    /// Maps and their gradients are in the memory of a step like all else.
    @Test(arguments: ["", #", "train_encoder": 2"#, #", "train_encoder": "none""#])
    func aStepTakesNoMemoryAfterTheFirst(_ more: String) throws {
        let trainer = try Self.trainer(more)
        _ = try Self.step(trainer)
        let (bytes, blocks) = (trainer.compute.bytes, trainer.compute.workspace.allocations)
        for _ in 0..<3 { _ = try Self.step(trainer) }
        #expect(trainer.compute.bytes == bytes && trainer.compute.workspace.allocations == blocks)
    }

    @Test func recomputingIsRefused() {
        #expect(throws: CARLError.self) { try Self.trainer(", \"recompute\": true") }
    }
}
