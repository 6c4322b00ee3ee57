import Testing

@testable import CARL

@Suite struct JSONTests {
    @Test func readsEveryKindOfValue() throws {
        let text = """
             { "a": null, "b" : [true,false , -0, 1e3, 0.25E-2, 123456789012], "c":{"d":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\uDE00é😀"},
            "": [], "e":{} }\r\n\t
            """
        let value = try JSONValue.parse(text)
        #expect(value["a"] == .null)
        #expect(value["b"] == [true, false, -0.0, 1000, 0.0025, 123_456_789_012])
        #expect(value["c"]?["d"]?.string == "\"\\/\u{8}\u{c}\n\r\té😀é😀")
        #expect(value[""] == .array([]))
        #expect(value["e"] == .object(JSONObject()))
        #expect(value["f"] == nil)
        #expect(value.object?.keys == ["a", "b", "c", "", "e"])
        #expect(try JSONValue.parse([0xef, 0xbb, 0xbf] + Array("7".utf8)) == 7)
    }

    @Test(arguments: [
        ("", 1, 1, "a value"), ("  ", 1, 3, "the end of the text"), ("nul", 1, 1, "a value"), ("NaN", 1, 1, "'N'"),
        ("Infinity", 1, 1, "'I'"), ("-Infinity", 1, 2, "a digit"), ("01", 1, 1, "start with 0"), ("-", 1, 2, "a digit"),
        ("1.", 1, 3, "decimal point"),
        (".5", 1, 1, "a value"), ("+1", 1, 1, "'+'"), ("1e", 1, 3, "exponent"), ("1e+", 1, 4, "exponent"),
        ("1e999", 1, 1, "too large"),
        ("[1,]", 1, 4, "a value"), ("[1 2]", 1, 4, "',' or ']'"), ("[", 1, 2, "a value"),
        ("{\"a\" 1}", 1, 6, "':' after the key 'a'"),
        ("{\"a\":1,}", 1, 8, "a key in double quotes"), ("{a:1}", 1, 2, "a key in double quotes"),
        ("{\"a\":1 \"b\":2}", 1, 8, "after the value of 'a'"),
        ("{\n \"é\": 1,\n  \"x\": 2, \"x\": 3}", 3, 11, "'x' is there twice"),
        ("1 2", 1, 3, "the end of the text after the value"),
        ("\"abc", 1, 1, "no closing"), ("\"a\nb\"", 1, 3, "control characters"), ("\"\\x\"", 1, 3, "after a backslash"),
        ("\"\\u12g4\"", 1, 6, "hexadecimal"), ("\"\\ud800\"", 1, 2, "surrogate"),
        ("\"\\ud800\\u0041\"", 1, 2, "surrogate"),
        ("\"\\udc00\"", 1, 2, "surrogate"), ("\"\\ud83d\\ude0", 1, 13, "hexadecimal"), ("[1] // x", 1, 5, "'/'"),
        ("\"é\" \u{1}", 1, 5, "0x01"),
        ("{\"a\u{301}\":1, \"a\\u0301\":2}", 1, 10, "twice"),
    ])
    func refusesWithThePlace(text: String, line: Int, column: Int, says: String) {
        do {
            let value = try JSONValue.parse(text)
            Issue.record("read \(text) as \(value)")
        } catch CARLError.configuration(let message) {
            #expect(message.contains("line \(line), column \(column):") && message.contains(says), "\(message)")
        } catch {
            Issue.record("\(error)")
        }
    }

    @Test func refusesInvalidUTF8() {
        for bytes: [UInt8] in [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe2, 0x82]] {
            #expect(throws: CARLError.self) { try JSONValue.parse([0x22] + bytes + [0x22]) }
            #expect(throws: CARLError.self) { try JSONValue.parse(Array("\"\\n".utf8) + bytes + [0x22]) }
            #expect(throws: CARLError.self) { try JSONValue.parse(Array("{} ".utf8) + bytes) }
        }
    }

    @Test func limitsDepthAndStaysLinear() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(try JSONValue.parse(nested(100)).array?.count == 1)
        #expect(throws: CARLError.self) { try JSONValue.parse(nested(101)) }
        var deep: JSONValue = []
        for _ in 0..<99 { deep = .array([deep]) }
        #expect(deep.serialized() == nested(100))
        for _ in 0..<5000 { deep = .array([deep]) }
        #expect(deep.serialized().contains("[null]"))
        #expect(try JSONValue.parse(deep.serialized()).array?.count == 1)
        #expect(throws: CARLError.self) { try JSONValue.parse(String(repeating: "{\"a\":", count: 1_000_000)) }
        // Quadratic handling of any of these would take minutes.
        let start = monotonicSeconds()
        let digits = String(repeating: "7", count: 300)
        let members = (0..<100_000).map { "\"k\($0)\":\($0)" }.joined(separator: ",")
        #expect(try JSONValue.parse("{\(members)}").object?.count == 100_000)
        #expect(try JSONValue.parse("\"\(String(repeating: "\\n", count: 500_000))\"").string?.utf8.count == 500_000)
        #expect(try JSONValue.parse("0." + String(repeating: digits, count: 2000)).number == 7.0 / 9)
        #expect(throws: CARLError.self) { try JSONValue.parse(String(repeating: digits, count: 2000)) }
        #expect(monotonicSeconds() - start < 20)
    }

    @Test func tellsKeysApartByTheirBytes() throws {
        let value = try JSONValue.parse("{\"\\u00e9\": 1, \"e\\u0301\": 2}")
        #expect(value["\u{e9}"] == 1)
        #expect(value["e\u{301}"] == 2)
    }

    @Test func writesWhatItReads() throws {
        let value: JSONValue = [
            "whole": 9_007_199_254_740_992, "negative": -3, "zero": -0.0, "tenth": 0.1,
            "small": .number(.leastNonzeroMagnitude), "large": 1.797_693_134_862_315_7e308,
            "beyond": 18_014_398_509_481_984.0, "text": "\"\\\u{0}\u{1f}\n\t\u{7f}é\u{2028}😀",
            "nested": [[], [:], [nil, true, ["k": false]]],
        ]
        for pretty in [false, true] { #expect(try JSONValue.parse(value.serialized(pretty: pretty)) == value) }
        #expect(JSONValue.number(3).serialized() == "3")
        #expect(JSONValue.number(-0.0).serialized() == "-0.0")
        #expect(JSONValue.number(0.1).serialized() == "0.1")
        #expect(JSONValue.number(9_007_199_254_740_992).serialized() == "9007199254740992")
        #expect(
            JSONValue.array([.number(.nan), .number(.infinity), .number(-.infinity)]).serialized() == "[null,null,null]"
        )
        #expect(JSONValue.string("\u{0}\u{1f}").serialized() == #""\u0000\u001f""#)
        #expect(
            JSONValue(dictionaryLiteral: ("a", 1), ("b", [2, 3]), ("c", [])).serialized()
                == #"{"a":1,"b":[2,3],"c":[]}"#)
        #expect(
            JSONValue(dictionaryLiteral: ("a", 1), ("b", [2])).serialized(pretty: true)
                == "{\n  \"a\": 1,\n  \"b\": [\n    2\n  ]\n}")
    }

    @Test func everyFloat64ComesBack() throws {
        var stream = RandomStream(seed: 1, purpose: .order)
        for _ in 0..<20_000 {
            let value = Double(bitPattern: UInt64(stream.next()) << 32 | UInt64(stream.next()))
            if value.isFinite { #expect(try JSONValue.parse(JSONValue.number(value).serialized()) == .number(value)) }
        }
    }

    @Test func integersAreExactOrNil() throws {
        #expect(try JSONValue.parse("9007199254740991").integer == 9_007_199_254_740_991)
        #expect(try JSONValue.parse("9007199254740993").integer == nil)
        #expect(try JSONValue.parse("1e300").integer == nil)
        #expect(try JSONValue.parse("2.5").integer == nil)
        #expect(try JSONValue.parse("-2.0").integer == -2)
        #expect(JSONValue.string("2").integer == nil)
    }

    @Test func objectsKeepOrderAndEdits() {
        var object = JSONObject([("b", 1), ("a", 2), ("b", 3)])
        #expect(object.keys == ["b", "a"])
        object["c"] = true
        object["b"] = nil
        object["none"] = nil
        #expect(object.keys == ["a", "c"])
        #expect(object["c"] == true && object["a"] == 2 && object["b"] == nil)
        #expect(object == JSONObject([("c", true), ("a", 2)]))
        #expect(object != JSONObject([("c", true), ("a", 1)]))
    }

    @Test func nearestKey() {
        let known = ["learning_rate", "prototypes", "temperature", "batch_size", "seed"]
        #expect(JSONValue.nearest("learning-Rate", in: known) == "learning_rate")
        #expect(JSONValue.nearest("protoytpe", in: known) == "prototypes")
        #expect(JSONValue.nearest("sede", in: known) == "seed")
        #expect(JSONValue.nearest("", in: known) == "seed")
        #expect(JSONValue.nearest("x", in: []) == nil)
        #expect(JSONValue.nearest("ab", in: ["ba", "cb"]) == "ba")
        let start = monotonicSeconds()
        #expect(JSONValue.nearest(String(repeating: "x", count: 1_000_000), in: known) != nil)
        #expect(monotonicSeconds() - start < 1)
    }

    /// Broken texts must give an error or a value that survives writing and reading; this only has to reach every
    /// corner of the parser.
    @Test func mutatedTextsNeverTrap() throws {
        let seeds = [
            #"{"encoder":"resnet18","projector":[512,128],"prior_weight":{"start":4.0,"end":1e0,"steps":-10},"x":null,"y":[true,false]}"#,
            #"["\u00e9\ud83d\ude00\n", "\\\"", 0.1e-5, [[[]]], {}, "é😀"]"#,
        ].map { Array($0.utf8) }
        let alphabet = Array("{}[]\",:\\u0123456789abcdefE+-. \ntrulsn\u{0}".utf8) + [0x80, 0xc3, 0xe2, 0xf0, 0xff]
        var stream = RandomStream(seed: 2, purpose: .order)
        var read = 0
        for round in 0..<20_000 {
            var bytes = seeds[round % 2]
            for _ in 0...stream.below(4) {
                let place = stream.below(bytes.count)
                switch stream.below(4) {
                case 0: bytes[place] = alphabet[stream.below(alphabet.count)]
                case 1: bytes.insert(alphabet[stream.below(alphabet.count)], at: place)
                case 2: if bytes.count > 1 { bytes.remove(at: place) }
                default: bytes.replaceSubrange(place..., with: bytes[..<min(place + 1, stream.below(bytes.count) + 1)])
                }
            }
            do {
                let value = try JSONValue.parse(bytes)
                read += 1
                #expect(try JSONValue.parse(value.serialized()) == value)
            } catch CARLError.configuration {}
        }
        #expect(read > 1000 && read < 19_000)
    }
}
