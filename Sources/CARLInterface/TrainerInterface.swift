import CARL
import CARLHeader

private func object(_ trainer: Trainer) -> TrainableObject<Trainer> {
    trainer.warn = { log(carl_log_level(CARL_LOG_WARNING), $0) }
    return TrainableObject(trainer)
}

private func withTrainer(_ handle: OpaquePointer?, _ body: (TrainableObject<Trainer>) throws -> Void) -> carl_status {
    guarded { try Handles.use(handle, as: TrainableObject<Trainer>.self, "trainer", body) }
}

@c @implementation
public func carl_trainer_create(_ config_json: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<OpaquePointer?>?)
    -> carl_status
{
    guarded {
        let out = try required(out, "out")
        out.pointee = nil
        let trainer = try Trainer(Configuration(json: try text(config_json, "config_json")))
        out.pointee = Handles.add(object(trainer))
    }
}

@c @implementation
public func carl_trainer_free(_ trainer: OpaquePointer?) -> carl_status {
    guarded(always: true) { try Handles.remove(trainer, as: TrainableObject<Trainer>.self, "trainer") }
}

@c @implementation
public func carl_trainer_step(
    _ trainer: OpaquePointer?, _ images: UnsafePointer<carl_image>?, _ count: Int, _ indices: UnsafePointer<UInt64>?,
    _ epoch: UInt64, _ metrics: UnsafeMutablePointer<carl_metrics>?
) -> carl_status {
    withTrainer(trainer) { object in
        try checkSize(metrics)
        try checkImages(images, count)
        try object.value.checkBatch(count)
        let result = try SourceImage.collect(count) {
            try sourceImage(images, $0)
        } _: {
            try object.value.step($0, indices: indices, epoch: epoch)
        }
        try report(result, to: metrics)
    }
}

@c @implementation
public func carl_trainer_step_views(
    _ trainer: OpaquePointer?, _ views: UnsafePointer<carl_batch>?, _ count: Int,
    _ metrics: UnsafeMutablePointer<carl_metrics>?
) -> carl_status {
    withTrainer(trainer) { object in
        try checkSize(metrics)
        let count = try size(count, "count", 0...256)
        let views = try (0..<count).map { try floatImages(try required(views, "views")[$0], "views[\($0)].values") }
        try report(try object.value.step(views: views), to: metrics)
    }
}

@c @implementation
public func carl_trainer_step_features(
    _ trainer: OpaquePointer?, _ features: UnsafePointer<Float>?, _ views: Int, _ batch: Int, _ global_views: Int,
    _ count: Int, _ metrics: UnsafeMutablePointer<carl_metrics>?
) -> carl_status {
    withTrainer(trainer) { object in
        try checkSize(metrics)
        let trainer = object.value
        let views = try size(views, "views", 0...256)
        let batch = try size(batch, "batch", 0...(1 << 31))
        let global = try size(global_views, "global_views", 0...256)
        let width = try trainer.evaluator.width(.features)
        guard count == views * batch * width else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT,
                "count: got \(shown(count)), want views * batch * features = \(views) * \(batch) * \(width) floats")
        }
        let features = try required(features, "features")
        try report(
            try trainer.step(features: features, views: views, batch: batch, globalViews: global), to: metrics)
    }
}

@c @implementation
public func carl_trainer_output_width(
    _ trainer: OpaquePointer?, _ output: carl_output, _ width: UnsafeMutablePointer<Int64>?
)
    -> carl_status
{
    withTrainer(trainer) { object in
        try required(width, "width").pointee = Int64(try object.value.evaluator.width(try outputKind(output)))
    }
}

@c @implementation
public func carl_trainer_embed(
    _ trainer: OpaquePointer?, _ images: UnsafePointer<carl_batch>?, _ output: carl_output,
    _ out: UnsafeMutablePointer<Float>?,
    _ out_count: Int
) -> carl_status {
    withTrainer(trainer) { try embed($0.value.evaluator, images, output, out, out_count) }
}

@c @implementation
public func carl_trainer_embed_images(
    _ trainer: OpaquePointer?, _ images: UnsafePointer<carl_image>?, _ count: Int, _ size: Int32, _ output: carl_output,
    _ out: UnsafeMutablePointer<Float>?, _ out_count: Int
) -> carl_status {
    withTrainer(trainer) { try embed($0.value.evaluator, images, count, size, output, out, out_count) }
}

@c @implementation
public func carl_trainer_save(
    _ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ notes_json: UnsafePointer<CChar>?
)
    -> carl_status
{
    withTrainer(trainer) { try $0.save(path, notes_json) }
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
        out.pointee = Handles.add(object(trainer))
    }
}

@c @implementation
public func carl_trainer_notes(
    _ trainer: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int,
    _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    withTrainer(trainer) { try copy($0.value.notes.serialized(), buffer, capacity, needed) }
}

@c @implementation
public func carl_trainer_config(
    _ trainer: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int,
    _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    withTrainer(trainer) { try copy($0.value.configuration.json.serialized(), buffer, capacity, needed) }
}

@c @implementation
public func carl_trainer_terms(
    _ trainer: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int,
    _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    withTrainer(trainer) { try copy($0.value.lastTerms.json.serialized(), buffer, capacity, needed) }
}

@c @implementation
public func carl_trainer_set_profiling(_ trainer: OpaquePointer?, _ enabled: Int32) -> carl_status {
    withTrainer(trainer) { object in
        guard enabled == 0 || enabled == 1 else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "enabled: got \(enabled), want 0 or 1")
        }
        object.value.compute.profile = enabled == 1 ? Profile() : nil
    }
}

@c @implementation
public func carl_trainer_profile(
    _ trainer: OpaquePointer?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int,
    _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    withTrainer(trainer) { object in
        guard let profile = object.value.compute.profile else {
            throw CARLError.state(
                "there is no profile: call carl_trainer_set_profiling (start_profile in Python) first")
        }
        try copy(profile.json.serialized(), buffer, capacity, needed)
    }
}

@c @implementation
public func carl_trainer_state_size(_ trainer: OpaquePointer?, _ count: UnsafeMutablePointer<Int64>?) -> carl_status {
    withTrainer(trainer) { try required(count, "count").pointee = Int64($0.tensors.count) }
}

@c @implementation
public func carl_trainer_state_info(
    _ trainer: OpaquePointer?, _ index: Int64, _ out: UnsafeMutablePointer<carl_tensor_info>?
)
    -> carl_status
{
    withTrainer(trainer) { try $0.describe(index, out) }
}

@c @implementation
public func carl_trainer_state_get(
    _ trainer: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Float>?, _ count: Int
) -> carl_status {
    withTrainer(trainer) { try $0.read(name, out, count) }
}

@c @implementation
public func carl_trainer_state_set(
    _ trainer: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ values: UnsafePointer<Float>?, _ count: Int
) -> carl_status {
    withTrainer(trainer) { try $0.write(name, values, count) }
}

@c @implementation
public func carl_trainer_gradient_get(
    _ trainer: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Float>?, _ count: Int
) -> carl_status {
    withTrainer(trainer) { try $0.readGradient(name, out, count) }
}

// MARK: Metrics

private func checkSize(_ metrics: UnsafeMutablePointer<carl_metrics>?) throws {
    if let metrics { _ = try structSize(structSizeMember(metrics), "metrics", whole: MemoryLayout<carl_metrics>.size) }
}

private func report(_ metrics: Metrics, to out: UnsafeMutablePointer<carl_metrics>?) throws {
    guard let out else { return }
    let size = structSizeMember(out)
    func term(_ name: String) -> Double { metrics[name] ?? 0 }
    let values = carl_metrics(
        struct_size: size, step: Int64(metrics.step), loss: metrics.loss, consistency: term("consistency"),
        prior: term("prior"),
        prior_weight: term("prior_weight"), temperature: term("temperature"), learning_rate: metrics.learningRate,
        teacher_momentum: metrics.teacherMomentum, log_prototypes: term("log_prototypes"),
        effective_prototypes: term("effective_prototypes"), used_prototypes: term("used_prototypes"),
        dead_prototypes: term("dead_prototypes"), max_probability: term("max_probability"),
        embedding_std: term("embedding_std"),
        agreement: term("agreement"), gradient_norm: metrics.gradientNorm, views_per_second: metrics.viewsPerSecond,
        seconds: metrics.seconds, view_seconds: metrics.viewSeconds, memory_bytes: Int64(metrics.memoryBytes),
        collapsed: metrics.collapse.rawValue, updated: metrics.updated ? 1 : 0, contrast: term("contrast"),
        contrast_weight: term("contrast_weight"), assigned_prototypes: term("assigned_prototypes"))
    try write(values, to: out, size: size, "metrics")
}
