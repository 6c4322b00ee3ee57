/// A value that a configuration key can have: how it is read from JSON, written, and named in the schema.
public protocol SettingValue: Equatable, Sendable {
    /// The name of the kind in the schema.
    static var kind: String { get }
    /// Texts allowed, for a choice.
    static var choices: [String] { get }
    /// The value of a key, nil when it is absent or null.
    static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> Self?
    /// The value as JSON, which `read` takes back.
    var json: JSONValue { get }
}

extension SettingValue {
    public static var choices: [String] { [] }
}

extension Bool: SettingValue {
    public static var kind: String { "boolean" }
    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> Bool? {
        try reader.bool(key)
    }
    public var json: JSONValue { .bool(self) }
}

extension Int: SettingValue {
    public static var kind: String { "integer" }
    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> Int? {
        try reader.integer(key, limits)
    }
    public var json: JSONValue { .number(Double(self)) }
}

extension UInt64: SettingValue {
    public static var kind: String { "integer" }
    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> UInt64? {
        try reader.integer(key, limits).map { UInt64($0) }
    }
    public var json: JSONValue { .number(Double(self)) }
}

extension Double: SettingValue {
    public static var kind: String { "number" }
    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> Double? {
        try reader.number(key, limits)
    }
    public var json: JSONValue { .number(self) }
}

extension Float: SettingValue {
    public static var kind: String { "number" }
    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> Float? {
        try reader.number(key, limits).map { Float($0) }
    }
    /// The Double that prints like the Float, so that 0.4 is not written 0.4000000059.
    public var json: JSONValue { .number(Double("\(self)") ?? Double(self)) }
}

extension Array: SettingValue where Element: SettingElement {
    public static var kind: String { Element.listKind }
    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> [Element]? {
        try reader.elements(key, limits)?.map { try Element.element($0, reader, key, limits) }
    }
    public var json: JSONValue { .array(map(\.json)) }
}

/// A number that a list may hold.
public protocol SettingElement: SettingValue {
    /// The name in the schema of the kind of a list of these.
    static var listKind: String { get }
    /// One element of a list.
    ///
    /// - Throws: `CARLError.configuration` that names `key` when it is no number, or none within the limits.
    static func element(_ value: JSONValue, _ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws
        -> Self
}

extension Int: SettingElement {
    /// Lists of whole numbers.
    public static var listKind: String { "integers" }
    /// A whole number.
    ///
    /// - Throws: `CARLError.configuration` for another value, or one out of range.
    public static func element(_ value: JSONValue, _ reader: SettingsReader, _ key: String, _ limits: SettingLimits)
        throws -> Int
    {
        let number = try reader.number(value, key, limits)
        guard let whole = Int(exactly: number) else { throw reader.error(key, "a list of whole numbers") }
        return whole
    }
}

extension Float: SettingElement {
    /// Lists of numbers.
    public static var listKind: String { "numbers" }
    /// The nearest Float32.
    ///
    /// - Throws: `CARLError.configuration` for a value that is no number, or out of range.
    public static func element(_ value: JSONValue, _ reader: SettingsReader, _ key: String, _ limits: SettingLimits)
        throws -> Float
    {
        Float(try reader.number(value, key, limits))
    }
}

extension Optional: SettingValue where Wrapped: SettingValue {
    public static var kind: String { Wrapped.kind }
    public static var choices: [String] { Wrapped.choices }
    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> Wrapped?? {
        try Wrapped.read(reader, key, limits).map { .some($0) }
    }
    public var json: JSONValue { self?.json ?? .null }
}

/// An enumeration of the texts that a key allows.
public protocol SettingChoice: SettingValue, RawRepresentable, CaseIterable where RawValue == String {}

extension SettingChoice {
    public static var kind: String { "choice" }
    public static var choices: [String] { allCases.map(\.rawValue) }
    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> Self? {
        guard let value = reader.value(key) else { return nil }
        guard let text = value.string, let result = Self(rawValue: text) else {
            throw reader.error(key, "one of " + choices.map { "\"\($0)\"" }.joined(separator: ", "))
        }
        return result
    }
    public var json: JSONValue { .string(rawValue) }
}

/// Whole numbers that may be written as one number when there is one: 5 for [5]. Null when there is none.
public struct IntegerOrIntegers: SettingValue, ExpressibleByArrayLiteral, ExpressibleByIntegerLiteral {
    /// In order; empty for none.
    public var values: [Int]

    /// Not checked until the configuration that it is set in is `resolved`.
    public init(_ values: [Int]) { self.values = values }
    /// Several numbers, or none: `decaySteps = [200, 100]`.
    public init(arrayLiteral values: Int...) { self.values = values }
    /// One number: `decaySteps = 200`.
    public init(integerLiteral value: Int) { values = [value] }

    public static var kind: String { "integer_or_integers" }
    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws
        -> IntegerOrIntegers?
    {
        guard let value = reader.value(key) else { return nil }
        let elements = value.array == nil ? [value] : try reader.elements(key, limits) ?? []
        return Self(
            try elements.map {
                guard let whole = Int(exactly: try reader.number($0, key, limits)) else {
                    throw reader.error(key, "a whole number, or a list of whole numbers")
                }
                return whole
            })
    }
    public var json: JSONValue {
        values.count == 1 ? .number(Double(values[0])) : values.isEmpty ? .null : .array(values.map(\.json))
    }
}
