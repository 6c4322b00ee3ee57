/// The 4x4 tiles of the images of one batch, and the transforms of contiguous rows of them.
///
/// A tile row is a row of tiles of one image; tile rows count on from image to image, so a range of them is a contiguous
/// range of pixels. Tiles at the right and lower edge may stick out of the image.
struct WinogradGrid {
    let batch: Int
    let height: Int
    let width: Int
    /// Tile rows of an image.
    let tilesDown: Int
    /// Tiles of a tile row.
    let tilesAcross: Int

    init(_ shape: ConvolutionShape) {
        batch = shape.batch
        height = shape.height
        width = shape.width
        tilesDown = (height + 3) / 4
        tilesAcross = (width + 3) / 4
    }

    var tileRows: Int { batch * tilesDown }
    var tiles: Int { tileRows * tilesAcross }

    /// The first pixel of a tile row, or with `tileRows` the number of pixels.
    func firstPixel(_ tileRow: Int) -> Int {
        (tileRow / tilesDown * height + min(height, tileRow % tilesDown * 4)) * width
    }

    /// Transforms the tiles of tile rows `rows` of x (pixels, channels), which overlap by two pixels, to `v`: position p of
    /// tile t, counted from the first of `rows`, is the `channels` values at `p * stride + t * channels`.
    ///
    /// - Parameter zeros: `channels` zeros, which stand for the pixels outside the image.
    func transformInput(
        _ x: UnsafePointer<Float>, _ channels: Int, _ rows: Range<Int>, _ v: FloatPointer, _ stride: Int,
        zeros: UnsafePointer<Float>
    ) {
        withPixels { pixels, half in
            var target = v
            forEachTile(rows) { image, top, left in
                point(pixels, 6, x + image &* height &* width &* channels, channels, top &- 1, left &- 1, zeros)
                WinogradTransforms.inputTile(pixels, channels, target, stride, half)
                target += channels
            }
        }
    }

    /// Transforms the tiles of tile rows `rows` of dy (pixels, channels) to `m`, laid out as `transformInput` does.
    func transformOutputGradient(
        _ dy: UnsafePointer<Float>, _ channels: Int, _ rows: Range<Int>, _ m: FloatPointer, _ stride: Int,
        zeros: UnsafePointer<Float>
    ) {
        withPixels { pixels, half in
            var target = m
            forEachTile(rows) { image, top, left in
                point(pixels, 4, dy + image &* height &* width &* channels, channels, top, left, zeros)
                WinogradTransforms.outputGradientTile(pixels, channels, target, stride, half)
                target += channels
            }
        }
    }

    /// Transforms products `m`, laid out as `transformInput` does, back to the pixels of tile rows `rows` of y (pixels,
    /// channels): written, or added.
    func transformOutput(
        _ m: UnsafePointer<Float>, _ stride: Int, _ channels: Int, _ rows: Range<Int>, _ y: FloatPointer, accumulate: Bool
    ) {
        WinogradTransforms.withHalf { half in
            var source = m
            forEachTile(rows) { image, top, left in
                WinogradTransforms.outputTile(
                    source, stride, channels, y + ((image &* height &+ top) &* width &+ left) &* channels,
                    rowStride: width &* channels, rows: min(4, height &- top), columns: min(4, width &- left),
                    accumulate: accumulate, half)
                source += channels
            }
        }
    }

    /// Calls `body` with the image, the upper and the left pixel of each tile of tile rows `rows`.
    @inline(__always)
    private func forEachTile(_ rows: Range<Int>, _ body: (_ image: Int, _ top: Int, _ left: Int) -> Void) {
        for row in rows {
            let image = row / tilesDown
            let top = (row &- image &* tilesDown) &* 4
            for tile in 0..<tilesAcross { body(image, top, tile &* 4) }
        }
    }

    /// Lends memory for a tile's pointers, and for the transforms.
    @inline(__always)
    private func withPixels(_ body: (_ pixels: WinogradTransforms.Pixels, _ half: FloatPointer) -> Void) {
        withUnsafeTemporaryAllocation(of: UnsafePointer<Float>.self, capacity: 36) { buffer in
            WinogradTransforms.withHalf { half in body(buffer.baseAddress!, half) }
        }
    }

    /// Points `pixels` at the `size` x `size` pixels from (`top`, `left`) of an image.
    @inline(__always)
    private func point(
        _ pixels: WinogradTransforms.Pixels, _ size: Int, _ image: UnsafePointer<Float>, _ channels: Int, _ top: Int,
        _ left: Int, _ zeros: UnsafePointer<Float>
    ) {
        if top >= 0 && left >= 0 && top &+ size <= height && left &+ size <= width {
            for i in 0..<size {
                let row = image + ((top &+ i) &* width &+ left) &* channels
                for j in 0..<size { pixels[i &* size &+ j] = row + j &* channels }
            }
            return
        }
        for i in 0..<size {
            let y = top &+ i
            let rowInside = y >= 0 && y < height
            for j in 0..<size {
                let x = left &+ j
                pixels[i &* size &+ j] = rowInside && x >= 0 && x < width ? image + (y &* width &+ x) &* channels : zeros
            }
        }
    }
}
