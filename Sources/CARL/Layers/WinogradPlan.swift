/// How a Winograd convolution is cut up: by the shape alone, so that results do not depend on the number of threads.
///
/// A part is some tile rows. Mostly one thread takes a part through all steps, its transformed tiles in cache. Where the
/// transformed filters are large against the tiles, reading all of them for every part costs more than that saves: then
/// the threads share the matrix products of a stage of several parts, and each position's filters are read once a stage.
/// The same serves where there are too few tiles for parts large enough for a good matrix product.
struct WinogradPlan {
    let grid: WinogradGrid
    let rowsPerPart: Int
    let partsPerStage: Int

    // Measured with two cores of 32 KiB first and 512 KiB second level cache, 16 to 512 channels, 4x4 to 32x32 pixels.
    // Half or twice the numbers of tiles cost some per cent.
    private static let tilesPerPart = 128
    private static let tilesPerStagedPart = 16
    private static let tilesPerStage = 256
    private static let tilesPerWeightGradientStage = 192
    private static let fewTiles = 1024
    private static let manyFilters = 256 * 256

    init(_ shape: ConvolutionShape) {
        grid = WinogradGrid(shape)
        let staged =
            shape.inChannels * shape.outChannels >= WinogradPlan.manyFilters || grid.tiles < WinogradPlan.fewTiles
        // Of parts that are not staged there are sixteen at least, for the sake of an even load.
        let tiles = staged ? WinogradPlan.tilesPerStagedPart : min(WinogradPlan.tilesPerPart, grid.tiles / 16)
        rowsPerPart = max(1, tiles / grid.tilesAcross)
        partsPerStage = staged ? max(1, WinogradPlan.tilesPerStage / (rowsPerPart * grid.tilesAcross)) : 1
    }

    /// Whether this method is possible for a shape and faster than `PatchConvolution`: false for tiles that lie mostly
    /// outside tiny images, for few channels, and for so few pixels that transforming the filters outweighs the rest.
    static func pays(_ shape: ConvolutionShape) -> Bool {
        guard shape.kernel == 3 && shape.stride == 1 && shape.padding == 1 else { return false }
        let grid = WinogradGrid(shape)
        // Costs in multiply-adds of the direct method that take as long, fitted to measurements.
        let perTile: Double = 40
        let perFilter: Double = 1000
        let perTransform: Double = 2240
        // Transforms of a tile: of eight channels, and of single ones where fewer are left.
        func transforms(_ channels: Int) -> Double { Double(channels / 8 + channels % 8) }
        let filters = Double(shape.inChannels) * Double(shape.outChannels)
        let tiles = Double(grid.tiles)
        let cost =
            filters * (perTile * tiles + perFilter)
            + tiles * perTransform * (transforms(shape.inChannels) + transforms(shape.outChannels))
        return cost < shape.operations / 2
    }

    var parts: Int { (grid.tileRows + rowsPerPart - 1) / rowsPerPart }
    var tilesPerStage: Int { min(rowsPerPart * partsPerStage, grid.tileRows) * grid.tilesAcross }

    /// Tile rows of a part.
    func rows(_ part: Int) -> Range<Int> { part * rowsPerPart..<min(grid.tileRows, (part + 1) * rowsPerPart) }

    /// Tile rows transformed at a time for the weight gradient.
    static func weightGradientRows(_ grid: WinogradGrid) -> Int {
        min(grid.tileRows, max(1, tilesPerWeightGradientStage / grid.tilesAcross))
    }

    /// Distance of positions for `count` values each: whole cache lines, and one more than a power of two, for which
    /// writing a tile's 36 positions would keep to the same few sets of the cache.
    static func stride(_ count: Int) -> Int { (count + 15) / 16 * 16 + 16 }
}
