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
        if let quota = ControlGroup.quota(membership: SystemFile.read("/proc/self/cgroup") ?? "") {
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
    static var processors: Int {
        #if os(Linux)
        // The allowed list may name processors that could be plugged in but are not there.
        let label = "Cpus_allowed_list:"
        if let line = SystemFile.read("/proc/self/status")?.split(separator: "\n").first(where: { $0.hasPrefix(label) }),
            let online = SystemFile.read("/sys/devices/system/cpu/online")
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
}
