/// The transforms of whole tiles, over all channels. A transformed tile's 36 values of a channel lie `stride` values apart.
///
/// `half` is memory for what lies between the transform of the columns and that of the rows: `halfCount` values.
extension WinogradTransforms {
    typealias Pixels = UnsafeMutablePointer<UnsafePointer<Float>>

    static let halfCount = 36 * 8

    /// B^T d B of the 6x6 pixels `pixels`, each `channels` values, to `v`.
    @inline(__always)
    static func inputTile(_ pixels: Pixels, _ channels: Int, _ v: FloatPointer, _ stride: Int, _ half: FloatPointer) {
        forEachLane(0..<channels) { c in
            inputTile(Float8.self, pixels, c, v + c, stride, half)
        } single: { c in
            inputTile(Float.self, pixels, c, v + c, stride, half)
        }
    }

    @inline(__always)
    private static func inputTile<V: WinogradLane>(
        _: V.Type, _ pixels: Pixels, _ c: Int, _ v: FloatPointer, _ stride: Int, _ half: FloatPointer
    ) {
        for j in 0..<6 {
            let p = pixels + j
            let column = (
                V.load(p[0] + c), V.load(p[6] + c), V.load(p[12] + c), V.load(p[18] + c), V.load(p[24] + c), V.load(p[30] + c)
            )
            store6(input(column), half + 8 &* j, 48)
        }
        for i in 0..<6 { store6(input(load6(V.self, half + 48 &* i, 8)), v + 6 &* i &* stride, stride) }
    }

    /// A dY A^T of the 4x4 pixels `pixels`, each `channels` values, to `m`.
    @inline(__always)
    static func outputGradientTile(
        _ pixels: Pixels, _ channels: Int, _ m: FloatPointer, _ stride: Int, _ half: FloatPointer
    ) {
        forEachLane(0..<channels) { c in
            outputGradientTile(Float8.self, pixels, c, m + c, stride, half)
        } single: { c in
            outputGradientTile(Float.self, pixels, c, m + c, stride, half)
        }
    }

    @inline(__always)
    private static func outputGradientTile<V: WinogradLane>(
        _: V.Type, _ pixels: Pixels, _ c: Int, _ m: FloatPointer, _ stride: Int, _ half: FloatPointer
    ) {
        for j in 0..<4 {
            let p = pixels + j
            store6(
                outputGradient(V.load(p[0] + c), V.load(p[4] + c), V.load(p[8] + c), V.load(p[12] + c)), half + 8 &* j, 32)
        }
        for i in 0..<6 {
            let h = half + 32 &* i
            store6(
                outputGradient(V.load(h), V.load(h + 8), V.load(h + 16), V.load(h + 24)), m + 6 &* i &* stride, stride)
        }
    }

    /// A^T m A: the upper left `rows` x `columns` of the 4x4 pixels to `y`, or added to it.
    ///
    /// - Parameter rowStride: values from a pixel to the one below it; a pixel to its right is `channels` values away.
    @inline(__always)
    static func outputTile(
        _ m: UnsafePointer<Float>, _ stride: Int, _ channels: Int, _ y: FloatPointer, rowStride: Int, rows: Int, columns: Int,
        accumulate: Bool, _ half: FloatPointer
    ) {
        forEachLane(0..<channels) { c in
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
        for j in 0..<6 {
            let t = output(load6(V.self, m + j &* stride, 6 &* stride))
            let h = half + 8 &* j
            t.0.store(h)
            t.1.store(h + 48)
            t.2.store(h + 96)
            t.3.store(h + 144)
        }
        for i in 0..<rows {
            let t = output(load6(V.self, half + 48 &* i, 8))
            let to = y + i &* rowStride
            put(t.0, to, accumulate)
            if columns > 1 { put(t.1, to + channels, accumulate) }
            if columns > 2 { put(t.2, to + 2 &* channels, accumulate) }
            if columns > 3 { put(t.3, to + 3 &* channels, accumulate) }
        }
    }

    /// G g G^T of filters `range`: value (ky, kx) of filter f is `weights[(ky * 3 + kx) * count + f]`, position p of its
    /// transform `u[p * stride + f]`. `rotated` turns the filters by 180 degrees first.
    static func filters(
        _ weights: UnsafePointer<Float>, _ count: Int, _ range: Range<Int>, rotated: Bool, _ u: FloatPointer, _ stride: Int
    ) {
        // Turned, the last value comes first.
        let first = rotated ? weights + 8 &* count : weights
        let step = rotated ? 0 &- count : count
        withHalf { half in
            forEachLane(range) { f in
                filter(Float8.self, first + f, step, u + f, stride, half)
            } single: { f in
                filter(Float.self, first + f, step, u + f, stride, half)
            }
        }
    }

    @inline(__always)
    private static func filter<V: WinogradLane>(
        _: V.Type, _ g: UnsafePointer<Float>, _ step: Int, _ u: FloatPointer, _ stride: Int, _ half: FloatPointer
    ) {
        for j in 0..<3 {
            let p = g + j &* step
            store6(filter(V.load(p), V.load(p + 3 &* step), V.load(p + 6 &* step)), half + 8 &* j, 24)
        }
        for i in 0..<6 {
            let h = half + 24 &* i
            store6(filter(V.load(h), V.load(h + 8), V.load(h + 16)), u + 6 &* i &* stride, stride)
        }
    }

    /// Adds G^T u G of filters `range` to `dw`; both laid out as `filters` says.
    static func addFilterGradients(
        _ u: UnsafePointer<Float>, _ stride: Int, _ range: Range<Int>, _ dw: FloatPointer, _ count: Int
    ) {
        withHalf { half in
            forEachLane(range) { f in
                addFilterGradient(Float8.self, u + f, stride, dw + f, count, half)
            } single: { f in
                addFilterGradient(Float.self, u + f, stride, dw + f, count, half)
            }
        }
    }

    @inline(__always)
    private static func addFilterGradient<V: WinogradLane>(
        _: V.Type, _ u: UnsafePointer<Float>, _ stride: Int, _ dw: FloatPointer, _ count: Int, _ half: FloatPointer
    ) {
        for j in 0..<6 {
            let t = filterGradient(load6(V.self, u + j &* stride, 6 &* stride))
            let h = half + 8 &* j
            t.0.store(h)
            t.1.store(h + 48)
            t.2.store(h + 96)
        }
        for i in 0..<3 {
            let t = filterGradient(load6(V.self, half + 48 &* i, 8))
            let to = dw + 3 &* i &* count
            put(t.0, to, true)
            put(t.1, to + count, true)
            put(t.2, to + 2 &* count, true)
        }
    }

    /// Lends the memory `half`.
    @inline(__always)
    static func withHalf(_ body: (_ half: FloatPointer) -> Void) {
        withUnsafeTemporaryAllocation(byteCount: halfCount * MemoryLayout<Float>.stride, alignment: 64) {
            body($0.bindMemory(to: Float.self).baseAddress!)
        }
    }

    @inline(__always)
    private static func forEachLane(_ range: Range<Int>, eight: (Int) -> Void, single: (Int) -> Void) {
        var c = range.lowerBound
        while c &+ 8 <= range.upperBound {
            eight(c)
            c &+= 8
        }
        while c < range.upperBound {
            single(c)
            c &+= 1
        }
    }

    @inline(__always)
    private static func put<V: WinogradLane>(_ value: V, _ to: FloatPointer, _ accumulate: Bool) {
        (accumulate ? V.load(to) + value : value).store(to)
    }

    @inline(__always)
    private static func load6<V: WinogradLane>(_: V.Type, _ from: UnsafePointer<Float>, _ stride: Int) -> Six<V> {
        (
            V.load(from), V.load(from + stride), V.load(from + 2 &* stride), V.load(from + 3 &* stride),
            V.load(from + 4 &* stride), V.load(from + 5 &* stride)
        )
    }

    @inline(__always)
    private static func store6<V: WinogradLane>(_ t: Six<V>, _ to: FloatPointer, _ stride: Int) {
        t.0.store(to)
        t.1.store(to + stride)
        t.2.store(to + 2 &* stride)
        t.3.store(to + 3 &* stride)
        t.4.store(to + 4 &* stride)
        t.5.store(to + 5 &* stride)
    }
}
