/// What this library is and how it was built.
public enum BuildInfo {
    /// {"version", "abi", "target", "compiler", "configuration", "blas", "threads", "configuration_keys"}: "target" is
    /// the instruction set built for, "configuration" "debug" or "release", "threads" what 0 threads stand for.
    ///
    /// - Parameter version, abi: given back as they are.
    public static func json(version: String, abi: Int) -> JSONValue {
        #if arch(x86_64) && CARL_AVX512
            let target = "x86-64-v4"
        #elseif arch(x86_64)
            let target = "x86-64-v3"
        #elseif arch(arm64)
            let target = "arm64"
        #else
            let target = "unknown"
        #endif
        let compiler = "Swift 6.3 or newer"
        #if DEBUG
            let configuration = "debug"
        #else
            let configuration = "release"
        #endif
        return [
            "version": .string(version), "abi": .number(Double(abi)), "target": .string(target),
            "compiler": .string(compiler),
            "configuration": .string(configuration), "blas": .string("built in"),
            "threads": .number(Double(ThreadCount.available)),
            "configuration_keys": .array(Configuration.keys.map { .string($0) }),
        ]
    }
}
