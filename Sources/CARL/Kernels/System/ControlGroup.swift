/// What Linux control groups, version 2 or 1, let a process use: the least that the group and the groups around it allow.
enum ControlGroup {
    /// Processors granted (`cpu.max`, or `cpu.cfs_quota_us`); nil when unlimited.
    ///
    /// - Parameters:
    ///   - membership: the text of `/proc/self/cgroup`, lines of `number:controllers:path`.
    ///   - root: where the groups are mounted. Inside a container that is the container's own group, whatever path the
    ///     membership names.
    static func quota(membership: String, root: String = "/sys/fs/cgroup") -> Double? {
        groups("cpu", membership: membership, root: root)
            .compactMap { $0.unified ? unifiedQuota("\($0.folder)/cpu.max") : legacyQuota($0.folder) }.min()
    }

    /// Bytes of memory that may still be taken: the limit less what is in use and cannot be dropped; nil when unlimited.
    static func memory(membership: String, root: String = "/sys/fs/cgroup") -> Int? {
        groups("memory", membership: membership, root: root).compactMap { group in
            let names =
                group.unified
                ? ("memory.max", "memory.current", "inactive_file")
                : ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            guard let limit = number("\(group.folder)/\(names.0)"), let used = number("\(group.folder)/\(names.1)") else { return nil }
            // Pages of files that nobody has used lately make room for others.
            let label = names.2 + " "
            let dropped = SystemFile.read("\(group.folder)/memory.stat")?.split(separator: "\n").first { $0.hasPrefix(label) }
                .flatMap { Int($0.dropFirst(label.count)) }
            return max(0, limit - max(0, used - (dropped ?? 0)))
        }.min()
    }

    /// The folders of the groups a process is in, innermost last.
    private static func groups(_ controller: String, membership: String, root: String) -> [(folder: String, unified: Bool)] {
        var groups = [(root, true), ("\(root)/\(controller)", false)]
        for line in membership.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let unified = fields[1].isEmpty
            guard unified || fields[1].split(separator: ",").contains(where: { $0 == controller }) else { continue }
            var path = unified ? root : "\(root)/\(controller)"
            for group in fields[2].split(separator: "/").prefix(64) {
                path += "/\(group)"
                groups.append((path, unified))
            }
        }
        return groups
    }

    /// `cpu.max` holds "QUOTA PERIOD" in microseconds, or "max PERIOD".
    private static func unifiedQuota(_ path: String) -> Double? {
        guard let words = SystemFile.read(path)?.split(whereSeparator: \.isWhitespace), words.count == 2 else { return nil }
        return ratio(Int(words[0]), Int(words[1]))
    }

    /// `cpu.cfs_quota_us` is -1 when there is no limit.
    private static func legacyQuota(_ folder: String) -> Double? {
        ratio(number("\(folder)/cpu.cfs_quota_us"), number("\(folder)/cpu.cfs_period_us"))
    }

    /// The number that a file holds; nil for "max" and for none.
    private static func number(_ path: String) -> Int? {
        SystemFile.read(path)?.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) }
    }

    private static func ratio(_ quota: Int?, _ period: Int?) -> Double? {
        guard let quota, let period, quota > 0, period > 0 else { return nil }
        return Double(quota) / Double(period)
    }
}
