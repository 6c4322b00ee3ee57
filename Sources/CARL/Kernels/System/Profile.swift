/// Where the time of steps goes: seconds, arithmetic and memory traffic, by layer and by what is done there.
///
/// A `Compute` with a profile measures; without one a measured piece of work costs a test for nil.
public final class Profile {
    /// What is done in a layer.
    public enum Work: String, CaseIterable, Sendable {
        /// The layer's result; the gradient of its weights; the gradient of its input.
        case forward, weightGradient = "weight gradient", dataGradient = "data gradient"
        /// Both in one pass.
        case gradients
        /// Normalising, with ReLU and residual addition; backward of the same.
        case normalise, normaliseBackward = "normalise backward"
        /// Gradients of a layer without weights, such as attention or pooling; the optimizer's step.
        case backward, update
        /// The objective, from embeddings to their gradients.
        case lossAndGradients = "loss and gradients"
    }

    /// Sums over all calls since the profile began.
    public struct Row: Sendable {
        /// Such as "encoder.layer1.0.conv1", "blocks.0.attn" or "optimizer".
        public let layer: String
        /// What was done there.
        public let work: Work
        /// How it was computed, such as "winograd"; empty where there is one way only.
        public let method: String
        /// Times that it was done.
        public var calls = 0
        /// Wall-clock time of all calls.
        public var seconds = 0.0
        /// Floating-point operations of the direct method: a faster method shows as more operations per second.
        public var operations = 0.0
        /// Bytes of the operands and results, each counted once a call: the least that has to be moved.
        public var bytes = 0.0
    }

    private struct Key: Hashable {
        let layer: String
        let work: Work
    }

    private var places: [Key: Int] = [:]
    /// In the order in which the work first appeared.
    public private(set) var rows: [Row] = []

    /// Without rows; measures once it is a `Compute`'s `profile`.
    public init() {}

    fileprivate func add(
        _ layer: String, _ work: Work, _ method: String, seconds: Double, operations: Double, values: Int
    ) {
        let key = Key(layer: layer, work: work)
        let place = places[key] ?? rows.count
        if place == rows.count {
            places[key] = place
            rows.append(Row(layer: layer, work: work, method: method))
        }
        rows[place].calls += 1
        rows[place].seconds += seconds
        rows[place].operations += operations
        rows[place].bytes += Double(values) * Double(MemoryLayout<Float>.stride)
    }
}

extension Compute {
    /// Runs `body`, and adds its time to the profile if there is one.
    ///
    /// - Parameters:
    ///   - operations: floating-point operations of the direct method.
    ///   - values: float32 values read and written, each once.
    @inline(__always)
    func measured<Result>(
        _ layer: String, _ work: Profile.Work, method: @autoclosure () -> String = "",
        operations: @autoclosure () -> Double = 0, values: @autoclosure () -> Int = 0, _ body: () throws -> Result
    ) rethrows -> Result {
        guard let profile else { return try body() }
        let start = monotonicSeconds()
        let result = try body()
        profile.add(
            layer, work, method(), seconds: monotonicSeconds() - start, operations: operations(), values: values())
        return result
    }
}
