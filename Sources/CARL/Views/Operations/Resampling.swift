/// Resizes a part of an image of bytes to planes of Float32 in 0 ... 255, eight rows at a time.
///
/// Columns are resized first, a strip of bytes of all rows that the eight need being turned to floats once. The result
/// is transposed, so that eight rows lie side by side in a vector: resizing the rows is then the same for any number of
/// channels, and fills all lanes whatever input an output begins with. What comes out is transposed back into the
/// planes.
struct Resampling {
    /// Bytes of a row in a strip.
    private static let strip = 64

    private let pixels: UnsafePointer<UInt8>
    private let rowStride: Int
    /// Bytes of the part in a row.
    private let rowValues: Int
    private let channels: Int
    private let vertical: ResamplingAxis
    private let horizontal: ResamplingAxis
    /// A strip's bytes as floats.
    private let window: FloatPointer
    /// Eight resized rows of a strip, or eight outputs of every channel.
    private let tile: FloatPointer
    /// Eight rows with their columns resized, value by value.
    private let columns: FloatPointer

    /// Values of scratch memory for images of at most `height` times `width` pixels: both axes, the window, the tile,
    /// the columns.
    static func scratchCount(height: Int, width: Int, channels: Int, size: Int) -> Int {
        let span = min(height, spanBound(height, size))
        return ResamplingAxis.scratchCount(inputs: height, outputs: size)
            + ResamplingAxis.scratchCount(inputs: width, outputs: size)
            + span * strip + max(8 * strip, 64 * channels) + 8 * (width * channels + strip)
    }

    /// Inputs that eight neighbouring outputs take, at most.
    private static func spanBound(_ inputs: Int, _ outputs: Int) -> Int { 12 * ((inputs + outputs - 1) / outputs) + 8 }

    /// - Parameters:
    ///   - box: the part, in pixels of the image.
    ///   - fullHeight, fullWidth: the size that the part is resized to, of which the centre of `size` times `size` is
    ///     made; where the centre lies between two pixels, the even one begins it, as torchvision's CenterCrop rounds.
    ///   - mirrored: left and right change places.
    init(
        _ image: SourceImage, _ box: (left: Int, top: Int, width: Int, height: Int), size: Int, fullHeight: Int,
        fullWidth: Int,
        _ interpolation: ViewSpec.Interpolation, mirrored: Bool, scratch: FloatPointer
    ) {
        pixels = image.pixels + box.top * image.rowStride + box.left * image.channels
        rowStride = image.rowStride
        rowValues = box.width * image.channels
        channels = image.channels
        func offset(_ full: Int) -> Int { Int((Double(full - size) / 2).rounded(.toNearestOrEven)) }
        var free = scratch
        vertical = ResamplingAxis(
            interpolation, inputs: box.height, fullOutputs: fullHeight, offset: offset(fullHeight), outputs: size,
            scratch: free)
        free += ResamplingAxis.scratchCount(inputs: image.height, outputs: size)
        horizontal = ResamplingAxis(
            interpolation, inputs: box.width, fullOutputs: fullWidth, offset: offset(fullWidth), outputs: size,
            mirrored: mirrored,
            scratch: free)
        free += ResamplingAxis.scratchCount(inputs: image.width, outputs: size)
        tile = free
        free += max(8 * Self.strip, 64 * channels)
        columns = free
        window = columns + 8 * (rowValues + Self.strip)
    }

    /// Makes the rows `y ..< y + 8` of the planes, with their padding.
    func makeRows(_ y: Int, _ planes: Planes) {
        var column = 0
        while column < rowValues {
            resizeColumns(y, column, min(Self.strip, rowValues &- column))
            column &+= Self.strip
        }
        resizeRows(planes.group(y), planes.pitch, planes.planeStride)
    }

    /// `count` values of eight output rows, from `column` on.
    private func resizeColumns(_ y: Int, _ column: Int, _ count: Int) {
        let strip = Self.strip
        let taps = vertical.taps
        let first = Int(vertical.starts[y])
        let span = Int(vertical.starts[y &+ 7]) &+ taps &- first
        let whole = count & ~7
        for row in 0..<span {
            let source = pixels + ((first &+ row) &* rowStride &+ column)
            let target = window + row &* strip
            var i = 0
            while i < whole {
                store8(widen8(source + i), target + i)
                i &+= 8
            }
            while i < count {
                target[i] = Float(source[i])
                i &+= 1
            }
        }
        for row in 0..<8 {
            let weights = vertical.weights + (y &+ row) &* taps
            let source = window + (Int(vertical.starts[y &+ row]) &- first) &* strip
            let target = tile + row &* strip
            var i = 0
            while i < count {
                // What lies behind `count` is anything, and nobody reads it.
                var a = Float8.zero, b = a, c = a, d = a
                var from = source + i
                for j in 0..<taps {
                    let weight = Float8(repeating: weights[j])
                    a = fma8(load8(from), weight, a)
                    b = fma8(load8(from + 8), weight, b)
                    c = fma8(load8(from + 16), weight, c)
                    d = fma8(load8(from + 24), weight, d)
                    from += strip
                }
                store8(a, target + i)
                store8(b, target + i + 8)
                store8(c, target + i + 16)
                store8(d, target + i + 24)
                i &+= 32
            }
        }
        var i = 0
        while i < count {
            transpose8(tile + i, strip, columns + (column &+ i) &* 8, 8)
            i &+= 8
        }
    }

    /// Eight rows of every plane from the columns.
    private func resizeRows(_ target: FloatPointer, _ pitch: Int, _ planeStride: Int) {
        let taps = horizontal.taps
        for x in stride(from: 0, to: horizontal.padded, by: 8) {
            for i in 0..<8 {
                let weights = horizontal.weights + (x &+ i) &* taps
                let source = columns + Int(horizontal.starts[x &+ i]) &* channels &* 8
                let out = tile + i &* 8
                if channels == 3 {
                    threeChannels(source, weights, taps, out)
                } else {
                    anyChannels(source, weights, taps, out)
                }
            }
            for c in 0..<channels {
                transpose8(tile + c &* 64, 8, target + (c &* planeStride &+ x), pitch)
            }
        }
    }

    /// One output of eight rows: channel c goes to `out + 64 c`.
    @inline(__always)
    private func threeChannels(_ source: FloatPointer, _ weights: FloatPointer, _ taps: Int, _ out: FloatPointer) {
        var r = Float8.zero, g = r, b = r
        var from = source
        for j in 0..<taps {
            let weight = Float8(repeating: weights[j])
            r = fma8(load8(from), weight, r)
            g = fma8(load8(from + 8), weight, g)
            b = fma8(load8(from + 16), weight, b)
            from += 24
        }
        store8(clamp(r), out)
        store8(clamp(g), out + 64)
        store8(clamp(b), out + 128)
    }

    @inline(__always)
    private func anyChannels(_ source: FloatPointer, _ weights: FloatPointer, _ taps: Int, _ out: FloatPointer) {
        for c in 0..<channels {
            var sum = Float8.zero
            for j in 0..<taps {
                sum = fma8(load8(source + (j &* channels &+ c) &* 8), Float8(repeating: weights[j]), sum)
            }
            store8(clamp(sum), out + c &* 64)
        }
    }

    /// Bicubic weights overshoot at edges.
    @inline(__always)
    private func clamp(_ v: Float8) -> Float8 { min8(max8(v, .zero), Float8(repeating: 255)) }

    /// Eight bytes as floats: in the low bits of 2^23 a byte makes 2^23 plus its value.
    @inline(__always)
    private func widen8(_ bytes: UnsafePointer<UInt8>) -> Float8 {
        let whole = SIMD8<Int32>(truncatingIfNeeded: UnsafeRawPointer(bytes).loadUnaligned(as: SIMD8<UInt8>.self))
        return Float8(bitPatterns: whole | Int32x8(repeating: 0x4b00_0000)) - 0x1p23
    }
}
