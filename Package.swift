// swift-tools-version: 6.3
import PackageDescription

// The kernels are compiled for AVX2 and FMA: without an FMA target Swift's fused multiply-add is a call into libm.
// carl_check_cpu() reports an older processor as an error before any such instruction runs.
// CARL_X86_64_LEVEL=4 builds for AVX-512 instead; that library serves the processors that have it beside the other one.
#if arch(x86_64)
    let wide = Context.environment["CARL_X86_64_LEVEL"] == "4"
    let kernelFlags: [SwiftSetting] =
        wide
        ? [.unsafeFlags(["-Xcc", "-march=x86-64-v4", "-Xcc", "-mprefer-vector-width=512"]), .define("CARL_AVX512")]
        : [.unsafeFlags(["-Xcc", "-march=x86-64-v3"])]
    let headerFlags: [CSetting] = wide ? [.define("CARL_AVX512")] : []
#else
    let kernelFlags: [SwiftSetting] = []
    let headerFlags: [CSetting] = []
#endif

// What is shipped holds neither unused code nor symbols; a sanitizer's report needs the names (make sanitize sets
// CARL_SANITIZE=1).
let sizeFlags = Context.environment["CARL_SANITIZE"] == nil ? ["-Xlinker", "--gc-sections", "-Xlinker", "-s"] : []

let package = Package(
    name: "carl",
    products: [
        .library(name: "CARL", targets: ["CARL"]),
        .library(name: "carl", type: .dynamic, targets: ["CARLInterface"]),
    ],
    targets: [
        .systemLibrary(
            name: "COpenBLAS", pkgConfig: "openblas",
            providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CMachine"),
        .systemLibrary(name: "CBFloat16"),
        .target(name: "CARLHeader", cSettings: headerFlags),
        .target(name: "CARL", dependencies: ["CMachine", "CBFloat16"], swiftSettings: kernelFlags),
        .target(
            name: "CARLInterface", dependencies: ["CARL", "CARLHeader", "CMachine"], exclude: ["exports.map"],
            swiftSettings: kernelFlags,
            linkerSettings: [
                .unsafeFlags(
                    [
                        "-static-stdlib",
                        "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/CARLInterface/exports.map",
                        "-Xlinker", "-soname=libcarl.so.0",
                        // The threads of the pool run the library's code for as long as the process lives.
                        "-Xlinker", "-z", "-Xlinker", "nodelete",
                    ] + sizeFlags)
            ]),
        .testTarget(
            name: "CARLTests", dependencies: ["CARL", "COpenBLAS"], exclude: ["Views/goldens.json"],
            swiftSettings: kernelFlags),
    ],
    // Kernels share raw memory among the threads of the pool, disjoint by construction: mode 6 has no way to
    // say so.
    swiftLanguageModes: [.v5]
)
