extension Trainer {
    /// One step of the head and the objective on features that a frozen encoder gave the views, such as `embed` does:
    /// what a step on the views would be, without the encoder. Of a teacher, the encoder is taken to be the same.
    ///
    /// - Parameters:
    ///   - features: (views, batch, F).
    ///   - globalViews: how many of the first are global ones (see `step(views:)`); 0 for all.
    public func step(features: UnsafePointer<Float>, views: Int, batch: Int, globalViews: Int = 0) throws -> Metrics {
        try compute.call(whole: true) {
            let start = monotonicSeconds()
            guard configuration.trainEncoder == .none else {
                throw CARLError.state("features: a step on features needs \"train_encoder\": \"none\"")
            }
            guard !model.objective.usesMaps else {
                throw CARLError.state("features: the objective needs the views' feature maps")
            }
            try Self.check(views: views, batch: batch)
            guard (0...views).contains(globalViews) else {
                throw CARLError.invalidArgument("global_views: got \(globalViews), want 0 to \(views)")
            }
            let width = model.encoder.features
            let size = try CheckedSize.product(batch, width, of: "features (images, width)")
            for view in 0..<views where !FiniteValues.all(features + view * size, size) {
                throw CARLError.invalidArgument("features: view \(view) has a value that is NaN or infinite")
            }
            let memory = try ViewRuns(
                Array(repeating: (1, 1), count: views), globalViews: globalViews, batch: batch, channels: width,
                compute.workspace)
            defer { memory.release(compute.workspace) }
            for (view, copy) in memory.views.enumerated() { copy.update(from: features + view * size, count: size) }
            return try takeStep(memory, through: CachedFeatures(features: width), crops: nil, start: start)
        }
    }
}
