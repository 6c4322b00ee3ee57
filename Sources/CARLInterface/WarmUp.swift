import CARL
import CARLHeader

/// What is made once for the process: Swift's runtime makes the descriptions of generic types, the conformances it has
/// looked up and the values of globals when they are first used, under locks of its own.
///
/// A child that is forked while another thread is in such a first use finds the lock held by a thread that is not
/// there, and waits for ever. So the first call uses, on the smallest of models, what calls use, while no process is
/// forked. Nothing of it is seen by the caller. What goes wrong in it goes wrong again, with a message, in the call
/// that needs it.
enum WarmUp {
    static func once() {
        if shim_is_warm() != 0 { return }
        shim_lock_first_uses()
        defer { shim_unlock_first_uses() }
        if shim_is_warm() != 0 { return }
        // Some 4 MB are used. With little more than none left a call must not end the process that it would not have.
        guard (try? JSONValue.checkRoom(forText: 1 << 18)) != nil else { return }
        rehearse()
        shim_set_warm()
    }

    /// Nobody's file: what looks for it is told so by the system.
    private static let nowhere = "/dev/null/carl"

    private static let side = 8
    private static let plain = """
        {"width": 0.015625, "view_size": 8, "prototypes": 3, "projector": [2], "threads": 1}
        """
    private static let withTeacher = """
        {"objective": "carp", "encoder": "resnet18", "width": 0.015625, "view_size": 8, "prototypes": 4,
        "partition_size": 2, "projector": [4, 2], "threads": 1, "teacher_momentum": 0.9}
        """

    private static func rehearse() {
        let pixels = UnsafeMutablePointer<UInt8>.allocate(capacity: 2 * side * side * 3)
        defer { pixels.deallocate() }
        for i in 0..<2 * side * side * 3 { pixels[i] = UInt8(truncatingIfNeeded: i * 37 + i / 5) }
        let images = (0..<2).map {
            SourceImage(
                pixels: pixels + $0 * side * side * 3, height: side, width: side, channels: 3, rowStride: 3 * side)
        }
        attempt { _ = try train(plain, images) }
        attempt { try save(train(withTeacher, images), images) }
        attempt { try EncoderKind.rehearse() }
        attempt { try evaluate() }
        attempt { try refuse() }
        ConfigurationSchema.json.serialized().withCString { _ in }
        _ = (buildInfo.pointer, Handles.count)
    }

    /// Runs `body`; an error takes the way of a call's, but to nobody.
    private static func attempt(_ body: () throws -> Void) { _ = failure(body).map { withoutZeros($0.message) } }

    private static func train(_ configuration: String, _ images: [SourceImage]) throws -> Trainer {
        let trainer = try Trainer(Configuration(json: configuration))
        trainer.compute.profile = Profile()
        let object = TrainableObject(trainer)
        Handles.rehearse(object)
        _ = try SourceImage.collect(images.count) {
            images[$0]
        } _: {
            try trainer.step($0)
        }
        _ = [trainer.lastTerms.json, trainer.configuration.json, trainer.compute.profile?.json].map { $0?.serialized() }
        try embed(trainer.evaluator, .probabilities, images)
        return trainer
    }

    private static func save(_ trainer: Trainer, _ images: [SourceImage]) throws {
        let ofFile = try MemoryFile.with { path in
            try trainer.save(to: path, notes: JSONValue.parse("{\"a\": [1.5, true, null, \"b\"]}"))
            _ = try Trainer.resume(from: path, overrides: ["threads": 1]).notes.serialized()
            try trainer.export(.model, teacher: true, to: path)
            _ = try PretrainedWeights(path: path).description.serialized()
            return try Evaluator(weights: path, threads: 1)
        }
        try classify(ofFile, images)
    }

    private static func embed(_ evaluator: Evaluator, _ output: ModelOutput, _ images: [SourceImage]) throws {
        var rows = [Float](repeating: 0, count: images.count * (try evaluator.width(output)))
        try rows.withUnsafeMutableBufferPointer {
            guard let out = $0.baseAddress else { return }
            try evaluator.embed(images.count, size: 0, output, into: out) { images[$0] }
        }
    }

    private static func classify(_ encoder: Evaluator, _ images: [SourceImage]) throws {
        try embed(encoder, .features, images)
        let classifier = try Classifier(JSONValue.parse("{\"classes\": 2, \"threads\": 1}"), encoder: encoder)
        Handles.rehearse(TrainableObject(classifier))
        Handles.rehearse(EncoderObject(encoder))
        _ = try classifier.step(images, labels: [0, 1])
        try MemoryFile.with { path in
            try classifier.save(to: path)
            _ = try Classifier.load(from: path)
        }
    }

    /// Neighbours, and the objective by itself, of two rows.
    private static func evaluate() throws {
        let values: [Float] = [1, 0.5, 0.25, -1]
        let compute = try Compute(threads: 1)
        var (labels, found, precision) = ([Int64](repeating: 0, count: 2), [Int64](repeating: 0, count: 2), [0.0, 0.0])
        try NearestNeighbours.classify(
            references: values, labels: labels, n: 2, queries: values, m: 2, dimension: 2, classes: 1, ks: [1],
            temperature: 0.1, predicted: &found, compute: compute)
        try NearestNeighbours.search(
            references: values, n: 2, queries: values, m: 2, dimension: 2, k: 1, neighbours: &found, similarities: nil,
            compute: compute)
        try Retrieval.averagePrecision(
            references: values, labels: labels, n: 2, queries: values, queryLabels: found, m: 2, dimension: 2,
            cutoffs: [], leaveOneOut: false, precision: &precision, relevant: &labels, compute: compute)
        try values.withUnsafeBufferPointer {
            guard let rows = $0.baseAddress else { return }
            let inputs = ConsistentAssignment.Inputs(
                embeddings: [rows, rows], batch: 2, dimension: 2, prototypes: rows, prototypeCount: 2)
            _ = try ConsistentAssignment(AssignmentOptions(), compute).evaluate(inputs)
        }
    }

    /// Calls that are refused: for their configuration, and for a file that is not there.
    private static func refuse() throws {
        attempt { _ = try Configuration(json: "{\"prototype\": 1}") }
        attempt { _ = try Configuration(json: "{\"precision\": \"\"}") }
        attempt { _ = try Configuration(json: "{\"prototypes\": [") }
        attempt { _ = try Trainer.resume(from: nowhere) }
        attempt { _ = try Classifier.load(from: nowhere, overrides: nil) }
        attempt { _ = try Evaluator(weights: nowhere) }
        attempt { _ = try Evaluator(path: nowhere) }
        _ = try ViewSpec.expanded(JSONValue.parse("\"multicrop\""), size: 8, channels: 3).serialized()
        // Memory of a call that failed is not kept.
        try IdleCompute.call(threads: 1) { _ in throw InterfaceError(CARL_INTERNAL_ERROR, "nothing is wrong") }
    }
}
