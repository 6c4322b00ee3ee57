/// A JSON value (RFC 8259). Object members keep their order.
///
/// Numbers are Float64, as in JavaScript: whole numbers are exact up to 2^53, and `integer` refuses what is not.
///
/// Swift lets go of values within one another by recursion: a program that nests some ten thousand of them runs out of
/// its stack when it does. What `parse` reads has at most 100 levels.
public enum JSONValue: Equatable, Sendable {
    /// JSON's null; a member that is not there is Swift's nil instead.
    case null
    /// true or false.
    case bool(Bool)
    /// Whole or not; infinity and NaN are written as null.
    case number(Double)
    /// Text without quotes and escapes.
    case string(String)
    /// Values of any kinds, in order.
    case array([JSONValue])
    /// Members in order, each key once.
    case object(JSONObject)

    /// The member of an object; nil when there is none or this is no object.
    public subscript(key: String) -> JSONValue? {
        if case .object(let object) = self { return object[key] }
        return nil
    }

    /// The boolean; nil for a value of another kind.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The number, whole or not; nil for a value of another kind.
    public var number: Double? { if case .number(let value) = self { value } else { nil } }
    /// The text; nil for a value of another kind.
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The elements; nil for a value of another kind.
    public var array: [JSONValue]? { if case .array(let values) = self { values } else { nil } }
    /// The members; nil for a value of another kind.
    public var object: JSONObject? { if case .object(let object) = self { object } else { nil } }

    /// The number if it is whole and below 2^53 in magnitude, where every whole number has its own Float64.
    public var integer: Int? {
        guard case .number(let value) = self, value.magnitude < 0x1p53 else { return nil }
        return Int(exactly: value)
    }

    /// Levels of arrays and objects in one another that are read.
    static let deepest = 100

    /// Whether arrays and objects are in one another at more than so many levels.
    func isNested(deeperThan levels: Int) -> Bool {
        switch self {
        case .array(let values): levels == 0 || values.contains { $0.isNested(deeperThan: levels - 1) }
        case .object(let object): levels == 0 || object.members.contains { $0.value.isNested(deeperThan: levels - 1) }
        default: false
        }
    }

    /// As messages show a value that came from Swift: NaN and infinity, which JSON cannot write, by their names.
    var shown: String {
        switch self {
        case .number(let x) where !x.isFinite: "\(x)"
        case .array(let values): "[\(values.map(\.shown).joined(separator: ","))]"
        default: serialized()
        }
    }

    /// The kind of value with its article, for messages: "a number", "an array", "null".
    public var kind: String {
        switch self {
        case .null: "null"
        case .bool: "a boolean"
        case .number: "a number"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

/// The members of a JSON object in their order, found by key in constant time.
///
/// Keys are compared byte for byte, as RFC 8259 asks; Swift's strings would call "é" and "e" + accent equal.
public struct JSONObject: Sendable {
    /// Keys and values, in the order in which the keys were added.
    public private(set) var members: [(key: String, value: JSONValue)] = []
    private var positions: [ByteString: Int] = [:]

    /// An object without members.
    public init() {}

    /// Of members with the same key the last value counts, at the place of the first.
    public init(_ members: [(String, JSONValue)]) {
        for (key, value) in members { self[key] = value }
    }

    /// In the members' order.
    public var keys: [String] { members.map(\.key) }
    /// Number of members.
    public var count: Int { members.count }

    /// The value of a key. Setting replaces it where it is, or adds it at the end; setting nil removes it, in linear
    /// time.
    public subscript(key: String) -> JSONValue? {
        get { positions[ByteString(key)].map { members[$0].value } }
        set {
            let position = positions[ByteString(key)]
            switch (position, newValue) {
            case (let position?, let value?): members[position].value = value
            case (nil, let value?): append(key, value)
            case (let position?, nil):
                members.remove(at: position)
                positions.removeAll(keepingCapacity: true)
                for (index, member) in members.enumerated() { positions[ByteString(member.key)] = index }
            case (nil, nil): break
            }
        }
    }

    /// Adds a member at the end; false, and nothing is changed, when the key is already there.
    @discardableResult
    mutating func append(_ key: String, _ value: JSONValue) -> Bool {
        let end = members.count
        let known = { (position: inout Int?) -> Bool in
            if position != nil { return true }
            position = end
            return false
        }(&positions[ByteString(key)])
        if known { return false }
        members.append((key, value))
        return true
    }
}

/// A string that is equal to another when their UTF-8 is.
struct ByteString: Hashable, Sendable {
    let text: String
    init(_ text: String) { self.text = text }
    static func == (a: Self, b: Self) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }
    func hash(into hasher: inout Hasher) {
        var text = text
        text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

extension JSONObject: Equatable {
    /// Two objects are equal when they have the same members; their order means nothing.
    public static func == (a: JSONObject, b: JSONObject) -> Bool {
        a.count == b.count && a.members.allSatisfy { b[$0.key] == $0.value }
    }
}

extension JSONValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByFloatLiteral,
    ExpressibleByStringLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    /// `.null`, from the literal nil.
    public init(nilLiteral: ()) { self = .null }
    /// `.bool`, from true or false.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// `.number`; beyond 2^53 the nearest Float64.
    public init(integerLiteral value: Int) { self = .number(Double(value)) }
    /// `.number`, from a literal such as 0.5.
    public init(floatLiteral value: Double) { self = .number(value) }
    /// `.string`, from a string literal.
    public init(stringLiteral value: String) { self = .string(value) }
    /// `.array`, from a literal of values or of literals of any kinds.
    public init(arrayLiteral values: JSONValue...) { self = .array(values) }
    /// `.object`; of members with the same key the last value counts, at the place of the first.
    public init(dictionaryLiteral members: (String, JSONValue)...) { self = .object(JSONObject(members)) }
}

extension JSONValue {
    /// The known word that takes the fewest edits (insert, delete, replace, swap neighbours) to reach from `word`, the
    /// first of equals; nil only when `known` is empty. Letters' case and "-" for "_" cost nothing.
    ///
    /// Only the first 64 characters count, so a huge unknown key costs no more than a long one.
    public static func nearest(_ word: String, in known: [String]) -> String? {
        func folded(_ text: String) -> [UInt32] {
            text.unicodeScalars.prefix(64).map { scalar in
                switch scalar {
                case "A"..."Z": scalar.value + 32
                case "-", " ": 0x5f
                default: scalar.value
                }
            }
        }
        let wanted = folded(word)
        var best: (word: String, distance: Int)?
        for candidate in known {
            let distance = editDistance(wanted, folded(candidate))
            if distance < best?.distance ?? .max { best = (candidate, distance) }
        }
        return best?.word
    }

    /// Optimal string alignment distance.
    private static func editDistance(_ a: [UInt32], _ b: [UInt32]) -> Int {
        var beforePrevious = [Int]()
        var previous = Array(0...b.count)
        for i in 0..<a.count {
            var current = [i + 1]
            for j in 0..<b.count {
                var cost = min(previous[j + 1] + 1, current[j] + 1, previous[j] + (a[i] == b[j] ? 0 : 1))
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { cost = min(cost, beforePrevious[j - 1] + 1) }
                current.append(cost)
            }
            (beforePrevious, previous) = (previous, current)
        }
        return previous[b.count]
    }
}
