extension JSONValue {
    /// Reads a JSON text (RFC 8259) that holds one value. A byte order mark before it is skipped.
    ///
    /// Refused: anything after the value, an object with the same key twice, nesting deeper than 100, numbers beyond
    /// Float64's range, NaN and Infinity, half a surrogate pair, comments and trailing commas.
    /// - Throws: `CARLError.configuration` that names line, column (in characters, both from 1), what was wanted and
    ///   what was found; `CARLError.outOfMemory`, as `checkRoom`.
    /// - Complexity: linear in the length of the text.
    public static func parse(_ text: String) throws -> JSONValue {
        var text = text
        return try text.withUTF8 { try parse(UnsafeRawBufferPointer($0)) }
    }

    /// Reads UTF-8 bytes; other bytes are an error too.
    public static func parse(_ bytes: [UInt8]) throws -> JSONValue {
        try bytes.withUnsafeBytes { try parse($0) }
    }

    /// Reads UTF-8 bytes; other bytes are an error too.
    public static func parse(_ bytes: UnsafeRawBufferPointer) throws -> JSONValue {
        try checkRoom(forText: bytes.count)
        var parser = JSONParser(bytes)
        return try parser.document()
    }

    /// Looks whether there is memory for what a text of so many bytes can come to, and for what is done with it: Swift,
    /// which allocates the values, ends the process when it gets none.
    ///
    /// - Throws: `CARLError.outOfMemory`.
    public static func checkRoom(forText bytes: Int) throws {
        if bytes < shortText { return }
        let most = try CheckedSize.product(bytes, mostTimes, of: "a text")
        try SystemMemory.allocate(most, for: "what a text of \(bytes) bytes describes").free()
    }

    /// Texts as long as usual configurations, which take no more than anything else does.
    private static let shortText = 1 << 12
    /// Bytes of memory for a byte of text: objects of one member take most.
    private static let mostTimes = 64
}

/// One pass over the bytes, by recursive descent.
private struct JSONParser {
    let bytes: UnsafeRawBufferPointer
    var position = 0

    /// - Parameter text: UTF-8, perhaps with a byte order mark.
    init(_ text: UnsafeRawBufferPointer) {
        bytes = UnsafeRawBufferPointer(rebasing: text.dropFirst(text.starts(with: [0xef, 0xbb, 0xbf]) ? 3 : 0))
    }

    mutating func document() throws -> JSONValue {
        skipSpace()
        let value = try self.value(depth: 0)
        skipSpace()
        if position < bytes.count { throw unexpected("the end of the text after the value") }
        return value
    }

    private mutating func value(depth: Int) throws -> JSONValue {
        switch current {
        case UInt8(ascii: "{"): return .object(try object(depth: depth + 1))
        case UInt8(ascii: "["): return .array(try array(depth: depth + 1))
        case UInt8(ascii: "\""): return .string(try string())
        case let byte? where byte == UInt8(ascii: "-") || isDigit(byte): return .number(try number())
        case UInt8(ascii: "t") where take("true"): return .bool(true)
        case UInt8(ascii: "f") where take("false"): return .bool(false)
        case UInt8(ascii: "n") where take("null"): return .null
        default: throw unexpected("a value")
        }
    }

    private mutating func object(depth: Int) throws -> JSONObject {
        try checkDepth(depth)
        var object = JSONObject()
        position += 1
        skipSpace()
        if take("}") { return object }
        while true {
            let start = position
            guard current == UInt8(ascii: "\"") else { throw unexpected("a key in double quotes") }
            let key = try string()
            skipSpace()
            guard take(":") else { throw unexpected("':' after the key \(quoted(key))") }
            skipSpace()
            guard object.append(key, try value(depth: depth)) else {
                throw problem(at: start, "the key \(quoted(key)) is there twice")
            }
            skipSpace()
            if take("}") { return object }
            guard take(",") else { throw unexpected("',' or '}' after the value of \(quoted(key))") }
            skipSpace()
        }
    }

    private mutating func array(depth: Int) throws -> [JSONValue] {
        try checkDepth(depth)
        var values: [JSONValue] = []
        position += 1
        skipSpace()
        if take("]") { return values }
        while true {
            values.append(try value(depth: depth))
            skipSpace()
            if take("]") { return values }
            guard take(",") else { throw unexpected("',' or ']' after an array's element") }
            skipSpace()
        }
    }

    private mutating func string() throws -> String {
        let start = position
        position += 1
        var unescaped: [UInt8] = []  // what came before `copied`, once there was an escape
        var copied = position
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                let tail = UnsafeRawBufferPointer(rebasing: bytes[copied..<position])
                position += 1
                let text: String?
                if unescaped.isEmpty {
                    text = String(validating: tail, as: UTF8.self)
                } else {
                    unescaped += tail
                    text = String(validating: unescaped, as: UTF8.self)
                }
                guard let text else { throw problem(at: start, "the string that starts here is not valid UTF-8") }
                return text
            case UInt8(ascii: "\\"):
                unescaped += UnsafeRawBufferPointer(rebasing: bytes[copied..<position])
                try escape(into: &unescaped)
                copied = position
            case 0..<0x20:
                throw unexpected("a string's closing '\"' (control characters are written as \\n, \\t or \\u0000)")
            default: position += 1
            }
        }
        throw problem(at: start, "the string that starts here has no closing '\"'")
    }

    private mutating func escape(into text: inout [UInt8]) throws {
        let start = position
        position += 1
        guard let letter = current else { throw unexpected("the rest of an escape") }
        let plain: UInt8
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): plain = letter
        case UInt8(ascii: "b"): plain = 0x08
        case UInt8(ascii: "t"): plain = 0x09
        case UInt8(ascii: "n"): plain = 0x0a
        case UInt8(ascii: "f"): plain = 0x0c
        case UInt8(ascii: "r"): plain = 0x0d
        case UInt8(ascii: "u"):
            position += 1
            var code = try fourHexDigits()
            if code & 0xfc00 == 0xd800, take("\\u") {
                let low = try fourHexDigits()
                guard low & 0xfc00 == 0xdc00 else { throw problem(at: start, "half a surrogate pair") }
                code = 0x10000 + (code & 0x3ff) << 10 + low & 0x3ff
            }
            guard let scalar = Unicode.Scalar(code) else { throw problem(at: start, "half a surrogate pair") }
            text += UTF8.encode(scalar)!  // every scalar has an encoding
            return
        default: throw unexpected("one of \" \\ / b f n r t u after a backslash")
        }
        text.append(plain)
        position += 1
    }

    private mutating func fourHexDigits() throws -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            switch current {
            case let digit? where isDigit(digit): code = code << 4 | UInt32(digit - UInt8(ascii: "0"))
            case let letter? where UInt8(ascii: "a")...UInt8(ascii: "f") ~= letter | 0x20:
                code = code << 4 | UInt32((letter | 0x20) - UInt8(ascii: "a") + 10)
            default: throw unexpected("four hexadecimal digits after \\u")
            }
            position += 1
        }
        return code
    }

    private mutating func number() throws -> Double {
        let start = position
        _ = take("-")
        if take("0") {
            if isDigit(current) { throw problem(at: start, "a number must not start with 0") }
        } else {
            try digits("a digit")
        }
        if take(".") { try digits("a digit after the decimal point") }
        if take("e") || take("E") {
            if !take("+") { _ = take("-") }
            try digits("a digit of the exponent")
        }
        let text = String(decoding: UnsafeRawBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
        guard let value = Double(text), value.isFinite else {
            throw problem(at: start, "the number is too large for Float64")
        }
        return value
    }

    private mutating func digits(_ wanted: String) throws {
        guard isDigit(current) else { throw unexpected(wanted) }
        while isDigit(current) { position += 1 }
    }

    // MARK: Bytes

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func isDigit(_ byte: UInt8?) -> Bool { byte.map { $0 &- UInt8(ascii: "0") < 10 } ?? false }

    private mutating func take(_ word: StaticString) -> Bool {
        guard bytes.count - position >= word.utf8CodeUnitCount else { return false }
        for index in 0..<word.utf8CodeUnitCount where bytes[position + index] != word.utf8Start[index] { return false }
        position += word.utf8CodeUnitCount
        return true
    }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    // MARK: Errors

    private func checkDepth(_ depth: Int) throws {
        if depth > JSONValue.deepest { throw problem(at: position, "nested deeper than \(JSONValue.deepest) levels") }
    }

    private func quoted(_ key: String) -> String {
        let start = key.unicodeScalars.prefix(60)
        return
            "'\(String(String.UnicodeScalarView(start)))\(start.endIndex < key.unicodeScalars.endIndex ? "..." : "")'"
    }

    private func unexpected(_ wanted: String) -> CARLError {
        let found: String
        switch current {
        case nil: found = "the end of the text"
        case 0x0a, 0x0d: found = "the end of the line"
        case let byte? where byte > 0x20 && byte < 0x7f: found = "'\(Character(Unicode.Scalar(byte)))'"
        case let byte?: found = "the byte 0x\(byte < 16 ? "0" : "")\(String(byte, radix: 16))"
        }
        return problem(at: position, "expected \(wanted), found \(found)")
    }

    private func problem(at place: Int, _ what: String) -> CARLError {
        var line = 1
        var column = 1
        for byte in bytes[..<place] {
            if byte == 0x0a {
                line += 1
                column = 1
            } else if byte & 0xc0 != 0x80 {  // the later bytes of a character are no column of their own
                column += 1
            }
        }
        return .configuration("not valid JSON: line \(line), column \(column): \(what)")
    }
}
