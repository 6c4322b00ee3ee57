// swift-tools-version: 6.3
import PackageDescription

// A program that uses the CARL library. In a project of your own, name the library by the path of its checkout, or by a
// branch.
let package = Package(
    name: "TrainAndEmbed",
    dependencies: [.package(name: "carl", path: "../..")],
    targets: [
        .executableTarget(name: "TrainAndEmbed", dependencies: [.product(name: "CARL", package: "carl")])
    ]
)
