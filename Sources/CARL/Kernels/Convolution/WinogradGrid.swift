/// The tiles of the images of one batch, and the transforms of contiguous rows of them.
///
/// A tile row is a row of tiles of one image; tile rows count on from image to image, so a range of them is a contiguous
/// range of pixels. Tiles at the right and lower edge may stick out of the image.
struct WinogradGrid<Algorithm: WinogradAlgorithm> {
    typealias Size = (height: Int, width: Int)

    let batch: Int
    /// Of the images that are transformed.
    let source: Size
    /// Of the images that result.
    let target: Size
    /// Tile rows of an image.
    let tilesDown: Int
    /// Tiles of a tile row.
    let tilesAcross: Int

    init(batch: Int, source: Size, target: Size) {
        self.batch = batch
        self.source = source
        self.target = target
        tilesDown = (target.height + Algorithm.outputs - 1) / Algorithm.outputs
        tilesAcross = (target.width + Algorithm.outputs - 1) / Algorithm.outputs
    }

    var tileRows: Int { batch * tilesDown }
    var tiles: Int { tileRows * tilesAcross }

    /// The result pixels of tile rows.
    func targetPixels(_ rows: Range<Int>) -> Range<Int> {
        pixels(rows.lowerBound, target, Algorithm.outputs)..<pixels(rows.upperBound, target, Algorithm.outputs)
    }

    /// The source pixels of tile rows but for those that the tile rows before and behind them share.
    func sourcePixels(_ rows: Range<Int>) -> Range<Int> {
        pixels(rows.lowerBound, source, Algorithm.windowStep)..<pixels(rows.upperBound, source, Algorithm.windowStep)
    }

    /// All source pixels that tile rows read.
    func readPixels(_ rows: Range<Int>) -> Range<Int> {
        let last = rows.upperBound - 1
        let top = max(0, rows.lowerBound % tilesDown * Algorithm.windowStep + Algorithm.windowStart)
        let bottom = min(source.height, last % tilesDown * Algorithm.windowStep + Algorithm.windowStart + Algorithm.window)
        return (rows.lowerBound / tilesDown * source.height + top) * source.width..<(last / tilesDown * source.height + bottom) * source.width
    }

    /// At most as many source pixels as `rowCount` tile rows read.
    func mostReadPixels(_ rowCount: Int) -> Int {
        min(batch * source.height, rowCount * Algorithm.windowStep + Algorithm.window) * source.width
    }

    /// Pixels of images of `size` before a tile row, of which each takes `step` rows of pixels.
    private func pixels(_ tileRow: Int, _ size: Size, _ step: Int) -> Int {
        (tileRow / tilesDown * size.height + min(size.height, tileRow % tilesDown * step)) * size.width
    }

    /// Transforms the tiles of tile rows `rows` of x (source pixels, channels), which may overlap, to `v`: position p of
    /// tile t, counted from the first of `rows`, is the `channels` values at `p * stride + t * rowStride`.
    ///
    /// - Parameter zeros: `channels` zeros, which stand for the pixels outside the image.
    func transformInput(
        _ x: UnsafePointer<Float>, _ channels: Int, _ rows: Range<Int>, _ v: FloatPointer, _ stride: Int, rowStride: Int,
        zeros: UnsafePointer<Float>
    ) {
        transformPixels(
            of: x, source, channels, rows, side: Algorithm.window, step: Algorithm.windowStep, start: Algorithm.windowStart,
            to: v, rowStride: rowStride, zeros: zeros
        ) { pixels, tile, half in Algorithm.inputTile(pixels, channels, tile, stride, half) }
    }

    /// Transforms products `m`, laid out as `transformInput` does, back to the pixels of tile rows `rows` of y (target pixels,
    /// channels): written, or added.
    func transformOutput(
        _ m: UnsafePointer<Float>, _ stride: Int, rowStride: Int, _ channels: Int, _ rows: Range<Int>, _ y: FloatPointer,
        accumulate: Bool
    ) {
        WinogradTiles.withHalf { half in
            var source = m
            forEachTile(rows) { image, down, across in
                let (top, left) = (down &* Algorithm.outputs, across &* Algorithm.outputs)
                Algorithm.outputTile(
                    source, stride, channels, y + ((image &* target.height &+ top) &* target.width &+ left) &* channels,
                    rowStride: target.width &* channels, rows: min(Algorithm.outputs, target.height &- top),
                    columns: min(Algorithm.outputs, target.width &- left), accumulate: accumulate, half)
                source += rowStride
            }
        }
    }

    /// Calls `body` with the image, the row and the column of each tile of tile rows `rows`.
    @inline(__always)
    private func forEachTile(_ rows: Range<Int>, _ body: (_ image: Int, _ down: Int, _ across: Int) -> Void) {
        for row in rows {
            let image = row / tilesDown
            let down = row &- image &* tilesDown
            for across in 0..<tilesAcross { body(image, down, across) }
        }
    }

    /// Calls `transform` with the `side` x `side` pixels and the place of each tile of tile rows `rows`.
    ///
    /// - Parameters:
    ///   - size: of the images at `x`.
    ///   - step: pixels from a tile to the next one. start: the first pixel of the first tile.
    @inline(__always)
    private func transformPixels(
        of x: UnsafePointer<Float>, _ size: Size, _ channels: Int, _ rows: Range<Int>, side: Int, step: Int, start: Int,
        to tiles: FloatPointer, rowStride: Int, zeros: UnsafePointer<Float>,
        _ transform: (_ pixels: Algorithm.Pixels, _ tile: FloatPointer, _ half: FloatPointer) -> Void
    ) {
        withUnsafeTemporaryAllocation(of: UnsafePointer<Float>.self, capacity: side * side) { buffer in
            let pixels = buffer.baseAddress!
            WinogradTiles.withHalf { half in
                var tile = tiles
                forEachTile(rows) { image, down, across in
                    Self.point(
                        pixels, side, x + image &* size.height &* size.width &* channels, size, channels, down &* step &+ start,
                        across &* step &+ start, zeros)
                    transform(pixels, tile, half)
                    tile += rowStride
                }
            }
        }
    }

    /// Points `pixels` at the `side` x `side` pixels from (`top`, `left`) of an image.
    @inline(__always)
    private static func point(
        _ pixels: Algorithm.Pixels, _ side: Int, _ image: UnsafePointer<Float>, _ size: Size, _ channels: Int, _ top: Int,
        _ left: Int, _ zeros: UnsafePointer<Float>
    ) {
        if top >= 0 && left >= 0 && top &+ side <= size.height && left &+ side <= size.width {
            for i in 0..<side {
                let row = image + ((top &+ i) &* size.width &+ left) &* channels
                for j in 0..<side { pixels[i &* side &+ j] = row + j &* channels }
            }
            return
        }
        for i in 0..<side {
            let y = top &+ i
            let rowInside = y >= 0 && y < size.height
            for j in 0..<side {
                let x = left &+ j
                let inside = rowInside && x >= 0 && x < size.width
                pixels[i &* side &+ j] = inside ? image + (y &* size.width &+ x) &* channels : zeros
            }
        }
    }
}

extension WinogradGrid where Algorithm: WinogradForwardAlgorithm {
    /// Transforms the tiles of tile rows `rows` of dy (target pixels, channels) to `m`, laid out as `transformInput` does.
    func transformOutputGradient(
        _ dy: UnsafePointer<Float>, _ channels: Int, _ rows: Range<Int>, _ m: FloatPointer, _ stride: Int, rowStride: Int,
        zeros: UnsafePointer<Float>
    ) {
        transformPixels(
            of: dy, target, channels, rows, side: Algorithm.outputs, step: Algorithm.outputs, start: 0, to: m, rowStride: rowStride,
            zeros: zeros
        ) { pixels, tile, half in Algorithm.outputGradientTile(pixels, channels, tile, stride, half) }
    }
}
