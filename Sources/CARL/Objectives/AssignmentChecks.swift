// Checks of what a caller gives the objective: what memory the pointers lead to only the caller knows.

extension ConsistentAssignment.Inputs {
    /// Views, and targets, that a step may have.
    static let mostViews = 256
    private static let mostValues = 1 << 40

    /// - Throws: `CARLError.invalidArgument` that names the argument, what it got and what it wanted.
    func check(_ options: AssignmentOptions) throws {
        func refuse(_ name: String, _ got: Any, _ want: String) -> CARLError {
            .invalidArgument("\(name): got \(got), want \(want)")
        }
        func check(_ name: String, _ value: Int, _ range: ClosedRange<Int>) throws {
            guard range.contains(value) else { throw refuse(name, value, "\(range.lowerBound) to \(range.upperBound)") }
        }
        try check("embeddings.count", embeddings.count, 1...Self.mostViews)
        try check("targets.count", targets.count, 0...Self.mostViews)
        try check("batch", batch, 1...Int(Int32.max) / (embeddings.count + targets.count))
        try check("dimension", dimension, 1...(1 << 24))
        try check("prototypeCount", prototypeCount, 1...Int(Int32.max))
        try check("batch", batch, 1...max(1, Self.mostValues / (dimension * embeddings.count)))
        try check("prototypeCount", prototypeCount, 1...max(1, Self.mostValues / dimension))
        guard embeddingGradients.isEmpty || embeddingGradients.count == embeddings.count else {
            throw refuse(
                "embeddingGradients.count", embeddingGradients.count, "0 or one for each of \(embeddings.count) views")
        }
        for (name, value) in [
            ("temperature", options.temperature),
            ("targetTemperature", options.targetTemperature ?? options.temperature),
        ] where !(value > 0 && value.isFinite) {
            throw refuse("options.\(name)", value, "a finite number above 0")
        }
        guard options.priorWeight >= 0, options.priorWeight.isFinite else {
            throw refuse("options.priorWeight", options.priorWeight, "a finite number, 0 or above")
        }
        guard partition.map({ $0.order.count == prototypeCount }) ?? true else {
            throw refuse("partition", "one of \(partition?.order.count ?? 0) prototypes", "one of \(prototypeCount)")
        }
        guard options.partitionSize == 0 || options.partitionSize == partition?.blockSize else {
            throw refuse(
                "partition", partition.map { "blocks of \($0.blockSize)" } ?? "nil",
                "blocks of options.partitionSize = \(options.partitionSize) prototypes")
        }
    }
}
