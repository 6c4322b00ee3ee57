// swift-tools-version: 6.3
import PackageDescription

// A package of its own, built with -sanitize=fuzzer,address: libFuzzer brings main (make fuzz-readers).
let package = Package(
    name: "fuzz-readers",
    dependencies: [.package(name: "carl", path: "../..")],
    targets: [
        .executableTarget(
            name: "FuzzReaders", dependencies: [.product(name: "CARL", package: "carl")],
            swiftSettings: [.unsafeFlags(["-parse-as-library"])])
    ],
    swiftLanguageModes: [.v5]
)
