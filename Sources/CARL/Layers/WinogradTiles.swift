/// The transforms of whole tiles, over all channels. A transformed tile's 36 values of a channel lie `stride` values apart.
extension WinogradTransforms {
    typealias Pixels = UnsafeMutablePointer<UnsafePointer<Float>>

    /// B^T d B of the 6x6 pixels `pixels`, each `channels` values, to `v`.
    @inline(__always)
    static func inputTile(_ pixels: Pixels, _ channels: Int, _ v: FloatPointer, _ stride: Int) {
        var c = 0
        while c &+ 8 <= channels {
            inputTile(Float8.self, pixels, c, v + c, stride)
            c &+= 8
        }
        while c < channels {
            inputTile(Float.self, pixels, c, v + c, stride)
            c &+= 1
        }
    }

    @inline(__always)
    private static func inputTile<V: WinogradLane>(
        _: V.Type, _ pixels: Pixels, _ c: Int, _ v: FloatPointer, _ stride: Int
    ) {
        withUnsafeTemporaryAllocation(of: V.self, capacity: 36) { buffer in
            let columns = buffer.baseAddress!
            for j in 0..<6 {
                let p = pixels + j
                let t = input(
                    V.load(p[0] + c), V.load(p[6] + c), V.load(p[12] + c), V.load(p[18] + c), V.load(p[24] + c),
                    V.load(p[30] + c))
                put6(t, columns + j, 6)
            }
            for i in 0..<6 {
                let t = columns + 6 &* i
                store6(input(t[0], t[1], t[2], t[3], t[4], t[5]), v + 6 &* i &* stride, stride)
            }
        }
    }

    /// A dY A^T of the 4x4 pixels `pixels`, each `channels` values, to `m`.
    @inline(__always)
    static func outputGradientTile(_ pixels: Pixels, _ channels: Int, _ m: FloatPointer, _ stride: Int) {
        var c = 0
        while c &+ 8 <= channels {
            outputGradientTile(Float8.self, pixels, c, m + c, stride)
            c &+= 8
        }
        while c < channels {
            outputGradientTile(Float.self, pixels, c, m + c, stride)
            c &+= 1
        }
    }

    @inline(__always)
    private static func outputGradientTile<V: WinogradLane>(
        _: V.Type, _ pixels: Pixels, _ c: Int, _ m: FloatPointer, _ stride: Int
    ) {
        withUnsafeTemporaryAllocation(of: V.self, capacity: 24) { buffer in
            let columns = buffer.baseAddress!
            for j in 0..<4 {
                let p = pixels + j
                let t = outputGradient(V.load(p[0] + c), V.load(p[4] + c), V.load(p[8] + c), V.load(p[12] + c))
                put6(t, columns + j, 4)
            }
            for i in 0..<6 {
                let t = columns + 4 &* i
                store6(outputGradient(t[0], t[1], t[2], t[3]), m + 6 &* i &* stride, stride)
            }
        }
    }

    /// A^T m A: the upper left `rows` x `columns` of the 4x4 pixels to `y`, or added to it.
    ///
    /// - Parameters:
    ///   - rowStride: values from a pixel to the one below it; a pixel to its right is `channels` values away.
    @inline(__always)
    static func outputTile(
        _ m: UnsafePointer<Float>, _ stride: Int, _ channels: Int, _ y: FloatPointer, rowStride: Int, rows: Int, columns: Int,
        accumulate: Bool
    ) {
        var c = 0
        while c &+ 8 <= channels {
            outputTile(Float8.self, m + c, stride, y + c, rowStride, channels, rows, columns, accumulate)
            c &+= 8
        }
        while c < channels {
            outputTile(Float.self, m + c, stride, y + c, rowStride, channels, rows, columns, accumulate)
            c &+= 1
        }
    }

    @inline(__always)
    private static func outputTile<V: WinogradLane>(
        _: V.Type, _ m: UnsafePointer<Float>, _ stride: Int, _ y: FloatPointer, _ rowStride: Int, _ channels: Int,
        _ rows: Int, _ columns: Int, _ accumulate: Bool
    ) {
        withUnsafeTemporaryAllocation(of: V.self, capacity: 24) { buffer in
            let half = buffer.baseAddress!
            for j in 0..<6 {
                let p = m + j &* stride
                let t = output(
                    V.load(p), V.load(p + 6 &* stride), V.load(p + 12 &* stride), V.load(p + 18 &* stride),
                    V.load(p + 24 &* stride), V.load(p + 30 &* stride))
                half[j] = t.0
                half[j &+ 6] = t.1
                half[j &+ 12] = t.2
                half[j &+ 18] = t.3
            }
            for i in 0..<rows {
                let h = half + 6 &* i
                let t = output(h[0], h[1], h[2], h[3], h[4], h[5])
                let to = y + i &* rowStride
                put(t.0, to, accumulate)
                if columns > 1 { put(t.1, to + channels, accumulate) }
                if columns > 2 { put(t.2, to + 2 &* channels, accumulate) }
                if columns > 3 { put(t.3, to + 3 &* channels, accumulate) }
            }
        }
    }

    /// G g G^T of filters `range`: value (ky, kx) of filter f is `weights[(ky * 3 + kx) * count + f]`, position p of its
    /// transform `u[p * stride + f]`. `rotated` turns the filters by 180 degrees first.
    static func filters(
        _ weights: UnsafePointer<Float>, _ count: Int, _ range: Range<Int>, rotated: Bool, _ u: FloatPointer, _ stride: Int
    ) {
        // Turned, the value read last comes first.
        let first = rotated ? weights + 8 &* count : weights
        let step = rotated ? 0 &- count : count
        var f = range.lowerBound
        while f &+ 8 <= range.upperBound {
            filter(Float8.self, first + f, step, u + f, stride)
            f &+= 8
        }
        while f < range.upperBound {
            filter(Float.self, first + f, step, u + f, stride)
            f &+= 1
        }
    }

    @inline(__always)
    private static func filter<V: WinogradLane>(
        _: V.Type, _ g: UnsafePointer<Float>, _ step: Int, _ u: FloatPointer, _ stride: Int
    ) {
        withUnsafeTemporaryAllocation(of: V.self, capacity: 18) { buffer in
            let columns = buffer.baseAddress!
            for j in 0..<3 {
                let p = g + j &* step
                put6(filter(V.load(p), V.load(p + 3 &* step), V.load(p + 6 &* step)), columns + j, 3)
            }
            for i in 0..<6 {
                let t = columns + 3 &* i
                store6(filter(t[0], t[1], t[2]), u + 6 &* i &* stride, stride)
            }
        }
    }

    /// Adds G^T u G of filters `range` to `dw`; both laid out as `filters` says.
    static func addFilterGradients(
        _ u: UnsafePointer<Float>, _ stride: Int, _ range: Range<Int>, _ dw: FloatPointer, _ count: Int
    ) {
        var f = range.lowerBound
        while f &+ 8 <= range.upperBound {
            addFilterGradient(Float8.self, u + f, stride, dw + f, count)
            f &+= 8
        }
        while f < range.upperBound {
            addFilterGradient(Float.self, u + f, stride, dw + f, count)
            f &+= 1
        }
    }

    @inline(__always)
    private static func addFilterGradient<V: WinogradLane>(
        _: V.Type, _ u: UnsafePointer<Float>, _ stride: Int, _ dw: FloatPointer, _ count: Int
    ) {
        withUnsafeTemporaryAllocation(of: V.self, capacity: 18) { buffer in
            let columns = buffer.baseAddress!
            for j in 0..<6 {
                let p = u + j &* stride
                let t = filterGradient(
                    V.load(p), V.load(p + 6 &* stride), V.load(p + 12 &* stride), V.load(p + 18 &* stride),
                    V.load(p + 24 &* stride), V.load(p + 30 &* stride))
                columns[j] = t.0
                columns[j &+ 6] = t.1
                columns[j &+ 12] = t.2
            }
            for i in 0..<3 {
                let c = columns + 6 &* i
                let t = filterGradient(c[0], c[1], c[2], c[3], c[4], c[5])
                let to = dw + 3 &* i &* count
                put(t.0, to, true)
                put(t.1, to + count, true)
                put(t.2, to + 2 &* count, true)
            }
        }
    }

    @inline(__always)
    private static func put<V: WinogradLane>(_ value: V, _ to: FloatPointer, _ accumulate: Bool) {
        (accumulate ? V.load(to) + value : value).store(to)
    }

    @inline(__always)
    private static func put6<V>(_ t: (V, V, V, V, V, V), _ to: UnsafeMutablePointer<V>, _ stride: Int) {
        to[0] = t.0
        to[stride] = t.1
        to[2 &* stride] = t.2
        to[3 &* stride] = t.3
        to[4 &* stride] = t.4
        to[5 &* stride] = t.5
    }

    @inline(__always)
    private static func store6<V: WinogradLane>(_ t: (V, V, V, V, V, V), _ to: FloatPointer, _ stride: Int) {
        t.0.store(to)
        t.1.store(to + stride)
        t.2.store(to + 2 &* stride)
        t.3.store(to + 3 &* stride)
        t.4.store(to + 4 &* stride)
        t.5.store(to + 5 &* stride)
    }
}
