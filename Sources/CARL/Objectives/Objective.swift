/// What training minimises: from the embeddings of all views, and those of a teacher, to a loss and its gradients. Its
/// parameters, such as prototypes, lie in the model's `ParameterLayout`, which it extends when it is made. This part
/// does not change while training; what does is an `ObjectiveTraining`.
protocol Objective: Sendable {
    /// Whether batches are to bring the views' feature maps (`ObjectiveBatch.maps`).
    var usesMaps: Bool { get }

    /// Values per image of an output at inference.
    ///
    /// - Throws: `CARLError.invalidArgument` for an output that the objective does not have.
    func width(_ output: ModelOutput) throws -> Int

    /// Writes an output of embeddings (rows, D) to `out` (rows, width(output)), in evaluation mode. z may be
    /// overwritten.
    func evaluate(
        _ z: Activation, _ output: ModelOutput, _ memory: ModelMemory, into out: FloatPointer, _ compute: Compute
    ) throws

    /// A training run's own part, at its beginning.
    func training() throws -> any ObjectiveTraining
}

extension Objective {
    var usesMaps: Bool { false }
}

/// An objective in a training run, with the state it has besides parameters.
protocol ObjectiveTraining: AnyObject {
    /// Loss, terms and gradients of a batch. The state must not change: the step may still be found wanting.
    func evaluate(_ batch: ObjectiveBatch, _ compute: Compute) throws -> ObjectiveResult

    /// The step that `evaluate` was called for is taken: moves the state, adds what it shows to the terms, and says
    /// what is wrong with the run.
    ///
    /// - Parameter step: counted from 1.
    func stepTaken(_ step: Int, images: Int, _ result: inout ObjectiveResult) -> Collapse

    /// The sentence that warns of a collapse, when it should be said: once, when the collapse has lasted.
    func warning(_ collapse: Collapse, _ result: ObjectiveResult) -> String?

    /// State that a checkpoint holds: tensors besides parameters, and whole numbers.
    var tensors: [SavedTensor] { get }
    var counters: [(name: String, value: Int)] { get }
    /// Takes counters back from a checkpoint; those it does not know are nobody's.
    func restore(_ counters: (_ name: String) -> Int?)
}

/// A tensor of state besides parameters and moments: named bytes that are saved and read as they are.
struct SavedTensor {
    let name: String
    let shape: [Int]
    let type: Safetensors.ElementType
    let bytes: UnsafeMutableRawBufferPointer
}

/// One batch, as an objective sees it.
struct ObjectiveBatch {
    /// Counted from 0.
    var step: Int
    /// B, images of each view, and D, width of an embedding.
    var batch: Int
    var dimension: Int
    /// V pointers to (B, D).
    var embeddings: [UnsafePointer<Float>]
    /// V pointers to (B, D), to be overwritten.
    var gradients: [FloatPointer]
    /// Views at the front that are as large as the first: those that may be targets.
    var globalViews: Int
    /// A teacher's embeddings of the global views, (B, D) each, and its parameters; empty and nil without one.
    var targets: [UnsafePointer<Float>] = []
    var teacher: ModelMemory?
    /// The objective's parameters; gradients are added to.
    var memory: ModelMemory
    /// Where each view was cut out of its image, (V, B); nil for views that the caller made.
    var crops: UnsafePointer<CropBox>?
    /// The views' feature maps before pooling, for an objective that `usesMaps`.
    var maps: [FeatureMap] = []
    /// A class for each image, in training with labels.
    var labels: UnsafePointer<Int32>?
}

/// The feature map of a view.
struct FeatureMap {
    let height: Int
    let width: Int
    /// F.
    let channels: Int
    /// (B, h, w, F).
    let values: UnsafePointer<Float>
    /// Likewise; 0 at first, to be added to.
    let gradient: FloatPointer
}

/// What an objective comes to: the loss, and named numbers beside it.
public struct ObjectiveResult: Equatable, Sendable {
    /// What is minimised, in nats.
    public var loss = 0.0
    /// Terms of the loss, their weights, diagnostics.
    public var terms = Terms()
}

/// Named numbers in their order.
public struct Terms: Equatable, Sendable {
    /// In the order in which they were first set.
    public private(set) var names: [String] = []
    private var values: [Double] = []

    /// Without terms.
    public init() {}

    /// nil for a name that is not there; setting nil changes nothing.
    public subscript(name: String) -> Double? {
        get { names.firstIndex(of: name).map { values[$0] } }
        set {
            guard let newValue else { return }
            if let place = names.firstIndex(of: name) {
                values[place] = newValue
            } else {
                names.append(name)
                values.append(newValue)
            }
        }
    }

    /// An object with the terms in their order; null for one that is not finite.
    public var json: JSONValue {
        .object(JSONObject(zip(names, values).map { ($0, $1.isFinite ? .number($1) : .null) }))
    }
}

/// What a model can give for an image.
public enum ModelOutput: Int32, Sendable {
    /// Encoder features, F values.
    case features = 0
    /// The projection head's output, D values.
    case projection = 1
    /// Softmax over all prototypes or classes.
    case probabilities = 2
    /// Scores of all prototypes (similarities divided by the temperature) or classes.
    case logits = 3
}

extension Terms: CustomStringConvertible {
    public var description: String { zip(names, values).map { "\($0) \($1)" }.joined(separator: ", ") }
}
