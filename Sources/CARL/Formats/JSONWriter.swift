extension JSONValue {
    /// The value as JSON text.
    ///
    /// Numbers have the fewest digits that read back as the same Float64; whole numbers up to 2^53 have no fraction.
    /// JSON has no word for infinity and NaN: they become null, and so do arrays and objects within 100 others, which
    /// could not be read again.
    /// - Parameter pretty: a line for every member and element, indented by two spaces.
    public func serialized(pretty: Bool = false) -> String {
        var writer = JSONWriter(pretty: pretty)
        writer.write(self, depth: 0)
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}

private struct JSONWriter {
    let pretty: Bool
    var bytes: [UInt8] = []

    init(pretty: Bool) { self.pretty = pretty }

    mutating func write(_ value: JSONValue, depth: Int) {
        switch value {
        case .array where depth >= JSONValue.deepest, .object where depth >= JSONValue.deepest, .null:
            bytes += "null".utf8
        case .bool(let value): bytes += (value ? "true" : "false").utf8
        case .number(let value): write(value)
        case .string(let text): write(text)
        case .array(let values):
            bytes.append(UInt8(ascii: "["))
            for (index, value) in values.enumerated() {
                separate(index, depth + 1)
                write(value, depth: depth + 1)
            }
            if !values.isEmpty { newLine(depth) }
            bytes.append(UInt8(ascii: "]"))
        case .object(let object):
            bytes.append(UInt8(ascii: "{"))
            for (index, member) in object.members.enumerated() {
                separate(index, depth + 1)
                write(member.key)
                bytes += (pretty ? ": " : ":").utf8
                write(member.value, depth: depth + 1)
            }
            if object.count > 0 { newLine(depth) }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    private mutating func separate(_ index: Int, _ depth: Int) {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        newLine(depth)
    }

    private mutating func newLine(_ depth: Int) {
        if !pretty { return }
        bytes.append(UInt8(ascii: "\n"))
        bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: 2 * depth))
    }

    private mutating func write(_ number: Double) {
        if !number.isFinite {
            bytes += "null".utf8
        } else if number.magnitude <= 0x1p53, number == number.rounded(), !(number == 0 && number.sign == .minus) {
            bytes += String(Int64(number)).utf8
        } else {
            bytes += number.description.utf8
        }
    }

    private mutating func write(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): bytes += "\\\"".utf8
            case UInt8(ascii: "\\"): bytes += "\\\\".utf8
            case 0x08: bytes += "\\b".utf8
            case 0x09: bytes += "\\t".utf8
            case 0x0a: bytes += "\\n".utf8
            case 0x0c: bytes += "\\f".utf8
            case 0x0d: bytes += "\\r".utf8
            case 0..<0x20:
                let digits = Array("0123456789abcdef".utf8)
                bytes += "\\u00".utf8
                bytes += [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
