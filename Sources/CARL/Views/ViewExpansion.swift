extension ViewSpec {
    /// What the configuration's "views" come to: a list of specifications as JSON, with every default filled in.
    ///
    /// - Parameters:
    ///   - value: a preset's name, a specification, or a list of them.
    ///   - size: of a preset's views in pixels; the others have their own.
    public static func expanded(_ value: JSONValue, size: Int, channels: Int) throws -> JSONValue {
        let specs = try value.string.map { try preset($0, size: size, channels: channels) } ?? list(value, channels: channels)
        return .array(specs.map(\.json))
    }
}
