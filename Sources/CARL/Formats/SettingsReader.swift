/// Reads values of a JSON object with checks; every error names the key, what it got and what it wanted.
public struct SettingsReader {
    let object: JSONObject
    /// Put in front of key names in messages, such as "views[0].".
    let path: String

    /// - Throws: `CARLError.configuration` for a key that is not in `known`, naming the nearest one.
    init(_ value: JSONValue, path: String = "", known: [String]) throws {
        guard let object = value.object else {
            throw CARLError.configuration(
                "\(path.isEmpty ? "the configuration" : path) must be a JSON object, got \(value.kind)")
        }
        // By bytes: Swift would bring a text of accents without end into their order, for each key that is known.
        for key in object.keys where !known.contains(where: { ByteString($0) == ByteString(key) }) {
            let nearest = JSONValue.nearest(key, in: known).map { "; did you mean \"\($0)\"?" }
            throw CARLError.configuration(
                "unknown key \"\(path)\(key)\"\(nearest ?? "; known keys are \(known.joined(separator: ", "))")")
        }
        self.object = object
        self.path = path
    }

    /// The value of a key, nil when absent or null.
    func value(_ key: String) -> JSONValue? {
        guard let value = object[key], value != .null else { return nil }
        return value
    }

    func error(_ key: String, _ wanted: String) -> CARLError {
        .configuration("\"\(path)\(key)\" must be \(wanted), got \(object[key]?.shown ?? "nothing")")
    }

    func bool(_ key: String) throws -> Bool? {
        guard let value = value(key) else { return nil }
        guard let result = value.bool else { throw error(key, "true or false") }
        return result
    }

    func integer(_ key: String, _ limits: SettingLimits) throws -> Int? {
        guard let value = value(key) else { return nil }
        let range = limits.range ?? -(0x1p53 - 1)...0x1p53 - 1
        guard let result = value.integer, range.contains(Double(result)) else {
            throw error(key, "a whole number from \(brief(range.lowerBound)) to \(brief(range.upperBound))")
        }
        return result
    }

    func number(_ key: String, _ limits: SettingLimits) throws -> Double? {
        try value(key).map { try number($0, key, limits) }
    }

    func number(_ value: JSONValue, _ key: String, _ limits: SettingLimits) throws -> Double {
        let range = limits.range ?? -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
        guard let result = value.number, range.contains(result), !limits.above || result > range.lowerBound else {
            let lower =
                limits.above ? "above \(brief(range.lowerBound)) and at most" : "from \(brief(range.lowerBound)) to"
            throw CARLError.configuration(
                "\"\(path)\(key)\" must be a number \(lower) \(brief(range.upperBound)), got \(value.shown)")
        }
        return result
    }

    /// The elements of a list of numbers, unchecked but for how many they are.
    func elements(_ key: String, _ limits: SettingLimits) throws -> [JSONValue]? {
        guard let value = value(key) else { return nil }
        let length = limits.length ?? 1...1 << 20
        guard let values = value.array, length.contains(values.count) else {
            let count = length.count == 1 ? "\(length.lowerBound)" : "\(length.lowerBound) to \(length.upperBound)"
            throw error(key, "a list of \(count) numbers")
        }
        return values
    }

    private func brief(_ x: Double) -> String { JSONValue.number(x).serialized() }
}
