/// A configuration key, declared where its value is kept:
///
///     @Setting("momentum", .optimization, in: 0...0.999_999, doc: "of SGD and LARS; of AdamW the first beta")
///     public var momentum = 0.9
///
/// The declaration is the only place a key has: reading JSON with range checks, writing it, misspelt names, and the
/// schema that the documentation and the Python package are generated from all go through `Settings`.
@propertyWrapper
public struct Setting<Value: SettingValue>: Equatable, Sendable {
    /// What one declaration of a key came to. Shared by copies of the struct until one of them is written to.
    fileprivate final class Storage: @unchecked Sendable {
        let key: SettingKey
        var value: Value
        /// Set by the user, not a default: defaults that depend on other keys leave it alone.
        var isGiven = false

        init(_ key: SettingKey, _ value: Value) { (self.key, self.value) = (key, value) }
    }

    private var storage: Storage

    /// - Parameters:
    ///   - in: numbers allowed; those of each element for a list.
    ///   - above: the lower end of the range is not allowed itself.
    ///   - length: numbers of elements that a list may have.
    ///   - structural: fixes the tensors of a model, so that it cannot change when a file is read.
    ///   - standard: the default in words, where it depends on other keys.
    public init(
        wrappedValue: Value, _ name: String, _ group: SettingGroup, in range: ClosedRange<Double>? = nil,
        above: Bool = false,
        length: ClosedRange<Int>? = nil, structural: Bool = false, standard: String? = nil, doc: String
    ) {
        storage = Storage(
            SettingKey(
                name: name, group: group, limits: SettingLimits(range: range, above: above, length: length),
                structural: structural, standard: standard, doc: doc),
            wrappedValue)
    }

    /// The value in force. Setting it makes the key a given one (see `isGiven`); limits are not checked here.
    public var wrappedValue: Value {
        get { storage.value }
        set {
            replace(newValue)
            storage.isGiven = true
        }
    }

    /// The key itself: `$momentum.isGiven`, `$momentum.setDefault(0.8)`.
    public internal(set) var projectedValue: Setting {
        get { self }
        set { self = newValue }
    }

    /// Whether the value was set, not a default.
    public var isGiven: Bool { storage.isGiven }

    /// A default that depends on other keys: takes effect unless the key was given.
    mutating func setDefault(_ value: Value) { if !isGiven { replace(value) } }

    /// Counts as not given from now on; the value stays until a default takes its place.
    mutating func withdraw() {
        replace(wrappedValue)
        storage.isGiven = false
    }

    /// Another form of the same value, given or not.
    mutating func replaceValue(_ value: Value) { replace(value) }

    private mutating func replace(_ value: Value) {
        if !isKnownUniquelyReferenced(&storage) {
            let copy = Storage(storage.key, storage.value)
            copy.isGiven = storage.isGiven
            storage = copy
        }
        storage.value = value
    }

    public static func == (a: Setting, b: Setting) -> Bool { a.storage.value == b.storage.value }
}

/// What is known of a key besides its value.
public struct SettingKey: Sendable {
    /// The key in JSON and in messages.
    public let name: String
    /// The part of the documentation that has the key.
    public let group: SettingGroup
    /// What values are allowed, besides their kind.
    public let limits: SettingLimits
    /// Fixes the tensors of a model, so that it cannot change when a file is read.
    public let structural: Bool
    /// The default in words, where it depends on other keys; nil: the value that the declaration gives.
    public let standard: String?
    /// What the key means, in Markdown.
    public let doc: String
}

/// The part of the configuration that a key belongs to, as the documentation is divided.
public enum SettingGroup: String, CaseIterable, Sendable {
    /// `view` has the keys of `ViewSpec`, `classifier` those of `ClassifierConfiguration`, each other one some of
    /// `Configuration`'s.
    case encoder, head, assignment, optimization, data, view, classifier
}

/// What values a key allows, besides their kind.
public struct SettingLimits: Sendable {
    /// Least and largest number, or element of a list; nil: all finite ones, of single whole ones those below 2^53 in
    /// magnitude.
    public var range: ClosedRange<Double>?
    /// The least number is not allowed itself; of no effect on a single whole number.
    public var above = false
    /// Least and largest number of elements of a list; nil: 1 ... 2^20.
    public var length: ClosedRange<Int>?
}

/// A setting whose kind of value is not known: what `Settings` finds in a struct.
protocol AnySetting {
    var key: SettingKey { get }
    var isGiven: Bool { get }
    var json: JSONValue { get }
    var schema: JSONValue { get }
    /// Sets the value if the object has the key. The storage is written in place: only for a struct that nobody else
    /// has a copy of.
    func read(_ reader: SettingsReader) throws
    /// Throws what `read` throws, and changes nothing.
    func check(_ reader: SettingsReader) throws
}

extension Setting: AnySetting {
    var key: SettingKey { storage.key }
    var json: JSONValue { storage.value.json }

    func read(_ reader: SettingsReader) throws {
        guard let value = try Value.read(reader, key.name, key.limits) else { return }
        storage.value = value
        storage.isGiven = true
    }

    func check(_ reader: SettingsReader) throws { _ = try Value.read(reader, key.name, key.limits) }

    /// The key as {"name", "group", "kind", "default", "default_text", "structural", "doc"}, and what its kind adds.
    var schema: JSONValue {
        var members: [(String, JSONValue)] = [
            ("name", .string(key.name)), ("group", .string(key.group.rawValue)), ("kind", .string(Value.kind)),
            ("default", key.standard == nil ? json : .null),
            ("default_text", key.standard.map { .string($0) } ?? .null),
            ("structural", .bool(key.structural)), ("doc", .string(key.doc)),
        ]
        if let range = key.limits.range {
            members += [("minimum", .number(range.lowerBound)), ("maximum", .number(range.upperBound))]
            members.append(("above_minimum", .bool(key.limits.above)))
        }
        if let length = key.limits.length {
            members += [("least", .number(Double(length.lowerBound))), ("most", .number(Double(length.upperBound)))]
        }
        if !Value.choices.isEmpty { members.append(("choices", .array(Value.choices.map { .string($0) }))) }
        return .object(JSONObject(members))
    }
}

/// The keys of a struct whose properties are `Setting`s, in the order of their declarations.
enum Settings {
    static func all<Owner>(of owner: Owner) -> [any AnySetting] {
        Mirror(reflecting: owner).children.compactMap { $0.value as? any AnySetting }
    }

    /// Sets what `value` gives. `owner` must be fresh: no copy of it may exist.
    ///
    /// - Parameter path: put in front of names in messages, such as "views[0].".
    /// - Returns: the reader, for those and for checks across keys.
    /// - Throws: `CARLError.configuration` that names the key, what it got and what it wanted.
    static func read<Owner>(_ value: JSONValue, into owner: Owner, path: String = "") throws -> SettingsReader {
        let settings = all(of: owner)
        let reader = try SettingsReader(value, path: path, known: settings.map(\.key.name))
        for setting in settings { try setting.read(reader) }
        return reader
    }

    /// Those that were set, with their values.
    static func given<Owner>(of owner: Owner) -> [(String, JSONValue)] {
        all(of: owner).filter(\.isGiven).map { ($0.key.name, $0.json) }
    }

    /// Checks the values that were set, as `read` checks those of JSON.
    ///
    /// - Throws: `CARLError.configuration` that names the key, what it got and what it wanted.
    static func check<Owner>(_ owner: Owner, path: String) throws {
        let settings = all(of: owner)
        let reader = try SettingsReader(
            .object(JSONObject(given(of: owner))), path: path, known: settings.map(\.key.name))
        for setting in settings { try setting.check(reader) }
    }

    /// Every key with its value.
    static func members<Owner>(of owner: Owner) -> [(String, JSONValue)] {
        all(of: owner).map { ($0.key.name, $0.json) }
    }

    static func schema<Owner>(of owner: Owner) -> JSONValue { .array(all(of: owner).map(\.schema)) }

    /// The names of the keys that fix the tensors of a model.
    static func structural<Owner>(of owner: Owner) -> [String] {
        all(of: owner).map(\.key).filter(\.structural).map(\.name)
    }
}
