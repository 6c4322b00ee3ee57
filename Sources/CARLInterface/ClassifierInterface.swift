import CARL
import CARLHeader

private func withClassifier(_ handle: OpaquePointer?, _ body: (TrainableObject<Classifier>) throws -> Void)
    -> carl_status
{
    guarded { try Handles.use(handle, as: TrainableObject<Classifier>.self, "classifier", body) }
}

@c @implementation
public func carl_classifier_create(
    _ encoder: OpaquePointer?, _ config_json: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> carl_status {
    guarded {
        let out = try required(out, "out")
        out.pointee = nil
        let classifier = try Handles.use(encoder, as: EncoderObject.self, "encoder") {
            try Classifier(JSONValue.parse(try text(config_json, "config_json")), encoder: $0.evaluator)
        }
        out.pointee = Handles.add(TrainableObject(classifier))
    }
}

@c @implementation
public func carl_classifier_free(_ classifier: OpaquePointer?) -> carl_status {
    guarded(always: true) { try Handles.remove(classifier, as: TrainableObject<Classifier>.self, "classifier") }
}

@c @implementation
public func carl_classifier_step(
    _ classifier: OpaquePointer?, _ images: UnsafePointer<carl_image>?, _ labels: UnsafePointer<Int32>?, _ count: Int,
    _ indices: UnsafePointer<UInt64>?, _ epoch: UInt64, _ metrics: UnsafeMutablePointer<carl_classifier_metrics>?
) -> carl_status {
    withClassifier(classifier) { object in
        try checkSize(metrics)
        try checkImages(images, count)
        try object.value.checkBatch(count)
        let labels = try required(labels, "labels")
        let result = try SourceImage.collect(count) {
            try sourceImage(images, $0)
        } _: {
            try object.value.step($0, labels: labels, indices: indices, epoch: epoch)
        }
        try report(result, to: metrics)
    }
}

@c @implementation
public func carl_classifier_step_batch(
    _ classifier: OpaquePointer?, _ images: UnsafePointer<carl_batch>?, _ labels: UnsafePointer<Int32>?,
    _ label_count: Int,
    _ metrics: UnsafeMutablePointer<carl_classifier_metrics>?
) -> carl_status {
    withClassifier(classifier) { object in
        try checkSize(metrics)
        let batch = try floatImages(try required(images, "images").pointee, "images.values")
        guard label_count == batch.batch else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT, "label_count: got \(shown(label_count)), want images.batch = \(batch.batch)")
        }
        try report(try object.value.step(batch, labels: try required(labels, "labels")), to: metrics)
    }
}

@c @implementation
public func carl_classifier_standardize(
    _ classifier: OpaquePointer?, _ images: UnsafePointer<carl_image>?, _ count: Int
) -> carl_status {
    withClassifier(classifier) {
        try checkImages(images, count)
        try $0.value.standardize(count) { try sourceImage(images, $0) }
    }
}

@c @implementation
public func carl_classifier_output_width(
    _ classifier: OpaquePointer?, _ output: carl_output, _ width: UnsafeMutablePointer<Int64>?
) -> carl_status {
    withClassifier(classifier) {
        try required(width, "width").pointee = Int64(try $0.value.width(try outputKind(output)))
    }
}

@c @implementation
public func carl_classifier_embed(
    _ classifier: OpaquePointer?, _ images: UnsafePointer<carl_batch>?, _ output: carl_output,
    _ out: UnsafeMutablePointer<Float>?,
    _ out_count: Int
) -> carl_status {
    withClassifier(classifier) { try embed($0.value, images, output, out, out_count) }
}

@c @implementation
public func carl_classifier_embed_images(
    _ classifier: OpaquePointer?, _ images: UnsafePointer<carl_image>?, _ count: Int, _ size: Int32,
    _ output: carl_output,
    _ out: UnsafeMutablePointer<Float>?, _ out_count: Int
) -> carl_status {
    withClassifier(classifier) { try embed($0.value, images, count, size, output, out, out_count) }
}

@c @implementation
public func carl_classifier_save(
    _ classifier: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ notes_json: UnsafePointer<CChar>?
) -> carl_status {
    withClassifier(classifier) { try $0.save(path, notes_json) }
}

@c @implementation
public func carl_classifier_load(
    _ path: UnsafePointer<CChar>?, _ overrides_json: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> carl_status {
    guarded {
        let out = try required(out, "out")
        out.pointee = nil
        let classifier = try Classifier.load(
            from: try text(path, "path"), overrides: try optionalJSON(overrides_json, "overrides_json"))
        out.pointee = Handles.add(TrainableObject(classifier))
    }
}

@c @implementation
public func carl_classifier_notes(
    _ classifier: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int,
    _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    withClassifier(classifier) { try copy($0.value.notes.serialized(), buffer, capacity, needed) }
}

@c @implementation
public func carl_classifier_config(
    _ classifier: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int,
    _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    withClassifier(classifier) { try copy($0.value.configuration.json.serialized(), buffer, capacity, needed) }
}

@c @implementation
public func carl_classifier_state_size(_ classifier: OpaquePointer?, _ count: UnsafeMutablePointer<Int64>?)
    -> carl_status
{
    withClassifier(classifier) { try required(count, "count").pointee = Int64($0.tensors.count) }
}

@c @implementation
public func carl_classifier_state_info(
    _ classifier: OpaquePointer?, _ index: Int64, _ out: UnsafeMutablePointer<carl_tensor_info>?
) -> carl_status {
    withClassifier(classifier) { try $0.describe(index, out) }
}

@c @implementation
public func carl_classifier_state_get(
    _ classifier: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Float>?, _ count: Int
) -> carl_status {
    withClassifier(classifier) { try $0.read(name, out, count) }
}

@c @implementation
public func carl_classifier_state_set(
    _ classifier: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ values: UnsafePointer<Float>?, _ count: Int
) -> carl_status {
    withClassifier(classifier) { try $0.write(name, values, count) }
}

@c @implementation
public func carl_classifier_gradient_get(
    _ classifier: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Float>?, _ count: Int
) -> carl_status {
    withClassifier(classifier) { try $0.readGradient(name, out, count) }
}

// MARK: Metrics

private func checkSize(_ metrics: UnsafeMutablePointer<carl_classifier_metrics>?) throws {
    if let metrics {
        _ = try structSize(structSizeMember(metrics), "metrics", whole: MemoryLayout<carl_classifier_metrics>.size)
    }
}

private func report(_ metrics: Classifier.Metrics, to out: UnsafeMutablePointer<carl_classifier_metrics>?) throws {
    guard let out else { return }
    let size = structSizeMember(out)
    let values = carl_classifier_metrics(
        struct_size: size, step: Int64(metrics.step), loss: metrics.loss, accuracy: metrics.accuracy,
        learning_rate: metrics.learningRate, head_learning_rate: metrics.headLearningRate,
        gradient_norm: metrics.gradientNorm,
        seconds: metrics.seconds, memory_bytes: Int64(metrics.memoryBytes))
    try write(values, to: out, size: size, "metrics")
}
