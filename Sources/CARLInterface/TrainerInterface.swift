import CARL
import CARLHeader

/// A trainer behind a handle, with the names it lends to C.
final class TrainerObject {
    let trainer: Trainer
    let tensors: TensorList

    init(_ trainer: Trainer) {
        self.trainer = trainer
        tensors = TensorList(trainer.tensors)
        trainer.warn = { log(carl_log_level(CARL_LOG_WARNING), $0) }
    }
}

private func withTrainer(_ handle: OpaquePointer?, _ body: (TrainerObject) throws -> Void) -> carl_status {
    guarded { try Handles.use(handle, as: TrainerObject.self, "trainer", body) }
}

@c @implementation
public func carl_trainer_create(_ config_json: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?) -> carl_status {
    guarded {
        let out = try required(out, "out")
        out.pointee = nil
        let trainer = try Trainer(Configuration(json: try text(config_json, "config_json")))
        out.pointee = Handles.add(TrainerObject(trainer))
    }
}

@c @implementation
public func carl_trainer_free(_ trainer: OpaquePointer?) -> carl_status {
    guarded { try Handles.remove(trainer, as: TrainerObject.self, "trainer") }
}

@c @implementation
public func carl_trainer_step(
    _ trainer: OpaquePointer?, _ images: UnsafePointer<carl_image>?, _ count: Int, _ indices: UnsafePointer<UInt64>?,
    _ epoch: UInt64, _ metrics: UnsafeMutablePointer<carl_metrics>?
) -> carl_status {
    withTrainer(trainer) { object in
        try checkSize(metrics)
        if indices != nil && epoch >= 1 << 24 {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "epoch: got \(epoch), want 0 to \((1 << 24) - 1)")
        }
        try checkImages(images, count)
        try object.trainer.checkBatch(count)
        let result = try SourceImage.collect(count) { try sourceImage(images, $0) } _: {
            try object.trainer.step($0, indices: indices, epoch: epoch)
        }
        try report(result, to: metrics)
    }
}

@c @implementation
public func carl_trainer_step_views(
    _ trainer: OpaquePointer?, _ views: UnsafePointer<carl_batch>?, _ count: Int, _ metrics: UnsafeMutablePointer<carl_metrics>?
) -> carl_status {
    withTrainer(trainer) { object in
        try checkSize(metrics)
        let count = try size(count, "count", 0...256)
        let views = try (0..<count).map { try floatImages(try required(views, "views")[$0], "views[\($0)].values") }
        try report(try object.trainer.step(views: views), to: metrics)
    }
}

@c @implementation
public func carl_trainer_output_width(_ trainer: OpaquePointer?, _ output: carl_output, _ width: UnsafeMutablePointer<Int64>?)
    -> carl_status
{
    withTrainer(trainer) { object in
        try required(width, "width").pointee = Int64(object.trainer.evaluator.width(try outputKind(output)))
    }
}

@c @implementation
public func carl_trainer_embed(
    _ trainer: OpaquePointer?, _ images: UnsafePointer<carl_batch>?, _ output: carl_output, _ out: UnsafeMutablePointer<Float>?,
    _ out_count: Int
) -> carl_status {
    withTrainer(trainer) { try embed($0.trainer.evaluator, images, output, out, out_count) }
}

@c @implementation
public func carl_trainer_embed_images(
    _ trainer: OpaquePointer?, _ images: UnsafePointer<carl_image>?, _ count: Int, _ size: Int32, _ output: carl_output,
    _ out: UnsafeMutablePointer<Float>?, _ out_count: Int
) -> carl_status {
    withTrainer(trainer) { try embed($0.trainer.evaluator, images, count, size, output, out, out_count) }
}

@c @implementation
public func carl_trainer_save(_ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ notes_json: UnsafePointer<CChar>?)
    -> carl_status
{
    withTrainer(trainer) { object in
        let notes = try optionalJSON(notes_json, "notes_json")
        if let notes, notes.object == nil {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "notes_json must be a JSON object, got \(notes.kind)")
        }
        try object.trainer.save(to: try text(path, "path"), notes: notes)
    }
}

@c @implementation
public func carl_trainer_resume(
    _ path: UnsafePointer<CChar>?, _ overrides_json: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> carl_status {
    guarded {
        let out = try required(out, "out")
        out.pointee = nil
        let trainer = try Trainer.resume(
            from: try text(path, "path"), overrides: try optionalJSON(overrides_json, "overrides_json"))
        out.pointee = Handles.add(TrainerObject(trainer))
    }
}

@c @implementation
public func carl_trainer_notes(
    _ trainer: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    withTrainer(trainer) { try copy($0.trainer.notes.serialized(), buffer, capacity, needed) }
}

@c @implementation
public func carl_trainer_config(
    _ trainer: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    withTrainer(trainer) { try copy($0.trainer.configuration.json.serialized(), buffer, capacity, needed) }
}

@c @implementation
public func carl_trainer_set_profiling(_ trainer: OpaquePointer?, _ enabled: Int32) -> carl_status {
    withTrainer(trainer) { object in
        guard enabled == 0 || enabled == 1 else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "enabled: got \(enabled), want 0 or 1")
        }
        object.trainer.compute.profile = enabled == 1 ? Profile() : nil
    }
}

@c @implementation
public func carl_trainer_profile(
    _ trainer: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    withTrainer(trainer) { object in
        guard let profile = object.trainer.compute.profile else {
            throw CARLError.state("there is no profile: call carl_trainer_set_profiling first")
        }
        try copy(profile.json.serialized(), buffer, capacity, needed)
    }
}

@c @implementation
public func carl_trainer_state_size(_ trainer: OpaquePointer?, _ count: UnsafeMutablePointer<Int64>?) -> carl_status {
    withTrainer(trainer) { try required(count, "count").pointee = Int64($0.tensors.count) }
}

@c @implementation
public func carl_trainer_state_info(_ trainer: OpaquePointer?, _ index: Int64, _ out: UnsafeMutablePointer<carl_tensor_info>?)
    -> carl_status
{
    withTrainer(trainer) { try $0.tensors.describe(index, into: try required(out, "out")) }
}

@c @implementation
public func carl_trainer_state_get(
    _ trainer: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Float>?, _ count: Int
) -> carl_status {
    withTrainer(trainer) {
        try $0.trainer.readTensor(try text(name, "name"), into: try required(out, "out"), count: count)
    }
}

@c @implementation
public func carl_trainer_state_set(
    _ trainer: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ values: UnsafePointer<Float>?, _ count: Int
) -> carl_status {
    withTrainer(trainer) {
        try $0.trainer.writeTensor(try text(name, "name"), from: try required(values, "values"), count: count)
    }
}

@c @implementation
public func carl_trainer_gradient_get(
    _ trainer: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Float>?, _ count: Int
) -> carl_status {
    withTrainer(trainer) {
        try $0.trainer.readGradient(try text(name, "name"), into: try required(out, "out"), count: count)
    }
}

// MARK: Metrics

private func checkSize(_ metrics: UnsafeMutablePointer<carl_metrics>?) throws {
    if let metrics { _ = try structSize(structSizeMember(metrics), "metrics", whole: MemoryLayout<carl_metrics>.size) }
}

private func report(_ metrics: Metrics, to out: UnsafeMutablePointer<carl_metrics>?) throws {
    guard let out else { return }
    let size = structSizeMember(out)
    let values = carl_metrics(
        struct_size: size, step: Int64(metrics.step), loss: metrics.result.loss,
        consistency: metrics.result.consistency, prior: metrics.result.prior, prior_weight: metrics.priorWeight,
        temperature: metrics.temperature, learning_rate: metrics.learningRate, teacher_momentum: metrics.teacherMomentum,
        log_prototypes: metrics.logPrototypes, effective_prototypes: metrics.result.effectivePrototypes,
        used_prototypes: Double(metrics.usedPrototypes), dead_prototypes: Double(metrics.deadPrototypes),
        max_probability: metrics.result.maxProbability,
        embedding_std: metrics.result.embeddingStd, agreement: metrics.result.agreement, gradient_norm: metrics.gradientNorm,
        views_per_second: metrics.viewsPerSecond, seconds: metrics.seconds, view_seconds: metrics.viewSeconds,
        memory_bytes: Int64(metrics.memoryBytes), collapsed: metrics.collapse.rawValue, updated: metrics.updated ? 1 : 0,
        contrast: metrics.result.contrast, contrast_weight: metrics.contrastWeight, assigned_prototypes: metrics.assignedPrototypes)
    try write(values, to: out, size: size, "metrics")
}
