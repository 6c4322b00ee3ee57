/// A number that goes linearly from `start` to `end` in `steps` steps, which count from 0. In JSON a number, or an
/// object with "start", "end" and "steps".
public struct Ramp: Equatable, Sendable, ExpressibleByFloatLiteral, ExpressibleByIntegerLiteral {
    /// The number in step 0; not used when `steps` is 0.
    public var start: Double
    /// The number from step `steps` on.
    public var end: Double
    /// Steps that the way takes, 0 ... 2^31 - 1; 0: `end` from the first step on.
    public var steps: Int

    /// Not checked until the configuration that it is set in is `resolved`.
    public init(_ start: Double, to end: Double, steps: Int) {
        (self.start, self.end, self.steps) = (start, end, steps)
    }

    /// The same number in all steps.
    public init(_ value: Double) { self.init(value, to: value, steps: 0) }
    /// The same number in all steps: `temperature = 0.1`.
    public init(floatLiteral value: Double) { self.init(value) }
    /// The same number in all steps: `priorWeight = 1`.
    public init(integerLiteral value: Int) { self.init(Double(value)) }

    /// The number in a step.
    public func value(step: Int) -> Double {
        steps == 0 ? end : start + (end - start) * min(1, Double(step) / Double(steps))
    }
}

extension Ramp: SettingValue {
    public static var kind: String { "ramp" }

    public static func read(_ reader: SettingsReader, _ key: String, _ limits: SettingLimits) throws -> Ramp? {
        guard let value = reader.value(key) else { return nil }
        guard value.object != nil else { return Ramp(try reader.number(value, key, limits)) }
        let parts = try SettingsReader(value, path: "\(reader.path)\(key).", known: ["start", "end", "steps"])
        let longest = SettingLimits(range: 0...Double(Int32.max))
        guard let start = try parts.number("start", limits), let end = try parts.number("end", limits),
            let steps = try parts.integer("steps", longest)
        else { throw reader.error(key, "a number, or an object with \"start\", \"end\" and \"steps\"") }
        return Ramp(start, to: end, steps: steps)
    }

    public var json: JSONValue {
        start == end ? .number(start) : ["start": .number(start), "end": .number(end), "steps": .number(Double(steps))]
    }
}
