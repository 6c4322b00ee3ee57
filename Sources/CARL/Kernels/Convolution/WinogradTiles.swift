/// The two-dimensional transforms of whole tiles, over all channels. A transformed tile's values of a channel lie
/// `stride` values apart.
///
/// `half` is memory for what lies between the transform of the columns and that of the rows: `halfCount` values.
/// Values between those of a vector in `half`.
private let slot = FloatVector.scalarCount

extension WinogradAlgorithm {
    typealias Pixels = UnsafeMutablePointer<UnsafePointer<Float>>

    /// B^T d B of the window x window pixels `pixels`, each `channels` values, to `v`.
    @inline(__always)
    static func inputTile(_ pixels: Pixels, _ channels: Int, _ v: FloatPointer, _ stride: Int, _ half: FloatPointer) {
        WinogradTiles.forEachLane(channels) { c in
            inputTile(FloatVector.self, pixels, c, v + c, stride, half)
        } eight: { c in
            inputTile(Float8.self, pixels, c, v + c, stride, half)
        } single: { c in
            inputTile(Float.self, pixels, c, v + c, stride, half)
        }
    }

    @inline(__always)
    private static func inputTile<V: WinogradLane>(
        _: V.Type, _ pixels: Pixels, _ c: Int, _ v: FloatPointer, _ stride: Int, _ half: FloatPointer
    ) {
        for j in 0..<window {
            let column = half + slot &* j
            input(
                { V.load(pixels[$0 &* window &+ j] + c) }, { (i: Int, x: V) in x.store(column + slot &* window &* i) })
        }
        for i in 0..<points {
            let row = half + slot &* window &* i
            let target = v + points &* i &* stride
            input({ V.load(row + slot &* $0) }, { (j: Int, x: V) in x.store(target + j &* stride) })
        }
    }

    /// A^T m A: the upper left `rows` x `columns` of the outputs x outputs pixels to `y`, or added to it.
    ///
    /// - Parameter rowStride: values from a pixel to the one below it; a pixel to its right is `channels` values away.
    @inline(__always)
    static func outputTile(
        _ m: UnsafePointer<Float>, _ stride: Int, _ channels: Int, _ y: FloatPointer, rowStride: Int, rows: Int,
        columns: Int,
        accumulate: Bool, _ half: FloatPointer
    ) {
        WinogradTiles.forEachLane(channels) { c in
            outputTile(FloatVector.self, m + c, stride, y + c, rowStride, channels, rows, columns, accumulate, half)
        } eight: { c in
            outputTile(Float8.self, m + c, stride, y + c, rowStride, channels, rows, columns, accumulate, half)
        } single: { c in
            outputTile(Float.self, m + c, stride, y + c, rowStride, channels, rows, columns, accumulate, half)
        }
    }

    @inline(__always)
    private static func outputTile<V: WinogradLane>(
        _: V.Type, _ m: UnsafePointer<Float>, _ stride: Int, _ y: FloatPointer, _ rowStride: Int, _ channels: Int,
        _ rows: Int, _ columns: Int, _ accumulate: Bool, _ half: FloatPointer
    ) {
        for j in 0..<points {
            let source = m + j &* stride
            let column = half + slot &* j
            output(
                { V.load(source + $0 &* points &* stride) }, { (i: Int, x: V) in x.store(column + slot &* points &* i) }
            )
        }
        for i in 0..<rows {
            let row = half + slot &* points &* i
            let target = y + i &* rowStride
            output({ V.load(row + slot &* $0) }) { (j: Int, x: V) in
                if j < columns { WinogradTiles.put(x, target + j &* channels, accumulate) }
            }
        }
    }
}

extension WinogradForwardAlgorithm {
    /// A dY A^T of the outputs x outputs pixels `pixels`, each `channels` values, to `m`.
    @inline(__always)
    static func outputGradientTile(
        _ pixels: Pixels, _ channels: Int, _ m: FloatPointer, _ stride: Int, _ half: FloatPointer
    ) {
        WinogradTiles.forEachLane(channels) { c in
            outputGradientTile(FloatVector.self, pixels, c, m + c, stride, half)
        } eight: { c in
            outputGradientTile(Float8.self, pixels, c, m + c, stride, half)
        } single: { c in
            outputGradientTile(Float.self, pixels, c, m + c, stride, half)
        }
    }

    @inline(__always)
    private static func outputGradientTile<V: WinogradLane>(
        _: V.Type, _ pixels: Pixels, _ c: Int, _ m: FloatPointer, _ stride: Int, _ half: FloatPointer
    ) {
        for j in 0..<outputs {
            let column = half + slot &* j
            outputGradient(
                { V.load(pixels[$0 &* outputs &+ j] + c) }, { (i: Int, x: V) in x.store(column + slot &* outputs &* i) }
            )
        }
        for i in 0..<points {
            let row = half + slot &* outputs &* i
            let target = m + points &* i &* stride
            outputGradient({ V.load(row + slot &* $0) }, { (j: Int, x: V) in x.store(target + j &* stride) })
        }
    }

    /// Adds G^T u G of `count` filters side by side to `dw`: position p of filter f is `u[p * stride + f]`, value (ky,
    /// kx) of its gradient `dw[(ky * 3 + kx) * step + f]`.
    static func addFilterGradients(
        _ u: UnsafePointer<Float>, _ stride: Int, _ count: Int, _ dw: FloatPointer, step: Int
    ) {
        WinogradTiles.withHalf { half in
            WinogradTiles.forEachLane(count) { f in
                addFilterGradient(FloatVector.self, u + f, stride, dw + f, step, half)
            } eight: { f in
                addFilterGradient(Float8.self, u + f, stride, dw + f, step, half)
            } single: { f in
                addFilterGradient(Float.self, u + f, stride, dw + f, step, half)
            }
        }
    }

    @inline(__always)
    private static func addFilterGradient<V: WinogradLane>(
        _: V.Type, _ u: UnsafePointer<Float>, _ stride: Int, _ dw: FloatPointer, _ step: Int, _ half: FloatPointer
    ) {
        let side = filterPoints
        for j in 0..<side {
            let source = u + j &* stride
            let column = half + slot &* j
            filterGradient(
                { V.load(source + $0 &* side &* stride) }, { (i: Int, x: V) in x.store(column + slot &* side &* i) })
        }
        for i in 0..<3 {
            let row = half + slot &* side &* i
            let target = dw + 3 &* i &* step
            filterGradient(
                { V.load(row + slot &* $0) }, { (j: Int, x: V) in WinogradTiles.put(x, target + j &* step, true) })
        }
    }
}

extension WinogradAlgorithm {
    /// G g G^T of `count` filters side by side: value (ky, kx) of filter f is `g[(ky * 3 + kx) * step + f]`, position p
    /// of its transform `u[p * stride + f]`.
    ///
    /// - Parameter nonTemporal: whole vectors are written by non-temporal stores, where the processor has them.
    @inline(__always)
    static func filters(
        _ g: UnsafePointer<Float>, step: Int, _ count: Int, _ u: FloatPointer, _ stride: Int, _ half: FloatPointer,
        _ nonTemporal: Bool
    ) {
        WinogradTiles.forEachLane(count) { f in
            if nonTemporal {
                filter(FloatVector.self, g + f, step, half) { storeNonTemporal($1, u + f + $0 &* stride) }
            } else {
                filter(FloatVector.self, g + f, step, half) { storeVector($1, u + f + $0 &* stride) }
            }
        } eight: { f in
            filter(Float8.self, g + f, step, half) { store8($1, u + f + $0 &* stride) }
        } single: { f in
            filter(Float.self, g + f, step, half) { u[f &+ $0 &* stride] = $1 }
        }
    }

    @inline(__always)
    private static func filter<V: WinogradLane>(
        _: V.Type, _ g: UnsafePointer<Float>, _ step: Int, _ half: FloatPointer, _ put: (_ position: Int, V) -> Void
    ) {
        for j in 0..<3 {
            let source = g + j &* step
            let column = half + slot &* j
            filter({ V.load(source + 3 &* $0 &* step) }, { (i: Int, x: V) in x.store(column + 3 &* slot &* i) })
        }
        for i in 0..<filterPoints {
            let row = half + 3 &* slot &* i
            filter({ V.load(row + slot &* $0) }, { (j: Int, x: V) in put(filterPoints &* i &+ j, x) })
        }
    }
}

/// What the transforms of tiles share.
enum WinogradTiles {
    /// Enough for 9 x 9 values of a vector of channels.
    static let halfCount = 81 * FloatVector.scalarCount

    /// Lends the memory `half`.
    @inline(__always)
    static func withHalf(_ body: (_ half: FloatPointer) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: halfCount * MemoryLayout<Float>.stride, alignment: 64) {
            body($0.bindMemory(to: Float.self).baseAddress!)
        }
    }

    /// Calls `wide` with the first channel of each whole vector, then `eight` and `single` for what is left.
    @inline(__always)
    static func forEachLane(_ count: Int, wide: (Int) -> Void, eight: (Int) -> Void, single: (Int) -> Void) {
        var c = 0
        while c &+ FloatVector.scalarCount <= count {
            wide(c)
            c &+= FloatVector.scalarCount
        }
        while c &+ 8 <= count {
            eight(c)
            c &+= 8
        }
        while c < count {
            single(c)
            c &+= 1
        }
    }

    @inline(__always)
    static func put<V: WinogradLane>(_ value: V, _ to: FloatPointer, _ accumulate: Bool) {
        (accumulate ? V.load(to) + value : value).store(to)
    }
}
