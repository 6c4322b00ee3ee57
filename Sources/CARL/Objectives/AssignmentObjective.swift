/// Consistent assignment to prototypes, with a contrast between images beside it where that has a weight: the
/// objectives "carl", "carl-contrast" and "carp".
struct AssignmentObjective: Objective {
    /// What the configuration says of it.
    struct Settings: Sendable {
        /// Without what changes from step to step. Evaluation uses the temperature's last value.
        var options = AssignmentOptions()
        var temperature = Ramp(0.1)
        var targetTemperature: Ramp?
        var priorWeight = Ramp(1)
        var contrastWeight = Ramp(0)
        var contrastTemperature = 0.1
        /// Steps of the sliding window in which used prototypes are counted.
        var usedWindow = 100
        /// Targets get no gradient: they are detached, or a teacher's.
        var detached = true
        /// Of the random partitions.
        var seed: UInt64 = 0
    }

    let settings: Settings
    /// Offset of the prototypes, (K, D).
    let prototypes: Int
    let prototypeCount: Int
    let dimension: Int

    init(_ layout: inout ParameterLayout, prototypes count: Int, dimension: Int, _ settings: Settings) {
        layout.group = .objective
        self.settings = settings
        self.dimension = dimension
        prototypeCount = count
        prototypes = layout.add("prototypes.weight", [count, dimension], .embeddingRows)
    }

    var softmaxSize: Int {
        AssignmentOptions.softmaxSize(prototypeCount, partitionSize: settings.options.partitionSize)
    }

    func width(_ output: ModelOutput) throws -> Int { prototypeCount }

    func evaluate(
        _ z: Activation, _ output: ModelOutput, _ memory: ModelMemory, into out: FloatPointer, _ compute: Compute
    ) throws {
        var options = settings.options
        options.temperature = settings.temperature.end
        try ConsistentAssignment(options, compute).logits(
            z.base, z.rows, memory.parameters + prototypes, prototypeCount, dimension, into: out)
        if output == .probabilities { AssignmentRows.softmax(out, rows: z.rows, prototypeCount, compute) }
    }

    func training() throws -> any ObjectiveTraining { try AssignmentTraining(self) }
}

/// The assignment objective in a training run: which prototypes are used, and whether the run has collapsed.
final class AssignmentTraining: ObjectiveTraining {
    private let objective: AssignmentObjective
    private let usage: PrototypeUsage
    private var collapseSteps = 0
    /// A run that recovers half and collapses again is not warned of twice.
    private var hasWarned = false

    /// Steps that must look collapsed before the run is called so; one that does not takes back three.
    static let patience = 30

    init(_ objective: AssignmentObjective) throws {
        self.objective = objective
        usage = try PrototypeUsage(objective.prototypeCount)
    }

    func evaluate(_ batch: ObjectiveBatch, _ compute: Compute) throws -> ObjectiveResult {
        let settings = objective.settings
        var options = settings.options
        options.priorWeight = settings.priorWeight.value(step: batch.step)
        options.temperature = settings.temperature.value(step: batch.step)
        options.targetTemperature = settings.targetTemperature?.value(step: batch.step)
        options.targetViews = batch.globalViews
        let contrastWeight = settings.contrastWeight.value(step: batch.step)
        usage.clear()
        var inputs = ConsistentAssignment.Inputs(
            embeddings: batch.embeddings, batch: batch.batch, dimension: batch.dimension,
            prototypes: batch.memory.parameters + objective.prototypes, prototypeCount: objective.prototypeCount)
        inputs.targets = batch.targets
        inputs.targetPrototypes = batch.teacher.map { UnsafePointer($0.parameters + objective.prototypes) }
        inputs.embeddingGradients = batch.gradients
        inputs.prototypeGradient = batch.memory.gradients.map { $0 + objective.prototypes }
        inputs.votes = usage.votes
        if options.partitionSize > 0 {
            inputs.partition = try RandomPartition(
                count: objective.prototypeCount, blockSize: options.partitionSize, seed: settings.seed, step: batch.step
            )
        }
        let assignment = try ConsistentAssignment(options, compute).evaluate(inputs)
        var result = ObjectiveResult(loss: assignment.loss)
        var contrast = 0.0
        if contrastWeight > 0 {
            contrast = try InstanceContrast(temperature: settings.contrastTemperature, compute: compute).evaluate(
                batch.embeddings, batch: batch.batch, dimension: batch.dimension, weight: contrastWeight,
                gradients: batch.gradients)
            result.loss += contrastWeight * contrast
        }
        result.terms["consistency"] = assignment.consistency
        result.terms["prior"] = assignment.prior
        result.terms["prior_weight"] = options.priorWeight
        result.terms["contrast"] = contrast
        result.terms["contrast_weight"] = contrastWeight
        result.terms["temperature"] = options.temperature
        result.terms["log_prototypes"] = logarithm(Double(objective.softmaxSize))
        result.terms["effective_prototypes"] = assignment.effectivePrototypes
        result.terms["max_probability"] = assignment.maxProbability
        result.terms["agreement"] = assignment.agreement
        result.terms["embedding_std"] = assignment.embeddingStd
        return result
    }

    func stepTaken(_ step: Int, images: Int, _ result: inout ObjectiveResult) -> Collapse {
        let blocks = objective.settings.options.partitionSize > 0 ? objective.prototypeCount / objective.softmaxSize : 1
        result.terms["assigned_prototypes"] = usage.spread(blocks: blocks)
        let (used, dead) = usage.record(step: step, window: objective.settings.usedWindow)
        result.terms["used_prototypes"] = Double(used)
        result.terms["dead_prototypes"] = Double(dead)

        let collapse = Collapse.judge(
            result.terms, count: objective.softmaxSize, dimension: objective.dimension, images: images)
        // One kind may follow on another; a step or two without any do not end a collapse.
        collapseSteps = collapse == .none ? max(0, collapseSteps - 3) : collapseSteps + 1
        if collapseSteps == 0 { hasWarned = false }
        return collapseSteps >= Self.patience ? collapse : .none
    }

    func warning(_ collapse: Collapse, _ result: ObjectiveResult) -> String? {
        guard collapse != .none, !hasWarned else { return nil }
        hasWarned = true
        return collapse.advice(
            result.terms, count: objective.softmaxSize, dimension: objective.dimension, steps: collapseSteps,
            detached: objective.settings.detached)
    }

    // MARK: State

    var tensors: [SavedTensor] {
        let lastUsed = UnsafeMutableBufferPointer(start: usage.lastUsed.base, count: usage.lastUsed.count)
        return [
            SavedTensor(
                name: "diagnostics.last_used", shape: [lastUsed.count], type: .int64,
                bytes: UnsafeMutableRawBufferPointer(lastUsed))
        ]
    }

    var counters: [(name: String, value: Int)] {
        [
            ("collapse_steps", collapseSteps), ("collapse_warned", hasWarned ? 1 : 0),
        ]
    }

    func restore(_ counters: (_ name: String) -> Int?) {
        collapseSteps = counters("collapse_steps") ?? 0
        hasWarned = counters("collapse_warned").map { $0 != 0 } ?? (collapseSteps >= Self.patience)
    }
}
