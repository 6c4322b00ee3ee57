import Foundation
import Testing

@testable import CARL

/// Configuration keys: defaults that follow from others, JSON, Swift, and the schema.
@Suite struct ConfigurationTests {
    /// Keys as properties: what is not set follows from what is, and single values pass the same checks as JSON.
    @Test func configurationsCanBeSetInSwift() throws {
        var own = Configuration()
        own.prototypes = 40
        own.batchSize = 64
        own.views = .specifications([
            {
                var spec = ViewSpec(); spec.size = 24; spec.count = 2; return spec
            }()
        ])
        let resolved = try own.resolved()
        let json = try Configuration(
            json: #"{"prototypes": 40, "batch_size": 64, "views": [{"size": 24, "count": 2}]}"#)
        #expect(
            resolved == json && resolved.learningRate == 0.1 && resolved.viewSpecs[0].mean == [0.485, 0.456, 0.406])
        var copy = resolved
        copy.optimizer = .sgd
        #expect(resolved.optimizer == .lars)
        #expect(try copy.resolved().learningRate == 0.03)
        copy.momentum = 2
        #expect(throws: CARLError.self) { try copy.resolved() }
        own.prototypes = 0
        #expect(throws: CARLError.self) { try Trainer(own) }
    }

    /// JSON has no word for NaN; messages have.
    @Test func whatIsNoNumberIsNamed() throws {
        var (width, ramp, view) = (Configuration(), Configuration(), ViewSpec())
        (width.width, ramp.temperature) = (.nan, Ramp(.infinity))
        view.scale = [.nan, 1]
        for (call, words) in [
            ({ _ = try width.resolved() }, "\"width\" must be a number"),
            ({ _ = try ramp.resolved() }, "\"temperature\""),
            ({ _ = try ViewSelection.specifications([view]).resolved(size: 8, channels: 3) }, "scale"),
        ] as [(() throws -> Void, String)] {
            let message = #expect(throws: CARLError.self) { try call() }.map { "\($0)" } ?? ""
            #expect(message.contains(words) && (message.contains("nan") || message.contains("inf")), "\(message)")
        }
    }

    /// Every key is in the schema once, with a sentence, and a default that the key accepts.
    /// What a configuration says is what it holds, before and after it is resolved and when a key is set anew.
    @Test func jsonSaysWhatIsSet() throws {
        var view = ViewSpec()
        (view.size, view.count) = (24, 2)
        var configuration = Configuration()
        configuration.views = .specifications([view])
        #expect(try Configuration(configuration.json).viewSpecs[0].size == 24)
        configuration = try configuration.resolved()
        view.size = 48
        configuration.views = .specifications([view])
        #expect(try Configuration(configuration.json).viewSpecs[0].size == 48)
        #expect(configuration.description.contains("\"views\""))

        var classifier = ClassifierConfiguration()
        (classifier.classes, classifier.freezeEncoder) = (3, true)
        classifier.viewChanges.keys["scale"] = [0.9, 1]
        let other = classifier
        classifier.viewChanges.keys["scale"] = [0.5, 1]
        #expect(classifier != other)
        let resolved = try ClassifierConfiguration(classifier.json, encoder: configuration.resolved())
        #expect(resolved.view.size == 48 && resolved.view.scale == [0.5, 1] && resolved.learningRate == 0)
        #expect(try ClassifierConfiguration(resolved.json, encoder: configuration.resolved()) == resolved)
        #expect(try ClassifierConfiguration(json: #"{"classes": 3}"#, encoder: Configuration()).view.size == 32)
    }

    /// What only vision transformers have is refused for ResNets, rather than left without effect.
    @Test(arguments: [
        #""registers": 3"#, #""drop_path": 0.2"#, #""pool": "mean""#, #""layer_scale": 1e-5"#, #""patch_size": 8"#,
        #""position_grid": 7"#,
    ])
    func keysOfTransformers(_ key: String) throws {
        #expect(throws: CARLError.self) { try Configuration(json: #"{"encoder": "resnet18", \#(key)}"#) }
        let made = try Configuration(json: #"{"encoder": "vit_tiny", \#(key)}"#)
        #expect(try Configuration(made.json) == made)
    }

    /// A file that was saved before that, when they had no effect, is read.
    @Test func keysOfTransformersInOldFiles() throws {
        var saved = try Configuration(json: #"{"encoder": "resnet18"}"#).json.object ?? JSONObject()
        (saved["pool"], saved["registers"]) = ("mean", 4)
        (saved["drop_path"], saved["layer_scale"], saved["patch_size"]) = (0.1, 0.1, 8)
        let read = try Configuration(saved: JSONValue.object(saved).serialized())
        #expect(try read == Configuration(json: #"{"encoder": "resnet18"}"#))
        (saved["encoder"], saved["patch_size"]) = ("vit_tiny", 16)
        #expect(try Configuration(saved: JSONValue.object(saved).serialized()).registers == 4)
    }

    /// A step that would compare no view with another is refused.
    @Test func aPairOfViewsIsNeeded() throws {
        let trainer = try Trainer(
            Configuration(
                json: """
                    {"encoder": "resnet18", "width": 0.0625, "in_channels": 1, "prototypes": 3, "projector": [4],
                     "symmetric": false, "threads": 1, "views": [{"size": 16}, {"size": 12, "count": 3}]}
                    """))
        let pixels = [UInt8](repeating: 7, count: 64)
        try pixels.withUnsafeBufferPointer { pixels in
            let image = SourceImage(
                pixels: try #require(pixels.baseAddress), height: 8, width: 8, channels: 1, rowStride: 8)
            var refusal = ""
            do { _ = try trainer.step([image, image]) } catch { refusal = "\(error)" }
            #expect(refusal.contains("no pair") && refusal.contains("symmetric"))
        }
    }

    @Test func theSchemaDescribesEveryKey() throws {
        let schema = ConfigurationSchema.json
        for (kind, names) in [("trainer", Configuration.keys), ("view", Settings.all(of: ViewSpec()).map(\.key.name))] {
            let keys = schema[kind]?.array ?? []
            #expect(keys.compactMap { $0["name"]?.string } == names && Set(names).count == names.count)
            for key in keys {
                #expect((key["doc"]?.string ?? "").count > 5 && key["kind"]?.string != nil)
                if let low = key["minimum"]?.number, let high = key["maximum"]?.number { #expect(low < high) }
            }
        }
        let defaults = (schema["trainer"]?.array ?? []).compactMap { key in
            key["default"] == .null ? nil : key["name"]?.string.map { ($0, key["default"] ?? .null) }
        }
        #expect(defaults.count > 10)
        #expect(try Configuration(.object(JSONObject(defaults))) == Configuration(json: "{}"))
    }

    @Test func defaultsFollowBatchSizeStepsAndPrototypes() throws {
        func configuration(_ text: String) throws -> Configuration { try Configuration(json: text) }
        let plain = try configuration("{}")
        #expect(plain.objective == .contrast && plain.contrastWeight == Ramp(4) && plain.prototypes == 128)
        #expect(plain.optimizer == .lars && plain.trustCoefficient == 0.02 && plain.weightDecay == 1e-5)
        #expect(plain.batchSize == 128 && plain.learningRate == 0.2 && plain.warmupSteps == 0)
        #expect(try configuration(#"{"batch_size": 64}"#).learningRate == 0.1)
        #expect(try configuration(#"{"batch_size": 64, "optimizer": "sgd"}"#).learningRate == 0.03)
        #expect(try configuration(#"{"batch_size": 4096, "optimizer": "sgd"}"#).learningRate == 0.24)
        #expect(try configuration(#"{"optimizer": "sgd"}"#).weightDecay == 5e-4)
        #expect(abs(try configuration(#"{"batch_size": 512, "optimizer": "adamw"}"#).learningRate - 0.004) < 1e-12)
        // What files of earlier versions do not say.
        let earlier = try Configuration(saved: #"{"optimizer": "lars"}"#)
        #expect(earlier.objective == .carl && earlier.trustCoefficient == 0.001 && earlier.contrastWeight == Ramp(0))
        #expect(try Configuration(saved: plain.json.serialized()) == plain)
        let long = try configuration(#"{"total_steps": 200}"#)
        #expect(long.warmupSteps == 10 && long.schedule == .trapezoid && plain.schedule == nil)
        #expect(try Configuration(saved: long.json.serialized()) == long)
        for objective in ["carl", "carp"] {
            let known = try configuration("{\"total_steps\": 200, \"objective\": \"\(objective)\"}")
            #expect(known.schedule == .cosine && known.warmupSteps == 10)
        }
        let cosine = try Configuration(saved: #"{"objective": "carl-contrast", "total_steps": 200, "schedule": null}"#)
        #expect(cosine.schedule == .cosine && cosine.warmupSteps == 10)
        #expect(try configuration(#"{"total_steps": 200, "warmup_steps": 0}"#).warmupSteps == 0)
        let carl = try configuration(#"{"objective": "carl"}"#)
        #expect(try configuration(#"{"total_steps": 200, "schedule": "trapezoid"}"#) == long)
        #expect(
            carl.optimizer == .lars && carl.learningRate == 0.2 && carl.contrastWeight == Ramp(0)
                && carl.prototypes == 300 && carl.priorWeight == Ramp(3.2))
        #expect(try configuration(#"{"prototypes": 10}"#).priorWeight == Ramp(1.4))
        #expect(try configuration(#"{"prototypes": 10, "stop_gradient": false}"#).priorWeight == Ramp(2.7))
        #expect(try configuration(#"{"prototypes": 1}"#).priorWeight == Ramp(0))
    }
}
