/// What a step reports.
public struct Metrics: Equatable, Sendable {
    /// Steps taken, this one included.
    public var step = 0
    /// What was minimised, before the update, in nats.
    public var loss = 0.0
    /// The objective's own numbers by name: terms of the loss and their weights, and diagnostics (see the objective).
    public var terms = Terms()
    /// Of this step, before `layerDecay`.
    public var learningRate = 0.0
    /// EMA decay of this update; 0 without a teacher, and while gradients accumulate.
    public var teacherMomentum = 0.0
    /// l2 norm of the gradient over all parameters, before clipping and weight decay.
    public var gradientNorm = 0.0
    /// Wall-clock time of the whole call, making views included.
    public var seconds = 0.0
    /// Of these, spent making views.
    public var viewSeconds = 0.0
    /// Views of the step, V B, by `seconds`.
    public var viewsPerSecond = 0.0
    /// Bytes of activations, gradients of activations and scratch held by the trainer.
    public var memoryBytes = 0
    /// `.none` until the run has looked collapsed for some 30 steps.
    public var collapse = Collapse.none
    /// Whether the optimizer changed the parameters: false while gradients accumulate.
    public var updated = false

    /// All 0, `.none` and false.
    public init() {}

    /// A term by name; nil if the objective has none of this name.
    public subscript(term: String) -> Double? { terms[term] }
}
