/// How much memory this process may still take before the system ends it or another one.
///
/// Under overcommit an allocation succeeds and the process is killed when it writes to it. So what is planned is compared with what is
/// there beforehand. That is no promise: other processes take memory too.
enum MemoryLimit {
    /// Bytes that can still be had; nil where the system does not say.
    static var available: Int? {
        #if os(Linux)
            let system = SystemFile.read("/proc/meminfo").flatMap { free(meminfo: $0) }
            let group = ControlGroup.memory(membership: SystemFile.read("/proc/self/cgroup") ?? "")
            return [system, group].compactMap { $0 }.min()
        #else
            return nil
        #endif
    }

    /// - Throws: `CARLError.outOfMemory` that tells what is wanted and what is there, when it is more.
    static func require(_ bytes: Int, for what: @autoclosure () -> String) throws {
        guard let available, bytes > available else { return }
        throw CARLError.outOfMemory("\(what()) would take \(megabytes(bytes)) of memory, and \(megabytes(available)) are available")
    }

    private static func megabytes(_ bytes: Int) -> String { "\((bytes + (1 << 20) - 1) >> 20) MiB" }

    /// Memory that can be had without swapping, and free swap, from the text of `/proc/meminfo`.
    static func free(meminfo: String) -> Int? {
        func kilobytes(_ label: String) -> Int? {
            meminfo.split(separator: "\n").first { $0.hasPrefix(label) }?.split(whereSeparator: \.isWhitespace).dropFirst().first
                .flatMap { Int($0) }
        }
        return kilobytes("MemAvailable:").map { min($0 + (kilobytes("SwapFree:") ?? 0), Int.max >> 11) << 10 }
    }
}
