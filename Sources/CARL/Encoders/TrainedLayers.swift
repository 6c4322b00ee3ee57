/// Which of an encoder's layers learn: all, none, or its last blocks (and what follows them). The others are as they
/// are: neither gradient nor weight decay nor momentum reaches them, and their BatchNorms use their running statistics
/// and leave them alone.
public enum TrainedLayers: Equatable, Sendable {
    /// Every layer, or none: then the projection head and the prototypes learn alone.
    case all, none
    /// So many of the last blocks, 1 ... the number that the encoder has.
    case last(Int)

    /// The least depth that learns (see `ParameterSlot.depth`), in an encoder of some blocks.
    func firstDepth(blocks: Int) -> Int {
        switch self {
        case .all: 0
        case .none: Int.max
        case .last(let count): blocks - count + 1
        }
    }
}

extension TrainedLayers: SettingValue {
    public static var kind: String { "choice_or_integer" }
    public static var choices: [String] { ["all", "none"] }

    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> TrainedLayers? {
        guard let value = reader.value(key) else { return nil }
        switch value.string {
        case "all": return .all
        case "none": return TrainedLayers.none
        default:
            guard value.number != nil, let count = try reader.integer(key, limits) else {
                throw reader.error(key, "\"all\", \"none\" or a number of blocks")
            }
            return .last(count)
        }
    }

    public var json: JSONValue {
        switch self {
        case .all: "all"
        case .none: "none"
        case .last(let count): count.json
        }
    }
}
