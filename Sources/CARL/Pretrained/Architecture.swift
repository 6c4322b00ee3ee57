/// Which encoder a file's tensors are of: its configuration keys, and the size of the images it was made for.
struct Architecture {
    let path: String
    let family: WeightsFamily
    /// What stands in front of the names in the file.
    let prefix: String
    /// By the names of this library.
    let sources: [String: PretrainedWeights.Source]
    /// The norm stands behind the mean over the patches.
    let pooledFirst: Bool

    private func unfit(_ what: String) -> CARLError { .file("'\(path)' is \(family.title), but \(what)") }

    /// A tensor's shape, which must have so many dimensions, none of them 0.
    private func shape(_ name: String, _ dimensions: Int, _ meaning: String) throws -> [Int] {
        guard let source = sources[name] else { throw unfit("has no \(name)") }
        guard let shape = source.shape, shape.count == dimensions, shape.allSatisfy({ $0 > 0 }) else {
            throw unfit("\(name) has shape \(source.shape ?? []); it should be \(meaning)")
        }
        return shape
    }

    /// The numbers n for which there is a tensor `prefix`n.something: how many, if they are 0, 1, ... without a gap.
    private func count(_ prefix: String) throws -> Int {
        var numbers = Set<Int>()
        for name in sources.keys where name.hasPrefix(prefix) {
            let rest = name.dropFirst(prefix.count)
            if let number = Int(rest.prefix { $0 != "." }) { numbers.insert(number) }
        }
        guard let last = numbers.max() else { return 0 }
        guard numbers.min() == 0, last == numbers.count - 1 else {
            throw unfit("of \(prefix)0 to \(prefix)\(last) only \(numbers.count) are there")
        }
        return numbers.count
    }

    // MARK: ResNet

    func resnet() throws -> (keys: JSONObject, size: Int) {
        let first = try shape("conv1.weight", 4, "(channels, in, height, width)")
        let stem: EncoderStem
        switch (first[2], first[3]) {
        case (7, 7): stem = .imagenet
        case (3, 3): stem = .small
        default:
            throw unfit("its first layer has a kernel of \(first[2])x\(first[3]); 7x7 and 3x3 are known")
        }
        let blocks = try (1...4).map { try count("layer\($0).") }
        let bottleneck = sources["layer1.0.conv3.weight"] != nil
        let kind: EncoderKind
        switch (blocks, bottleneck) {
        case ([2, 2, 2, 2], false): kind = .resnet18
        case ([3, 4, 6, 3], false): kind = .resnet34
        case ([3, 4, 6, 3], true): kind = .resnet50
        default:
            throw unfit(
                """
                its stages have \(blocks) \(bottleneck ? "bottleneck" : "basic") blocks: ResNet-18, -34 and -50 are \
                known
                """)
        }
        guard first[0] <= 16 * 64, first[1] <= 1024 else {
            throw unfit("conv1.weight has shape \(first): at most 1024 channels on either side are possible")
        }
        let keys: [(String, JSONValue)] = [
            ("encoder", kind.json), ("stem", stem.json), ("width", (Double(first[0]) / 64).json),
            ("in_channels", first[1].json),
        ]
        return (JSONObject(keys), stem == .imagenet ? 224 : 32)
    }

    // MARK: Vision transformer

    /// What MoCo v3 puts around its encoders.
    private static let mocoWrappers: [Substring] = ["base_encoder", "momentum_encoder"]

    /// Width and depth of those that there are.
    private static let transformers: [(name: String, width: Int, depth: Int)] = [
        ("vit_tiny", 192, 12), ("vit_small", 384, 12), ("vit_base", 768, 12), ("vit_large", 1024, 24),
    ]

    func transformer() throws -> (keys: JSONObject, size: Int) {
        let missing = ["cls_token", "pos_embed", "patch_embed.proj.weight"].filter { sources[$0] == nil }
        guard missing.isEmpty else { throw unfit("has no \(missing.joined(separator: ", no "))") }
        let patch = try shape("patch_embed.proj.weight", 4, "(width, in, patch, patch)")
        let depth = try count("blocks.")
        guard patch[2] == patch[3] else { throw unfit("its patches are of \(patch[2])x\(patch[3]), not square") }
        guard let known = Self.transformers.first(where: { $0.width == patch[0] && $0.depth == depth }) else {
            let list = Self.transformers.map { "\($0.name) (\($0.width), \($0.depth))" }.joined(separator: ", ")
            throw unfit("it is \(patch[0]) wide and \(depth) blocks deep; \(list) are known")
        }
        if known.name == "vit_small", prefix.split(separator: ".").contains(where: { Self.mocoWrappers.contains($0) }) {
            throw unfit("MoCo v3's ViT-S has 12 heads of 32 values; heads of 64 are known, which a file does not say")
        }
        guard patch[1] <= 1024, patch[2] <= 64 else {
            throw unfit(
                "patch_embed.proj.weight has shape \(patch): at most 1024 channels and 64 pixels a side are possible")
        }
        let positions = try shape("pos_embed", 3, "(1, positions, width)")
        guard let grid = PositionRows.grid(positions[1]), grid <= 256 else {
            throw unfit("pos_embed has \(positions[1]) rows: neither g * g nor 1 + g * g of a grid of g up to 256")
        }
        let registers = sources["reg_token"] == nil ? 0 : try shape("reg_token", 3, "(1, registers, width)")[1]
        guard registers <= 64 else { throw unfit("it has \(registers) registers; at most 64 are possible") }
        let keys: [(String, JSONValue)] = [
            ("encoder", .string(known.name)), ("patch_size", patch[2].json), ("in_channels", patch[1].json),
            ("registers", registers.json),
            // its first value means nothing here: the file has the values
            ("layer_scale", sources["blocks.0.ls1.gamma"] == nil ? .null : .number(1e-5)),
            ("pool", .string(pooledFirst ? "mean" : "class")), ("position_grid", grid.json),
        ]
        let (size, overflow) = grid.multipliedReportingOverflow(by: patch[2])
        guard !overflow, size <= 4096 else {
            throw unfit("its positions are of images of \(grid) times \(patch[2]) pixels; at most 4096 are possible")
        }
        return (JSONObject(keys), size)
    }
}

/// The rows of a table of positions: one for each patch of a square grid, or one for the class token in front of them.
enum PositionRows {
    /// Patches of a side; nil where neither fits.
    static func grid(_ rows: Int) -> Int? { side(rows) ?? side(rows - 1) }

    static func hasClassRow(_ rows: Int) -> Bool { side(rows) == nil }

    private static func side(_ count: Int) -> Int? {
        guard count > 0 else { return nil }
        let side = Int(Double(count).squareRoot().rounded())
        let (square, overflow) = side.multipliedReportingOverflow(by: side)
        return !overflow && square == count ? side : nil
    }
}
