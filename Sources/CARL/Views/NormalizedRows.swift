/// The last step of a view: rows of planes with values 0 ... 255 become rows of pixels, scaled and normalised.
struct NormalizedRows {
    /// Factors a and b of v * a + b, one pair a channel: 1 / (255 std) and -mean / std.
    private let factors: [(scale: Float, shift: Float)]

    init(mean: [Float], std: [Float], channels: Int) {
        factors = (0..<channels).map { c in
            let m = mean[mean.count == 1 ? 0 : c]
            let s = std[std.count == 1 ? 0 : c]
            return (1 / (255 * s), -m / s)
        }
    }

    /// Writes `rows` rows of `width` pixels to `out`, dense, channels last.
    ///
    /// - Parameters:
    ///   - source: the rows in the first plane, `pitch` values apart.
    ///   - planeStride: values from a plane to the next; 0 when all channels are the same.
    func write(_ source: FloatPointer, pitch: Int, planeStride: Int, rows: Int, width: Int, _ out: FloatPointer) {
        switch factors.count {
        case 1: writeGray(source, pitch, rows, width, out)
        case 3: writeColor(source, pitch, planeStride, rows, width, out)
        default: writeAny(source, pitch, planeStride, rows, width, out)
        }
    }

    private func writeGray(_ source: FloatPointer, _ pitch: Int, _ rows: Int, _ width: Int, _ out: FloatPointer) {
        let (scale, shift) = factors[0]
        let (scales, shifts) = (Float8(repeating: scale), Float8(repeating: shift))
        for y in 0..<rows {
            let (row, target) = (source + y &* pitch, out + y &* width)
            var x = 0
            while x &+ 8 <= width {
                store8(fma8(load8(row + x), scales, shifts), target + x)
                x &+= 8
            }
            while x < width {
                target[x] = shift.addingProduct(row[x], scale)
                x &+= 1
            }
        }
    }

    private func writeColor(
        _ source: FloatPointer, _ pitch: Int, _ planeStride: Int, _ rows: Int, _ width: Int, _ out: FloatPointer
    ) {
        let (r, g, b) = (factors[0], factors[1], factors[2])
        for y in 0..<rows {
            let (red, target) = (source + y &* pitch, out + y &* width &* 3)
            let (green, blue) = (red + planeStride, red + 2 &* planeStride)
            // Eight pixels write one value too many, which must not be behind the last row.
            let end = y == rows &- 1 ? width &- 1 : width
            var x = 0
            while x &+ 8 <= end {
                interleave8(
                    fma8(load8(red + x), Float8(repeating: r.scale), Float8(repeating: r.shift)),
                    fma8(load8(green + x), Float8(repeating: g.scale), Float8(repeating: g.shift)),
                    fma8(load8(blue + x), Float8(repeating: b.scale), Float8(repeating: b.shift)), target + 3 &* x)
                x &+= 8
            }
            while x < width {
                target[3 &* x] = r.shift.addingProduct(red[x], r.scale)
                target[3 &* x &+ 1] = g.shift.addingProduct(green[x], g.scale)
                target[3 &* x &+ 2] = b.shift.addingProduct(blue[x], b.scale)
                x &+= 1
            }
        }
    }

    private func writeAny(
        _ source: FloatPointer, _ pitch: Int, _ planeStride: Int, _ rows: Int, _ width: Int, _ out: FloatPointer
    ) {
        let channels = factors.count
        for c in 0..<channels {
            let (scale, shift) = factors[c]
            for y in 0..<rows {
                let row = source + (c &* planeStride &+ y &* pitch)
                let target = out + (y &* width &* channels &+ c)
                for x in 0..<width { target[x &* channels] = shift.addingProduct(row[x], scale) }
            }
        }
    }
}
