/// Reads values of a JSON object with checks; every error names the key, what it got and what it wanted.
struct ConfigurationReader {
    let object: JSONObject
    /// Put in front of key names in messages, such as "views[0].".
    let path: String

    /// - Throws: `CARLError.configuration` for a key that is not in `known`, naming the nearest one.
    init(_ value: JSONValue, path: String = "", known: [String]) throws {
        guard let object = value.object else {
            throw CARLError.configuration("\(path.isEmpty ? "the configuration" : path) must be a JSON object, got \(value.kind)")
        }
        for key in object.keys where !known.contains(key) {
            let hint = JSONValue.nearest(key, in: known).map { "; did you mean \"\($0)\"?" } ?? "; known keys are \(known.joined(separator: ", "))"
            throw CARLError.configuration("unknown key \"\(path)\(key)\"\(hint)")
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
        .configuration("\"\(path)\(key)\" must be \(wanted), got \(object[key]?.serialized() ?? "nothing")")
    }

    func bool(_ key: String, _ standard: Bool) throws -> Bool {
        guard let value = value(key) else { return standard }
        guard let result = value.bool else { throw error(key, "true or false") }
        return result
    }

    func integer(_ key: String, _ range: ClosedRange<Int>) throws -> Int? {
        guard let value = value(key) else { return nil }
        guard let result = value.integer, range.contains(result) else {
            throw error(key, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        return result
    }

    func number(_ key: String, _ range: ClosedRange<Double>, positive: Bool = false) throws -> Double? {
        guard let value = value(key) else { return nil }
        return try number(value, key, range, positive: positive)
    }

    func number(_ value: JSONValue, _ key: String, _ range: ClosedRange<Double>, positive: Bool = false) throws -> Double {
        guard let result = value.number, range.contains(result), !positive || result > 0 else {
            throw CARLError.configuration(
                "\"\(path)\(key)\" must be a number \(positive ? "above 0 and at most" : "from \(brief(range.lowerBound)) to") \(brief(range.upperBound)), got \(value.serialized())")
        }
        return result
    }

    /// A number, or an object with "start", "end" and "steps".
    func ramp(_ key: String, positive: Bool = false) throws -> Ramp? {
        guard let value = value(key) else { return nil }
        guard value.object != nil else { return Ramp(try number(value, key, 0...1e6, positive: positive)) }
        let parts = try ConfigurationReader(value, path: "\(path)\(key).", known: ["start", "end", "steps"])
        let start = try parts.number("start", 0...1e6, positive: positive)
        let end = try parts.number("end", 0...1e6, positive: positive)
        guard let start, let end, let steps = try parts.integer("steps", 0...Int(Int32.max)) else {
            throw error(key, "a number, or an object with \"start\", \"end\" and \"steps\"")
        }
        return Ramp(start, to: end, steps: steps)
    }

    func choice<Choice: RawRepresentable & CaseIterable>(_ key: String) throws -> Choice? where Choice.RawValue == String {
        guard let value = value(key) else { return nil }
        guard let text = value.string, let result = Choice(rawValue: text) else {
            throw error(key, "one of " + Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", "))
        }
        return result
    }

    func numbers(_ key: String, count: ClosedRange<Int>, _ range: ClosedRange<Double>) throws -> [Double]? {
        guard let value = value(key) else { return nil }
        guard let values = value.array, count.contains(values.count) else {
            let size = count.lowerBound == count.upperBound ? "\(count.lowerBound)" : "\(count.lowerBound) to \(count.upperBound)"
            throw error(key, "a list of \(size) numbers")
        }
        return try values.map { try number($0, key, range) }
    }

    private func brief(_ x: Double) -> String { JSONValue.number(x).serialized() }
}

extension Ramp {
    /// What `ConfigurationReader.ramp` reads.
    var json: JSONValue {
        start == end ? .number(start) : ["start": .number(start), "end": .number(end), "steps": .number(Double(steps))]
    }
}
