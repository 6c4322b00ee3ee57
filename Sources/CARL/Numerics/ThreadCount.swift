#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// How many threads the library may use when nobody says.
public enum ThreadCount {
    /// `CARL_NUM_THREADS` if it is a positive number, else the processors this process may run on,
    /// limited by the control group's CPU quota (as set by containers).
    public static var available: Int {
        if let text = getenv("CARL_NUM_THREADS"), let count = Int(String(cString: text)), count > 0 {
            return min(count, 1024)
        }
        var count = processors
        if let quota = controlGroupQuota { count = min(count, max(1, Int(quota.rounded(.up)))) }
        return max(1, count)
    }

    private static var processors: Int {
        #if os(Linux)
        if let status = smallFile("/proc/self/status", limit: 8192),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("Cpus_allowed:") })
        {
            // hexadecimal words of a bit mask, separated by commas
            let count = line.dropFirst("Cpus_allowed:".count).reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) }
            if count > 0 { return count }
        }
        #endif
        return Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    }

    /// CPUs granted by cgroup v2 (`cpu.max`) or v1 (`cpu.cfs_quota_us`), nil when unlimited.
    private static var controlGroupQuota: Double? {
        if let text = smallFile("/sys/fs/cgroup/cpu.max") {
            let parts = text.split(whereSeparator: \.isWhitespace)
            if parts.count == 2, let quota = Double(parts[0]), let period = Double(parts[1]), period > 0 {
                return quota / period
            }
            return nil
        }
        if let quota = smallFile("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").flatMap({ Double($0.filter { !$0.isWhitespace }) }),
            let period = smallFile("/sys/fs/cgroup/cpu/cpu.cfs_period_us").flatMap({ Double($0.filter { !$0.isWhitespace }) }),
            quota > 0, period > 0
        {
            return quota / period
        }
        return nil
    }

    private static func smallFile(_ path: String, limit: Int = 256) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes = [CChar](repeating: 0, count: limit)
        let count = fread(&bytes, 1, limit - 1, file)
        return String(decoding: bytes[0..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
