extension Trainer {
    /// Loss and gradients of one batch; gradients are added to those of the state.
    ///
    /// The objective needs the embeddings of all views before any gradient is known. Activations of all runs of views
    /// are kept until then; or, with `recompute`, let go and computed again view by view, so that no more than one
    /// view's exist at a time.
    ///
    /// - Parameter encoder: what the views pass through.
    func passForwardAndBack(_ views: ViewRuns, through encoder: any Encoder, _ crops: UnsafePointer<CropBox>?) throws
        -> ObjectiveResult
    {
        let workspace = compute.workspace
        var student = training.memory
        student.draws = PassDraws(seed: configuration.seed, step: counters.step)
        let d = model.head.outputs

        // The teacher first: it keeps nothing but its embeddings.
        let globalViews = views.runs[0].groups
        let targets = training.teacher == nil ? nil : try workspace.take(globalViews * views.batch * d)
        defer { if let targets { workspace.give(targets) } }
        if let targets, let teacher = training.teacher {
            if configuration.recompute {
                try embedSingly(views, 0..<globalViews, encoder, teacher, into: targets.base)
            } else {
                try embedWithoutTape(views.runs[0], encoder, teacher, into: targets.base)
            }
        }

        // Embeddings and their gradients of all views, one after the other.
        let count = views.views.count * views.batch * d
        let embeddings = try workspace.take(count)
        let embeddingGradients = try workspace.take(count)
        defer {
            workspace.give(embeddings)
            workspace.give(embeddingGradients)
        }
        var tapes: [Tape] = []
        if configuration.recompute {
            try embedSingly(views, views.views.indices, encoder, student, into: embeddings.base)
        } else {
            var first = 0
            for run in views.runs {
                student.draws?.first = first * views.batch
                tapes.append(try embed(run, encoder, student, into: embeddings.base + first * views.batch * d))
                first += run.groups
            }
        }

        func perView(_ z: FloatBuffer, _ count: Int) -> [FloatPointer] {
            (0..<count).map { z.base + $0 * views.batch * d }
        }
        var batch = ObjectiveBatch(
            step: counters.step, batch: views.batch, dimension: d,
            embeddings: perView(embeddings, views.views.count).map { UnsafePointer($0) },
            gradients: perView(embeddingGradients, views.views.count), globalViews: globalViews, memory: student)
        batch.targets = targets.map { perView($0, globalViews).map { UnsafePointer($0) } } ?? []
        batch.teacher = training.teacher
        batch.crops = crops
        let mapGradients = try takeMapGradients(tapes, views, &batch)
        let result = try compute.measured("assignment", .lossAndGradients) { try objective.evaluate(batch, compute) }

        if configuration.recompute {
            try propagateAgain(views, encoder, embeddingGradients, student)
        } else {
            // Last run first: its memory is the first to be free.
            var first = views.views.count
            for (i, (run, tape)) in zip(views.runs, tapes).enumerated().reversed() {
                first -= run.groups
                try propagate(
                    embeddingGradients.base + first * views.batch * d, mapGradients.isEmpty ? nil : mapGradients[i],
                    run,
                    tape, student)
            }
        }
        return result
    }

    /// Memory for the gradients of the feature maps of each run, 0, with the maps told to the objective; none unless it
    /// uses them.
    private func takeMapGradients(
        _ tapes: [Tape], _ views: ViewRuns, _ batch: inout ObjectiveBatch
    ) throws -> [Activation] {
        guard model.objective.usesMaps else { return [] }
        return try zip(views.runs, tapes).map { run, tape in
            let map = tape.encoder.map
            let gradient = try compute.workspace.takeActivation(like: map)
            gradient.base.update(repeating: 0, count: gradient.count)
            let size = map.count / run.groups
            for view in 0..<run.groups {
                batch.maps.append(
                    FeatureMap(
                        height: map.height, width: map.width, channels: map.channels,
                        values: UnsafePointer(map.base + view * size), gradient: gradient.base + view * size))
            }
            return gradient
        }
    }

    /// Forward once more and backward, view by view. The second forward pass must not move the running statistics
    /// again.
    private func propagateAgain(
        _ views: ViewRuns, _ encoder: any Encoder, _ gradients: FloatBuffer, _ memory: ModelMemory
    ) throws {
        let size = views.batch * model.head.outputs
        let moved = try compute.workspace.take(training.statistics.count)
        let z = try compute.workspace.take(size)
        defer {
            compute.workspace.give(moved)
            compute.workspace.give(z)
        }
        moved.copy(from: training.statistics)
        for view in views.views.indices {
            try withSingleView(views, view) {
                var memory = memory
                memory.draws?.first = view * views.batch
                let tape = try embed($0, encoder, memory, into: z.base)
                try propagate(gradients.base + view * size, nil, $0, tape, memory)
            }
        }
        training.statistics.copy(from: moved)
    }

    /// One view by itself, in memory of its own.
    private func withSingleView(_ views: ViewRuns, _ view: Int, _ body: (Activation) throws -> Void) throws {
        let run = views.run(of: view)
        let single = try compute.workspace.takeActivation(views.batch, run.height, run.width, run.channels)
        defer { compute.workspace.give(single) }
        single.base.update(from: views.views[view], count: single.count)
        try body(single)
    }

    /// What backward needs of a run of views.
    private struct Tape {
        let head: ProjectionHead.Tape
        let encoder: EncoderPass
    }

    private func embed(
        _ run: Activation, _ encoder: any Encoder, _ memory: ModelMemory, into out: FloatPointer
    ) throws -> Tape {
        let pass = try encoder.forward(run, memory, compute)
        let (z, head) = try model.head.forward(pass.features, memory, compute)
        out.update(from: z.base, count: z.count)
        compute.workspace.give(z)
        return Tape(head: head, encoder: pass)
    }

    /// Embeddings of the first views, one view at a time.
    private func embedSingly(
        _ views: ViewRuns, _ chosen: Range<Int>, _ encoder: any Encoder, _ memory: ModelMemory, into out: FloatPointer
    ) throws {
        for view in chosen {
            try withSingleView(views, view) {
                try embedWithoutTape($0, encoder, memory, into: out + view * views.batch * model.head.outputs)
            }
        }
    }

    private func embedWithoutTape(
        _ run: Activation, _ encoder: any Encoder, _ memory: ModelMemory, into out: FloatPointer
    ) throws {
        let features = try encoder.forwardWithoutTape(run, memory, compute)
        let (z, tape) = try model.head.forward(features, memory, compute)
        tape.release(compute.workspace)
        out.update(from: z.base, count: z.count)
        compute.workspace.give(z)
    }

    private func propagate(
        _ gradient: FloatPointer, _ mapGradient: Activation?, _ run: Activation, _ tape: Tape, _ memory: ModelMemory
    ) throws {
        let dz = try compute.workspace.takeActivation(run.batch, 1, 1, model.head.outputs, groups: run.groups)
        dz.base.update(from: gradient, count: dz.count)
        let below = try model.head.backward(dz, tape.head, memory, compute)
        try tape.encoder.backward(below, mapGradient)
    }
}
