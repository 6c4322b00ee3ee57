import Glibc
import Testing

@testable import CARL

/// A directory that is removed, with its files, when the test is over.
private final class TemporaryDirectory {
    let path: String
    init() throws {
        var template = Array("/tmp/carl-test-XXXXXX".utf8CString)
        path = String(cString: try #require(mkdtemp(&template)))
    }
    deinit {
        for name in names { unlink("\(path)/\(name)") }
        rmdir(path)
    }
    var names: [String] {
        guard let directory = opendir(path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
    func write(_ bytes: [UInt8], to name: String) throws -> String {
        let file = try #require(fopen("\(path)/\(name)", "w"))
        fwrite(bytes, 1, bytes.count, file)
        fclose(file)
        return "\(path)/\(name)"
    }
}

private func bytes(of path: String) throws -> [UInt8] {
    let file = try #require(fopen(path, "r"))
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    return Array(bytes[..<fread(&bytes, 1, bytes.count, file)])
}

private func file(header: String, data: [UInt8]) -> [UInt8] {
    withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) } + Array(header.utf8) + data
}

@Suite struct SafetensorsTests {
    @Test func writesAlignedAndReadsBack() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/model.safetensors"
        let flags: [UInt8] = [1, 0, 1]
        let weights: [Float] = [1.5, -2, .infinity, .leastNonzeroMagnitude, 0, -0.0]
        let step: [Int64] = [1 << 60]
        try flags.withUnsafeBytes { flags in
            try weights.withUnsafeBytes { weights in
                try step.withUnsafeBytes { step in
                    try Safetensors.write(
                        path: path,
                        entries: [
                            .init(name: "flags", shape: [3], type: .uint8, bytes: flags),
                            .init(name: "layer.weight", shape: [2, 3], type: .float32, bytes: weights),
                            .init(name: "made", shape: [2, 2]) { base in for i in 0..<4 { base[i] = Float(i) } },
                            .init(name: "nothing", shape: [4, 0], type: .float32, bytes: .init(start: nil, count: 0)),
                            .init(name: "step\"\n", shape: [], type: .int64, bytes: step),
                        ], metadata: [("format", "pt"), ("b", "é\n"), ("a", "")])
                }
            }
        }
        #expect(directory.names == ["model.safetensors"])
        let read = try SafetensorsFile(path: path)
        #expect(read.names == ["step\"\n", "layer.weight", "made", "nothing", "flags"])
        #expect(read.metadata.map(\.key) == ["format", "b", "a"] && read.metadata.map(\.value) == ["pt", "é\n", ""])
        for tensor in read.tensors {
            let found = try #require(read.tensor(tensor.name))
            #expect(Int(bitPattern: found.bytes.baseAddress) % found.type.size == 0)
        }
        let found = try #require(read.tensor("layer.weight"))
        #expect(found.shape == [2, 3] && found.type == .float32)
        #expect(Array(found.bytes) == weights.withUnsafeBytes { Array($0) })
        #expect(read.tensor("step\"\n")?.bytes.load(as: Int64.self) == 1 << 60)
        #expect(read.tensor("step\"\n")?.shape == [])
        #expect(read.tensor("nothing")?.bytes.count == 0)
        #expect(read.tensor("other") == nil)
        var made = [Float](repeating: .nan, count: 4)
        try read.copyFloats("made", to: &made, count: 4)
        #expect(made == [0, 1, 2, 3])
        #expect(throws: CARLError.self) { try read.copyFloats("made", to: &made, count: 3) }
        #expect(throws: CARLError.self) { try read.copyFloats("flags", to: &made, count: 3) }
        #expect(throws: CARLError.self) { try read.copyFloats("other", to: &made, count: 3) }
        #expect(try bytes(of: path)[0] % 8 == 0)
    }

    /// Bytes made by version 0.8 of the Python package: {"w": float32 [[1.5, -2], [3, 0.25]], "n": int64 7, "e": float32 (0, 3),
    /// "h": float16 [1, -0.5, 65504], "u": uint8 [1, 2, 255]}, metadata {"format": "pt", "é": "ü\n"}.
    @Test func readsAFileOfThePythonPackage() throws {
        let header =
            #"{"__metadata__":{"format":"pt","é":"ü\n"},"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"#
            + #""e":{"dtype":"F32","shape":[0,3],"data_offsets":[8,8]},"w":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]},"#
            + #""h":{"dtype":"F16","shape":[3],"data_offsets":[24,30]},"u":{"dtype":"U8","shape":[3],"data_offsets":[30,33]}}    "#
        let data: [UInt8] = [
            7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0, 0, 0, 0x40, 0x40, 0, 0, 0x80, 0x3e,
            0, 0x3c, 0, 0xb8, 0xff, 0x7b, 1, 2, 0xff,
        ]
        let directory = try TemporaryDirectory()
        let read = try SafetensorsFile(path: try directory.write(file(header: header, data: data), to: "python"))
        #expect(read.names == ["n", "e", "w", "h", "u"])
        #expect(read.metadata.map(\.value) == ["pt", "ü\n"])
        var weights = [Float](repeating: 0, count: 4)
        try read.copyFloats("w", to: &weights, count: 4)
        #expect(weights == [1.5, -2, 3, 0.25])
        var halves = [Float](repeating: 0, count: 3)
        try read.copyFloats("h", to: &halves, count: 3)
        #expect(halves == [1, -0.5, 65504])
        #expect(read.tensor("n")?.bytes.load(as: Int64.self) == 7)
        #expect(read.tensor("u").map { Array($0.bytes) } == [1, 2, 255])
    }

    @Test func convertsFloatingPointTypes() throws {
        #if !(os(macOS) && arch(x86_64))
        for bits in UInt16.min...UInt16.max {
            let expected = Float(Float16(bitPattern: bits))
            let value = SafetensorsFile.float(half: bits)
            #expect(value.bitPattern == expected.bitPattern || (value.isNaN && expected.isNaN))
        }
        #endif
        let directory = try TemporaryDirectory()
        let header = #"{"b":{"dtype":"BF16","shape":[2],"data_offsets":[1,5]},"d":{"dtype":"F64","shape":[1],"data_offsets":[5,13]},"#
            + #""u":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}}"#
        let data: [UInt8] = [1, 0xc0, 0x3f, 0, 0xc0] + withUnsafeBytes(of: 0.1) { Array($0) }
        // unpadded and unaligned, as the format allows
        let read = try SafetensorsFile(path: try directory.write(file(header: header, data: data), to: "odd"))
        var values = [Float](repeating: 0, count: 2)
        try read.copyFloats("b", to: &values, count: 2)
        #expect(values == [1.5, -2])
        try read.copyFloats("d", to: &values, count: 1)
        #expect(values[0] == 0.1)
    }

    @Test(arguments: [
        ("{}", 1, "hold"), ("[]", 0, "no JSON object"), (" {}", 0, "starts with"), ("{", 0, "line 1"), ("", 0, "no JSON object"),
        (#"{"a":1}"#, 0, "'a': it is described by a number"),
        (#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, 4, "unknown dtype 'F31'"),
        (#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, 4, "'dtype'"), (#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, 4, "'shape'"),
        (#"{"a":{"dtype":"F32","shape":[1]}}"#, 4, "'data_offsets'"),
        (#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "whole numbers"),
        (#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "whole numbers"),
        (#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#, 0, "whole numbers"),
        (#"{"a":{"dtype":"F32","shape":[4503599627370496,4503599627370496],"data_offsets":[0,0]}}"#, 0, "product"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "needs 8 bytes"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "outside"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, 4, "outside"),
        (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4, "outside"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}"#, 4, "pair"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 8, "the file holds 8"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "begins at byte 4"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4, "begins at byte 0"),
        (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "twice"),
        (#"{"__metadata__":[]}"#, 0, "an array"), (#"{"__metadata__":{"k":1}}"#, 0, "at 'k'"),
    ])
    func refusesMalformedHeaders(header: String, dataCount: Int, says: String) throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write(file(header: header, data: [UInt8](repeating: 0, count: dataCount)), to: "bad")
        do {
            _ = try SafetensorsFile(path: path)
            Issue.record("accepted \(header)")
        } catch CARLError.file(let message) {
            #expect(message.contains(path) && message.contains(says), "\(message)")
        }
    }

    @Test func refusesFilesThatAreNone() throws {
        let directory = try TemporaryDirectory()
        let short = try directory.write([1, 2, 3], to: "short")
        let empty = try directory.write([], to: "empty")
        let huge = try directory.write([UInt8](repeating: 0xff, count: 16), to: "huge")
        let pipe = "\(directory.path)/pipe"
        mkfifo(pipe, 0o600)
        for path in [short, empty, huge, pipe, directory.path, "\(directory.path)/absent", "", "/dev/null", "a\0b"] {
            #expect(throws: CARLError.self) { try SafetensorsFile(path: path) }
        }
        #expect(throws: CARLError.file("cannot read '\(directory.path)/absent': No such file or directory")) {
            try SafetensorsFile(path: "\(directory.path)/absent")
        }
    }

    /// Names that Swift's == would call equal are two tensors.
    @Test func namesAreToldApartByTheirBytes() throws {
        let directory = try TemporaryDirectory()
        let path = "\(directory.path)/names"
        try Safetensors.write(
            path: path,
            entries: [.init(name: "\u{e9}", shape: [1]) { $0[0] = 1 }, .init(name: "e\u{301}", shape: [1]) { $0[0] = 2 }])
        let read = try SafetensorsFile(path: path)
        #expect(read.tensor("\u{e9}")?.bytes.load(as: Float.self) == 1)
        #expect(read.tensor("e\u{301}")?.bytes.load(as: Float.self) == 2)
    }

    @Test func refusesWrongEntriesAndLeavesTheOldFile() throws {
        struct Failed: Error {}
        let directory = try TemporaryDirectory()
        let path = try directory.write([1, 2, 3], to: "target")
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        let wrong: [[Safetensors.Entry]] = [
            [.init(name: "a", shape: [1], type: .float32, bytes: none)],
            [.init(name: "a", shape: [-1, 0], type: .float32, bytes: none)],
            [.init(name: "a", shape: [.max, 2], type: .float32, bytes: none)],
            [.init(name: "a", shape: [.max / 4]) { _ in }, .init(name: "b", shape: [.max / 4]) { _ in }],
            [.init(name: "a", shape: [0], type: .float32, bytes: none), .init(name: "a", shape: [0], type: .uint8, bytes: none)],
            [.init(name: "__metadata__", shape: [0], type: .float32, bytes: none)],
        ]
        for entries in wrong {
            #expect { try Safetensors.write(path: path, entries: entries) } throws: { error in
                if case CARLError.invalidArgument = error { true } else { false }
            }
        }
        #expect(throws: CARLError.self) { try Safetensors.write(path: path, entries: [], metadata: [("a", ""), ("a", "")]) }
        #expect(throws: Failed.self) {
            try Safetensors.write(
                path: path, entries: [.init(name: "a", shape: [9]) { $0[0] = 1 }, .init(name: "b", shape: [9]) { _ in throw Failed() }])
        }
        #expect(directory.names == ["target"])
        #expect(try bytes(of: path) == [1, 2, 3])
    }

    @Test func replacesFilesInOneStep() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write([1], to: "target")
        chmod(path, 0o640)
        let link = "\(directory.path)/link"
        symlink("target", link)
        try FileOutput.replace(link, with: "new")
        #expect(try bytes(of: path) == Array("new".utf8))
        var status = stat()
        #expect(lstat(link, &status) == 0 && status.st_mode & S_IFMT == S_IFLNK)
        try FileOutput.replace(link) { file in
            try file.write(UnsafeRawBufferPointer(start: nil, count: 0))
            // until the end the old content is in place
            #expect(try bytes(of: path) == Array("new".utf8))
            #expect(directory.names.count == 3)
        }
        #expect(try bytes(of: path) == [])
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o640)
        #expect(directory.names == ["link", "target"])
        for (path, reason) in [
            ("\(directory.path)/no/file", "No such file or directory"), (directory.path, "not a regular file"), ("/dev/null", "not a regular file"),
            ("\(path)/file", "Not a directory"), ("", "empty"), ("a\0b", "zero byte"),
        ] {
            #expect { try FileOutput.replace(path, with: "") } throws: { error in
                if case CARLError.file(let message) = error { message.contains(reason) } else { false }
            }
        }
    }

    /// Every corrupted file is refused or read without reaching outside it.
    @Test func mutatedFilesNeverTrap() throws {
        let header =
            #"{"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"u":{"dtype":"U8","shape":[3],"data_offsets":[16,19]}}"#
        let original = file(header: header, data: (0..<19).map { $0 })
        let directory = try TemporaryDirectory()
        let alphabet = Array("0123456789-.e[]{}\",:FU368".utf8) + [0, 0x80, 0xff]
        var stream = RandomStream(seed: 3, purpose: .order)
        var accepted = 0
        for round in 0..<1500 {
            var bytes = original
            for _ in 0...stream.below(3) {
                // one round in eight breaks the header's length
                let place = round % 8 == 0 ? stream.below(8) : stream.below(bytes.count)
                switch stream.below(5) {
                case 0: bytes.remove(at: place)
                case 1: bytes.insert(alphabet[stream.below(alphabet.count)], at: place)
                case 2: bytes.removeLast(min(bytes.count - 8, stream.below(20)))
                default: bytes[place] = alphabet[stream.below(alphabet.count)]
                }
            }
            // the length is put right most of the time, so that the header's own checks are reached
            if round % 8 > 1, bytes.count >= 27 {
                bytes.replaceSubrange(0..<8, with: withUnsafeBytes(of: UInt64(bytes.count - 27).littleEndian) { Array($0) })
            }
            let path = try directory.write(bytes, to: "mutated")
            do {
                let read = try SafetensorsFile(path: path)
                accepted += 1
                var sum = 0
                for name in read.names { for byte in read.tensor(name)?.bytes ?? .init(start: nil, count: 0) { sum &+= Int(byte) } }
                #expect(read.tensors.reduce(0) { $0 + $1.range.count } <= bytes.count - 8)
            } catch CARLError.file {}
        }
        #expect(accepted > 20 && accepted < 1300)
    }
}
