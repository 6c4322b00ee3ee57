#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// How many threads the library may use when nobody says.
public enum ThreadCount {
    /// More threads than this are a mistake.
    static let most = 1024

    /// `CARL_NUM_THREADS` if it is a positive number, else the processors this process may run on,
    /// limited by the control group's CPU quota (as set by containers and systemd).
    public static var available: Int {
        if let text = getenv("CARL_NUM_THREADS"), let count = requested(String(cString: text)) { return count }
        var count = processors
        #if os(Linux)
        if let quota = ControlGroup.quota(membership: smallFile("/proc/self/cgroup") ?? "") {
            count = min(count, whole(quota))
        }
        #endif
        return max(1, min(count, most))
    }

    /// The number of threads in the text of `CARL_NUM_THREADS`, nil when it is no positive number.
    static func requested(_ text: String) -> Int? {
        guard let word = text.split(whereSeparator: \.isWhitespace).first, let count = Int(word), count > 0 else { return nil }
        return min(count, most)
    }

    /// Threads for a quota of so many processors: a part of one counts as one.
    static func whole(_ quota: Double) -> Int { quota > 0 && quota < Double(most) ? Int(quota.rounded(.up)) : most }

    /// Processors that are on and that this process may use (`taskset`, cpusets).
    private static var processors: Int {
        #if os(Linux)
        // The allowed list may name processors that could be plugged in but are not there.
        let label = "Cpus_allowed_list:"
        if let line = smallFile("/proc/self/status")?.split(separator: "\n").first(where: { $0.hasPrefix(label) }),
            let online = smallFile("/sys/devices/system/cpu/online")
        {
            let count = common(processorList(line.dropFirst(label.count)), processorList(online[...]))
            if count > 0 { return count }
        }
        #endif
        return Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    }

    /// The ranges of a list such as "0-3,8"; what is none is left out.
    static func processorList(_ text: Substring) -> [ClosedRange<Int>] {
        text.split(whereSeparator: { $0 == "," || $0.isWhitespace }).compactMap { part in
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2, 0 <= first, first <= last, last < 1 << 20
            else { return nil }
            return first...last
        }
    }

    /// Number of processors in both of two lists, in each of which no processor is named twice.
    static func common(_ a: [ClosedRange<Int>], _ b: [ClosedRange<Int>]) -> Int {
        a.reduce(0) { sum, x in b.reduce(sum) { $0 + max(0, min(x.upperBound, $1.upperBound) - max(x.lowerBound, $1.lowerBound) + 1) } }
    }

    /// The beginning of a file, enough for what the kernel writes of a process or group.
    static func smallFile(_ path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 14)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}

/// The CPU quota of Linux control groups, version 2 (`cpu.max`) or 1 (`cpu.cfs_quota_us`).
enum ControlGroup {
    /// Processors granted to the group and to all groups around it, the least of them; nil when unlimited.
    ///
    /// - Parameters:
    ///   - membership: the text of `/proc/self/cgroup`, lines of `number:controllers:path`.
    ///   - root: where the groups are mounted. Inside a container that is the container's own group, whatever path the
    ///     membership names.
    static func quota(membership: String, root: String = "/sys/fs/cgroup") -> Double? {
        var quotas = [unified("\(root)/cpu.max"), legacy("\(root)/cpu")]
        for line in membership.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let controllers = fields[1].split(separator: ",")
            guard fields[1].isEmpty || controllers.contains("cpu") else { continue }
            var path = ""
            for group in fields[2].split(separator: "/").prefix(64) {
                path += "/\(group)"
                quotas.append(fields[1].isEmpty ? unified("\(root)\(path)/cpu.max") : legacy("\(root)/cpu\(path)"))
            }
        }
        return quotas.compactMap { $0 }.min()
    }

    /// `cpu.max` holds "QUOTA PERIOD" in microseconds, or "max PERIOD".
    private static func unified(_ path: String) -> Double? {
        guard let words = ThreadCount.smallFile(path)?.split(whereSeparator: \.isWhitespace), words.count == 2 else { return nil }
        return ratio(Int(words[0]), Int(words[1]))
    }

    /// `cpu.cfs_quota_us` is -1 when there is no limit.
    private static func legacy(_ folder: String) -> Double? {
        func number(_ name: String) -> Int? {
            ThreadCount.smallFile("\(folder)/\(name)")?.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) }
        }
        return ratio(number("cpu.cfs_quota_us"), number("cpu.cfs_period_us"))
    }

    private static func ratio(_ quota: Int?, _ period: Int?) -> Double? {
        guard let quota, let period, quota > 0, period > 0 else { return nil }
        return Double(quota) / Double(period)
    }
}
