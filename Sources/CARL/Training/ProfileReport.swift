extension Profile {
    /// The rows as JSON: an array of {"layer", "work", "method", "calls", "seconds", "operations", "bytes"}.
    public var json: JSONValue {
        .array(
            rows.map {
                [
                    "layer": .string($0.layer), "work": .string($0.work.rawValue), "method": .string($0.method),
                    "calls": .number(Double($0.calls)), "seconds": .number($0.seconds),
                    "operations": .number($0.operations),
                    "bytes": .number($0.bytes),
                ]
            })
    }
}
