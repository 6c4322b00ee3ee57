/// Softmax cross-entropy of a linear layer on the embedding, here an encoder's features, against labels: the linear
/// probe and fine-tuning.
///
/// The linear layer is "classifier.weight" (classes, F) and "classifier.bias" (classes) of the state. In front of it
/// features can be standardised by fixed numbers: that makes its learning rate mean the same for every encoder.
struct ClassificationObjective: Objective {
    let classes: Int
    let labelSmoothing: Double
    let linear: Linear
    let standardization: FeatureStandardization

    init(_ layout: inout ParameterLayout, features: Int, classes: Int, labelSmoothing: Double) {
        layout.group = .objective
        self.classes = classes
        self.labelSmoothing = labelSmoothing
        linear = Linear(&layout, "classifier", features, classes)
        standardization = FeatureStandardization(&layout, features)
    }

    func width(_ output: ModelOutput) throws -> Int {
        guard output != .projection else {
            throw CARLError.invalidArgument(
                "output: a classifier has no projection, want features, probabilities or logits")
        }
        return classes
    }

    func evaluate(
        _ z: Activation, _ output: ModelOutput, _ memory: ModelMemory, into out: FloatPointer, _ compute: Compute
    ) throws {
        try standardization.apply(z, memory, compute)
        let logits = try linear.forward(z, memory, compute)
        defer { compute.workspace.give(logits) }
        out.update(from: logits.base, count: logits.count)
        if output == .probabilities { AssignmentRows.softmax(out, rows: z.rows, classes, compute) }
    }

    func training() throws -> any ObjectiveTraining { ClassificationTraining(self) }
}

/// The classification objective in a training run; it has no state of its own.
final class ClassificationTraining: ObjectiveTraining {
    private let objective: ClassificationObjective

    init(_ objective: ClassificationObjective) { self.objective = objective }

    /// One view, whose embedding is the features, with labels.
    func evaluate(_ batch: ObjectiveBatch, _ compute: Compute) throws -> ObjectiveResult {
        guard let labels = batch.labels, let features = batch.embeddings.first, let gradient = batch.gradients.first
        else {
            throw CARLError.state("classification needs labels and one view")
        }
        let workspace = compute.workspace
        let x = try workspace.takeActivation(batch.batch, 1, 1, batch.dimension)
        defer { workspace.give(x) }
        x.base.update(from: features, count: x.count)
        try objective.standardization.apply(x, batch.memory, compute)
        let logits = try objective.linear.forward(x, batch.memory, compute)
        defer { workspace.give(logits) }
        let entropy = try CrossEntropy.evaluate(
            logits.base, batch.batch, objective.classes, labels: labels, smoothing: objective.labelSmoothing,
            gradient: logits.base,
            compute)
        let below = try objective.linear.backward(x, logits, batch.memory, compute)
        defer { workspace.give(below) }
        try objective.standardization.backward(below, batch.memory, compute)
        gradient.update(from: below.base, count: below.count)
        var result = ObjectiveResult(loss: entropy.loss)
        result.terms["accuracy"] = Double(entropy.correct) / Double(batch.batch)
        return result
    }

    func stepTaken(_ step: Int, images: Int, _ result: inout ObjectiveResult) -> Collapse { .none }
    func warning(_ collapse: Collapse, _ result: ObjectiveResult) -> String? { nil }

    var tensors: [SavedTensor] { [] }
    var counters: [(name: String, value: Int)] { [] }
    func restore(_ counters: (_ name: String) -> Int?) {}
}
