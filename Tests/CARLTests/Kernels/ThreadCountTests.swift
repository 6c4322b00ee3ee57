import Glibc
import Testing

@testable import CARL

/// A made-up tree of control groups.
private final class Groups {
    let root: String
    private var folders: [String] = []
    private var files: [String] = []

    init() throws {
        var template = Array("/tmp/carl-groups-XXXXXX".utf8CString)
        root = String(cString: try #require(mkdtemp(&template)))
    }
    deinit {
        for file in files { unlink(file) }
        for folder in folders.reversed() { rmdir(folder) }
        rmdir(root)
    }
    func write(_ text: String, to path: String) throws {
        var folder = root
        for part in path.split(separator: "/").dropLast() {
            folder += "/\(part)"
            if mkdir(folder, 0o700) == 0 { folders.append(folder) }
        }
        files.append("\(root)/\(path)")
        try FileOutput.replace("\(root)/\(path)", with: text)
    }
}

@Suite struct ThreadCountTests {
    @Test func readsTheEnvironmentVariable() {
        #expect(ThreadCount.requested("3") == 3)
        #expect(ThreadCount.requested(" 12\n") == 12)
        #expect(ThreadCount.requested("100000") == 1024)
        for text in ["", " ", "0", "-2", "two", "1.5", "99999999999999999999"] { #expect(ThreadCount.requested(text) == nil) }
    }

    @Test func quotasBecomeWholeThreads() {
        #expect([0.1, 1, 1.01, 2.5, 1e300, .infinity, .nan].map { ThreadCount.whole($0) } == [1, 1, 2, 3, 1024, 1024, 1024])
    }

    @Test func readsProcessorLists() {
        #expect(ThreadCount.processorList("\t0-3,8,10-11\n") == [0...3, 8...8, 10...11])
        for text in ["", "-", "a", "3-1", "-1", "1-2-3", "0-99999999999", "99999999999999999999"] {
            #expect(ThreadCount.processorList(text[...]).isEmpty)
        }
        #expect(ThreadCount.common([0...127], [0...1]) == 2)
        #expect(ThreadCount.common([0...3, 8...8, 10...11], [2...8, 11...20]) == 4)
        #expect(ThreadCount.common([5...6], [0...4]) == 0)
    }

    @Test func readsVersionTwo() throws {
        let groups = try Groups()
        #expect(ControlGroup.quota(membership: "0::/", root: groups.root) == nil)
        try groups.write("max 100000\n", to: "cpu.max")
        #expect(ControlGroup.quota(membership: "0::/", root: groups.root) == nil)
        try groups.write("400000 100000\n", to: "user.slice/cpu.max")
        try groups.write("max 100000\n", to: "user.slice/run:1.scope/cpu.max")
        // the limit of the group around it holds
        #expect(ControlGroup.quota(membership: "0::/user.slice/run:1.scope\n", root: groups.root) == 4)
        try groups.write("150000 100000\n", to: "user.slice/run:1.scope/cpu.max")
        #expect(ControlGroup.quota(membership: "0::/user.slice/run:1.scope\n", root: groups.root) == 1.5)
        #expect(ControlGroup.quota(membership: "0::/other\n", root: groups.root) == nil)
        // in a container the mount is the group itself
        try groups.write("50000 100000\n", to: "cpu.max")
        #expect(ControlGroup.quota(membership: "0::/not/mounted/here", root: groups.root) == 0.5)
    }

    @Test func readsVersionOne() throws {
        let groups = try Groups()
        try groups.write("-1\n", to: "cpu/cpu.cfs_quota_us")
        try groups.write("100000\n", to: "cpu/cpu.cfs_period_us")
        #expect(ControlGroup.quota(membership: "", root: groups.root) == nil)
        try groups.write("250000\n", to: "cpu/docker/x/cpu.cfs_quota_us")
        try groups.write("100000\n", to: "cpu/docker/x/cpu.cfs_period_us")
        #expect(ControlGroup.quota(membership: "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n", root: groups.root) == 2.5)
        #expect(ControlGroup.quota(membership: "5:cpuset:/docker/x", root: groups.root) == nil)
        try groups.write("300000\n", to: "cpu/cpu.cfs_quota_us")
        #expect(ControlGroup.quota(membership: "", root: groups.root) == 3)
    }

    @Test func brokenFilesLimitNothing() throws {
        let groups = try Groups()
        for text in ["", "max", "nan 1", "100000 0", "-5 100000", "1 2 3", "99999999999999999999 1", "\u{0}\u{ff}"] {
            try groups.write(text, to: "cpu.max")
            #expect(ControlGroup.quota(membership: "::\n0\n:::::\n0::../../..\n\n", root: groups.root) == nil)
        }
    }

    @Test func someThreadIsAvailable() { #expect(ThreadCount.available >= 1 && ThreadCount.available <= 1024) }
}
