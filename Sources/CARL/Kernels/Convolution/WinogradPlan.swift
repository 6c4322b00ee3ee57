/// How a Winograd convolution is cut up: by the shape alone, so that results do not depend on the number of threads.
/// Weight gradients of few filters do: each thread sums a share of the tiles.
///
/// A part is some tile rows. Mostly one thread takes a part through all steps, its transformed tiles in cache. Where
/// the transformed filters are large against the tiles, reading all of them for every part costs more than that saves:
/// then the threads share the matrix products of a stage of several parts, and each position's filters are read once a
/// stage. The same serves where there are too few tiles for parts large enough for a good matrix product.
struct WinogradPlan {
    /// Of tile rows.
    let parts: RowParts
    let partsPerStage: Int
    let tilesPerStage: Int

    // Measured on two cores with 1 MiB of second level cache each, 64 to 512 channels, 4x4 to 32x32 pixels, for tiles
    // of 36 values: multiples of the rows that the matrix product takes at a time. Half or twice the numbers of tiles
    // cost some per cent.
    private static let tilesPerPart = 48
    private static let tilesPerStagedPart = 16
    private static let tilesPerStage = 256
    private static let tilesPerSeparateWeightGradient = 64
    private static let tilesPerWeightGradientStage = 192
    private static let fewTiles = 192
    private static let manyFilters = 100_000
    /// Filters up to which all of them are near for each part of few tiles: no thread then needs what another one has
    /// transformed.
    private static let nearFilters = 64 * 64
    /// Filters up to which each thread sums a weight gradient of its own.
    static let fewFilters = 128 * 256

    init<Algorithm>(_ shape: ConvolutionShape, _ grid: WinogradGrid<Algorithm>) {
        let filters = shape.inChannels * shape.outChannels
        let staged =
            filters >= Self.manyFilters || (grid.tiles < Self.fewTiles && filters > Self.nearFilters)
        // For the sake of an even load there are eight parts that are not staged at least, and four of a small image's.
        let rows: Int
        if staged {
            rows = min(Self.tilesPerStagedPart / grid.tilesAcross, (grid.tileRows + 3) / 4)
        } else {
            rows = min(Self.scaled(Self.tilesPerPart, Algorithm.self), grid.tiles / 8) / grid.tilesAcross
        }
        parts = RowParts(grid.tileRows, size: max(1, rows), groups: shape.groups)
        let stageTiles = Self.scaled(Self.tilesPerStage, Algorithm.self)
        partsPerStage = staged ? max(1, stageTiles / (parts.size * grid.tilesAcross)) : 1
        tilesPerStage = min(parts.size * partsPerStage, grid.tileRows) * grid.tilesAcross
    }

    /// Half as many tiles where a tile has 81 values, three quarters where it has 49.
    private static func scaled<Algorithm: WinogradAlgorithm>(_ tiles: Int, _: Algorithm.Type) -> Int {
        Algorithm.points > 7 ? tiles / 2 : Algorithm.points == 7 ? tiles * 3 / 4 : tiles
    }

    /// Whether this method is possible for a shape and faster than `Im2colConvolution`: false for tiles that lie mostly
    /// outside tiny images, for few channels, and for so few pixels that transforming the filters outweighs the rest.
    static func pays(_ shape: ConvolutionShape) -> Bool {
        cost(shape) < shape.operations / 2
    }

    /// What a forward pass costs, in multiply-adds of the direct method that take as long; infinite where this method
    /// is not possible.
    static func cost(_ shape: ConvolutionShape) -> Double {
        guard shape.kernel == 3 && shape.padding == 1 else { return .infinity }
        guard shape.stride == 1 || shape.stride == 2 else { return .infinity }
        return cost(shape, WinogradMethod(shape))
    }

    static func cost(_ shape: ConvolutionShape, _ method: WinogradMethod) -> Double {
        let (points, filterPoints, outputs) =
            switch method {
            case .stride1(let size): (size.points, size.points, size.outputs)
            case .stride2: (WinogradStride2.points, WinogradStride2.filterPoints, WinogradStride2.outputs)
            }
        let positions = Double(points * points)
        // Fitted to measurements.
        let perProduct: Double = 1.1
        let perFilter = 1000.0 / 36 * Double(filterPoints * filterPoints)
        let perTransform: Double = 62
        // Transforms of a tile: of eight channels, and of single ones where fewer are left.
        func transforms(_ channels: Int) -> Double { Double(channels / 8 + channels % 8) }
        let filters = Double(shape.inChannels) * Double(shape.outChannels)
        func tiled(_ side: Int) -> Double { Double((side + outputs - 1) / outputs) }
        let tiles = Double(shape.batch) * tiled(shape.outHeight) * tiled(shape.outWidth)
        return filters * (perProduct * positions * tiles + perFilter)
            + tiles * perTransform * positions * (transforms(shape.inChannels) + transforms(shape.outChannels))
    }

    /// Tile rows transformed at a time for the weight gradient, by each thread for itself or by all for one another.
    static func weightGradientRows<Algorithm>(_ grid: WinogradGrid<Algorithm>, separate: Bool) -> Int {
        let tiles = scaled(separate ? tilesPerSeparateWeightGradient : tilesPerWeightGradientStage, Algorithm.self)
        return min(grid.tileRows, max(1, tiles / grid.tilesAcross))
    }

    /// Distance of positions for `count` values each: whole cache lines, and one more than a power of two, for which
    /// writing a tile's positions would keep to the same few sets of the cache.
    static func stride(_ count: Int) -> Int { (count + 15) / 16 * 16 + 16 }

    /// Distance of a tile's values of a position from the next tile's: not a multiple of a large power of two, for the
    /// same reason.
    static func rowStride(_ channels: Int) -> Int {
        let whole = (channels + 15) / 16 * 16
        return whole % 32 == 0 ? whole + 16 : whole
    }
}
