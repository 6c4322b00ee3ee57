import Foundation
import Testing

@testable import CARL

struct MemoryTests {
    @Test func productsOfSizesAreChecked() throws {
        #expect(try CheckedSize.product(3, 4, 5, of: "values") == 60)
        #expect(try CheckedSize.product(0, Int.max, of: "values") == 0)
        for factors in [(Int.max, 2), (1 << 62, 2), (1 << 32, 1 << 32), (CheckedSize.most, 2), (-1, 4)] {
            #expect(throws: CARLError.self) { try CheckedSize.product(factors.0, factors.1, of: "values") }
        }
        let workspace = Workspace()
        #expect(throws: CARLError.self) { try workspace.takeActivation(8_388_608 * 64, 4096, 4096, 1024) }
        #expect(workspace.bytes == 0)
    }

    /// More than any machine has: an error, not the end of the process.
    @Test func impossibleAmountsAreRefused() {
        #expect(throws: CARLError.self) { try FloatBuffer(1 << 50) }
        #expect(throws: CARLError.self) { try FloatBuffer(Int.max) }
        #expect(throws: CARLError.self) { try HeapArray<Int64>(1 << 50, repeating: 0, for: "numbers") }
        #expect(throws: CARLError.self) { try HeapArray<UInt8>(1 << 46, repeating: 0, for: "bytes") }
    }

    @Test func arraysHoldTheirValues() throws {
        for count in [0, 1, 1000, 1 << 20] {
            let array = try HeapArray<Int64>(count, repeating: 7, for: "numbers")
            #expect(array.withValues { $0.count == count && $0.allSatisfy { $0 == 7 } })
        }
        #expect(Int(bitPattern: try HeapArray<UInt8>(3, repeating: 0, for: "bytes").base) % 64 == 0)
    }

    @Test func availableMemoryIsRead() {
        let text = "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:    300 kB\nSwapFree:   50 kB\n"
        #expect(MemoryLimit.free(meminfo: text) == 350 << 10)
        #expect(MemoryLimit.free(meminfo: "MemAvailable: 300 kB\n") == 300 << 10)
        #expect(MemoryLimit.free(meminfo: "MemTotal: 300 kB\n") == nil)
        #if os(Linux)
            #expect((MemoryLimit.available ?? 0) > 1 << 20)
        #endif
        #expect(throws: CARLError.self) { try MemoryLimit.require(1 << 55, for: "a test") }
    }

    /// The least of the group and of those around it; pages of files that can be dropped count as free.
    @Test func controlGroupsLimitMemory() throws {
        let root = NSTemporaryDirectory() + "carl-groups-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        func write(_ group: String, _ files: [String: String]) throws {
            try FileManager.default.createDirectory(atPath: root + group, withIntermediateDirectories: true)
            for (name, text) in files {
                try text.write(toFile: "\(root)\(group)/\(name)", atomically: false, encoding: .utf8)
            }
        }
        try write("/a", ["memory.max": "max\n", "memory.current": "5000\n"])
        #expect(ControlGroup.memory(membership: "0::/a/b\n", root: root) == nil)
        try write(
            "/a/b", ["memory.max": "10000\n", "memory.current": "4000\n", "memory.stat": "anon 1\ninactive_file 500\n"])
        #expect(ControlGroup.memory(membership: "0::/a/b\n", root: root) == 6500)
        try write("/a", ["memory.max": "6000\n"])
        #expect(ControlGroup.memory(membership: "0::/a/b\n", root: root) == 1000)
        try write("/memory/c", ["memory.limit_in_bytes": "900\n", "memory.usage_in_bytes": "1000\n"])
        #expect(ControlGroup.memory(membership: "3:cpu,memory:/c\n", root: root) == 0)
    }

    /// Kernels that hold two blocks at a time have two between them, whatever their sizes, and soon allocate nothing.
    @Test func kernelsShareBlocks() throws {
        let workspace = Workspace()
        let kernels = [(600, 8000), (37_000, 1300), (5000, 39_000), (10, 39_000), (38_000, 20), (0, 1)]
        var settled = 0
        for round in 0..<4 {
            if round == 1 { settled = workspace.allocations }
            for (first, second) in kernels {
                let blocks = (try workspace.takePassing(first), try workspace.takePassing(second))
                #expect(blocks.0.count == first && blocks.1.count == second)
                #expect(blocks.0.capacity >= first && blocks.1.capacity >= second && blocks.0 !== blocks.1)
                workspace.givePassing(blocks.1)
                workspace.givePassing(blocks.0)
            }
            #expect(workspace.bytes <= 2 * 39_000 * 4)
        }
        #expect(workspace.allocations == settled)
        workspace.trim()
        #expect(workspace.bytes == 0)
    }

    /// Batches of every size up to 128 keep little more than the largest needs.
    @Test func varyingBatchesKeepOneSetOfMemory() throws {
        let trainer = try Trainer(
            Configuration(json: #"{"width": 0.25, "prototypes": 4, "view_size": 16, "projector": [8], "threads": 1}"#))
        let encoder = try Evaluator(copying: trainer, teacher: false)
        let images = [Float](repeating: 0.5, count: 128 * 16 * 16 * 3)
        var out = [Float](repeating: 0, count: 128 * (try encoder.width(.features)))
        func embed(_ count: Int) throws {
            try images.withUnsafeBufferPointer {
                try encoder.embed(
                    FloatImages($0.baseAddress!, batch: count, height: 16, width: 16, channels: 3), .features,
                    into: &out)
            }
        }
        try embed(128)
        let full = encoder.compute.workspace.bytes
        for count in 1...128 { try embed(count * 37 % 128 + 1) }
        #expect(encoder.compute.workspace.bytes <= full + full / 2)
        let allocations = encoder.compute.workspace.allocations
        for _ in 0..<3 { try embed(128) }
        try embed(128)
        #expect(encoder.compute.workspace.allocations <= allocations + 64)
        for _ in 0..<3 { try embed(7) }
        let settled = encoder.compute.workspace.allocations
        for _ in 0..<3 { try embed(7) }
        #expect(encoder.compute.workspace.allocations == settled)
    }
}
