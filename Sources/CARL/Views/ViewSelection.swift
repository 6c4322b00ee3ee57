/// The views of a configuration: a preset's name, or specifications.
public enum ViewSelection: Equatable, Sendable {
    /// A name that `ViewSpec.preset` knows; another one is refused when it is `resolved`.
    case preset(String)
    /// One or more, each with its own size and count.
    case specifications([ViewSpec])

    /// The specifications for images of some channels; `size` is that of a preset's views in pixels, specifications
    /// have their own.
    ///
    /// - Parameter mean, std: the normalisation of a preset's views, and of specifications that give none.
    /// - Throws: `CARLError.configuration` naming the preset or the key.
    public func resolved(size: Int, channels: Int, mean: [Float]? = nil, std: [Float]? = nil) throws -> [ViewSpec] {
        switch self {
        case .preset(let name):
            try ViewSpec.preset(name, size: size, channels: channels).map {
                var spec = $0
                if let mean { spec.mean = mean }
                if let std { spec.std = std }
                return try spec.resolved(channels: channels, path: "")
            }
        case .specifications(let specs):
            try specs.enumerated().map {
                var spec = $1
                // A default of the specification's own would give way to the standard values.
                if let mean, !spec.$mean.isGiven { spec.mean = mean }
                if let std, !spec.$std.isGiven { spec.std = std }
                return try spec.resolved(channels: channels, path: "views[\($0)].")
            }
        }
    }
}

extension ViewSelection: SettingValue {
    public static var kind: String { "views" }

    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> ViewSelection? {
        try reader.value(key).map { try Self($0) }
    }

    /// A preset's name, a specification, or a list of them.
    public init(_ value: JSONValue) throws {
        if let name = value.string {
            self = .preset(name)
        } else if value.object != nil {
            self = .specifications([try ViewSpec(value, path: "views.")])
        } else {
            guard let values = value.array, !values.isEmpty, values.count <= 64 else {
                throw CARLError.configuration(
                    "\"views\" must be a preset's name or a list of 1 to 64 specifications, got \(Self.got(value))")
            }
            self = .specifications(try values.enumerated().map { try ViewSpec($1, path: "views[\($0)].") })
        }
    }

    private static func got(_ value: JSONValue) -> String {
        value.array.map { $0.isEmpty ? "an empty list" : "\($0.count)" } ?? value.kind
    }

    public var json: JSONValue {
        switch self {
        case .preset(let name): .string(name)
        case .specifications(let specs): .array(specs.map(\.json))
        }
    }
}

extension ViewSpec {
    /// What the configuration's "views" come to: a list of specifications as JSON, with every default filled in.
    ///
    /// - Parameters:
    ///   - value: a preset's name, a specification, or a list of them.
    ///   - size: of a preset's views in pixels; specifications have their own.
    public static func expanded(_ value: JSONValue, size: Int, channels: Int) throws -> JSONValue {
        .array(try ViewSelection(value).resolved(size: size, channels: channels).map(\.json))
    }

    /// The same as specifications; a preset's views have 32 pixels.
    public static func list(_ value: JSONValue, channels: Int) throws -> [ViewSpec] {
        try ViewSelection(value).resolved(size: 32, channels: channels)
    }
}
