import Foundation
import Testing

@testable import CARL

@Suite struct WeightsExportTests {
    let path = NSTemporaryDirectory() + "carl-export-\(UUID().uuidString).safetensors"

    @Test(arguments: [
        #""encoder": "resnet18", "mean": [0.1, 0.2, 0.3], "evaluation_crop": 0.7"#,
        #""encoder": "vit_tiny", "width": 1, "patch_size": 8, "registers": 2, "layer_scale": 0.1, "pool": "class_mean""#,
    ])
    func featuresAreTheSame(_ keys: String) throws {
        defer { unlink(path) }
        let trainer = try ResNetWeightsTests.trainer(keys + #", "view_size": 32, "std": [0.3]"#)
        try trainer.export(.encoder, to: path)
        let evaluator = try Evaluator(weights: path, threads: 2)
        #expect(
            try TransformerWeightsTests.features(evaluator, size: 40)
                == TransformerWeightsTests.features(trainer.evaluator, size: 40))
        let (own, read) = (trainer.configuration, evaluator.configuration)
        #expect(read.viewSpecs[0].size == 32 && read.viewSpecs[0].std == [0.3, 0.3, 0.3])
        #expect(read.viewSpecs[0].mean == own.viewSpecs[0].mean && read.evaluationCrop == own.evaluationCrop)
        #expect(read.pool == own.pool)
        #expect(throws: CARLError.self) { try evaluator.export(.model, to: path) }
        #expect(throws: CARLError.self) { try trainer.export(.encoder, teacher: true, to: path) }
    }

    @Test func aNoteOfAnotherKindIsAnErrorOfTheFile() throws {
        defer { unlink(path) }
        let trainer = try ResNetWeightsTests.trainer()
        let tensors = try WeightsFile.tensors(trainer)
        for note in ["", "7", #"{"mean": [1, 2]}"#, #"{"view_size": 1e9}"#] {
            let entries = tensors.map { tensor in
                Safetensors.Entry(name: tensor.name, shape: tensor.shape) {
                    $0.update(from: tensor.values, count: tensor.values.count)
                }
            }
            try Safetensors.write(path: path, entries: entries, metadata: [(WeightsNote.key, note)])
            #expect {
                try PretrainedWeights(path: path)
            } throws: { error in
                guard case .file(let text)? = error as? CARLError else { return false }
                return text.contains("its metadata \"carl\" is damaged")
            }
        }
    }
}
