/// Loops over the rows of a row-major (rows, C) matrix with one set of coefficients per column: what BatchNorm is made
/// of.
///
/// All take the channel count and pointers to the first row; SIMD over channels, the last ones one by one.
enum ColumnKernels {
    /// Mean and sum of squared deviations of each column over `rows` rows, rows >= 1. Sums are taken of differences
    /// from the first row, so that a mean that is large beside the deviation costs no accuracy.
    static func moments(
        _ y: UnsafePointer<Float>, _ rows: Int, _ channels: Int, mean: FloatPointer, deviation: FloatPointer
    ) {
        let scale = 1 / Float(rows)
        let width = FloatVector.scalarCount
        var c = 0
        // Two at a time, so that one's additions need not wait for its last ones.
        while c &+ 2 &* width <= channels {
            var left = ColumnMoments(y + c), right = ColumnMoments(y + c + width)
            var row = y + c
            for _ in 0..<rows {
                left.add(row)
                right.add(row + width)
                row += channels
            }
            left.store(scale, mean: mean + c, deviation: deviation + c)
            right.store(scale, mean: mean + c + width, deviation: deviation + c + width)
            c &+= 2 &* width
        }
        if c &+ width <= channels {
            var moments = ColumnMoments(y + c)
            for row in 0..<rows { moments.add(y + (row &* channels &+ c)) }
            moments.store(scale, mean: mean + c, deviation: deviation + c)
            c &+= width
        }
        while c < channels {
            let first = y[c]
            var sum: Float = 0
            var square: Float = 0
            for r in 0..<rows {
                let d = y[r &* channels &+ c] - first
                sum += d
                square += d * d
            }
            mean[c] = first + sum * scale
            // In this order nothing overflows before `square` does, which is then told of.
            deviation[c] = max(square - sum * scale * sum, 0)
            c &+= 1
        }
    }

    /// Sums of a vector of columns: of the differences from their first values, and of these squared.
    private struct ColumnMoments {
        private let first: FloatVector
        private var sum = FloatVector.zero
        private var square = FloatVector.zero

        @inline(__always)
        init(_ firstRow: UnsafePointer<Float>) { first = loadVector(firstRow) }

        @inline(__always)
        mutating func add(_ row: UnsafePointer<Float>) {
            let difference = loadVector(row) - first
            sum += difference
            square = fmaVector(difference, difference, square)
        }

        /// - Parameter scale: 1 / rows.
        @inline(__always)
        func store(_ scale: Float, mean: FloatPointer, deviation: FloatPointer) {
            let means = FloatVector(repeating: scale)
            storeVector(fmaVector(sum, means, first), mean)
            // In this order nothing overflows before `square` does, which is then told of.
            storeVector(maxVector(fmaVector(sum * -means, sum, square), .zero), deviation)
        }
    }

    /// z = y * a + b, plus `skip` (itself times `skipScale` plus `skipShift` when given), then ReLU when asked. z may
    /// be y.
    static func affine(
        _ y: StoredValues, _ rows: Int, _ channels: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>,
        skip: StoredValues?, skipScale: UnsafePointer<Float>?, skipShift: UnsafePointer<Float>?,
        relu: Bool, _ z: FloatPointer
    ) {
        // One loop per combination: the tests stay out of the inner loop.
        let floor = FloatVector(repeating: relu ? 0 : -Float.infinity)
        let scalarFloor: Float = relu ? 0 : -Float.infinity
        let width = FloatVector.scalarCount
        let vectors = channels / width &* width
        for r in 0..<rows {
            let at = r &* channels
            var c = 0
            if let skip {
                if let skipScale, let skipShift {
                    while c < vectors {
                        let s = fmaVector(
                            skip.vector(at &+ c), loadVector(skipScale + c), loadVector(skipShift + c))
                        storeVector(
                            maxVector(
                                fmaVector(y.vector(at &+ c), loadVector(a + c), loadVector(b + c)) + s, floor),
                            z + at + c)
                        c &+= width
                    }
                    while c < channels {
                        let s = skip[at &+ c] * skipScale[c] + skipShift[c]
                        z[at &+ c] = max(y[at &+ c] * a[c] + b[c] + s, scalarFloor)
                        c &+= 1
                    }
                } else {
                    while c < vectors {
                        storeVector(
                            maxVector(
                                fmaVector(y.vector(at &+ c), loadVector(a + c), loadVector(b + c))
                                    + skip.vector(at &+ c), floor),
                            z + at + c)
                        c &+= width
                    }
                    while c < channels {
                        z[at &+ c] = max(y[at &+ c] * a[c] + b[c] + skip[at &+ c], scalarFloor)
                        c &+= 1
                    }
                }
            } else {
                while c < vectors {
                    storeVector(
                        maxVector(fmaVector(y.vector(at &+ c), loadVector(a + c), loadVector(b + c)), floor),
                        z + at + c)
                    c &+= width
                }
                while c < channels {
                    z[at &+ c] = max(y[at &+ c] * a[c] + b[c], scalarFloor)
                    c &+= 1
                }
            }
        }
    }

    /// z = max(y * a + b, 0), where the rows of z lie `rowStride` values apart.
    static func affineRelu(
        _ y: StoredValues, _ rows: Int, _ channels: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>,
        _ z: FloatPointer,
        rowStride: Int
    ) {
        for r in 0..<rows {
            let (from, to) = (y.from(r &* channels), z + r &* rowStride)
            var c = 0
            while c &+ FloatVector.scalarCount <= channels {
                storeVector(
                    maxVector(fmaVector(from.vector(c), loadVector(a + c), loadVector(b + c)), .zero), to + c)
                c &+= FloatVector.scalarCount
            }
            while c < channels {
                to[c] = max(from[c] * a[c] + b[c], 0)
                c &+= 1
            }
        }
    }

    /// Sums of g and of g * (y - mean) over `rows` rows, where g is dz, or 0 where a ReLU was closed: that of y * a + b
    /// when `relu`, or that whose `result` is given, and then g is written back to dz.
    ///
    /// Goes through memory in its order, with the sums in the first level cache.
    static func gradientSums(
        _ dz: FloatPointer, _ y: StoredValues, _ rows: Int, _ channels: Int, mean: UnsafePointer<Float>,
        relu: Bool,
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, result: StoredValues?, sumGradient: FloatPointer,
        sumProduct: FloatPointer
    ) {
        sumGradient.update(repeating: 0, count: channels)
        sumProduct.update(repeating: 0, count: channels)
        let sums = ColumnSums(channels: channels, mean: mean, sumGradient: sumGradient, sumProduct: sumProduct)
        if let result {
            sums.add(y, rows) { at, _, _ in
                let open = result.vector(at) .> 0
                let g = FloatVector.zero.replacing(with: loadVector(dz + at), where: open)
                storeVector(g, dz + at)
                return g
            }
        } else if relu {
            sums.add(y, rows) { at, c, value in
                let open = fmaVector(value, loadVector(a + c), loadVector(b + c)) .> 0
                return FloatVector.zero.replacing(with: loadVector(dz + at), where: open)
            }
        } else {
            sums.add(y, rows) { at, _, _ in loadVector(dz + at) }
        }
        for c in channels / FloatVector.scalarCount * FloatVector.scalarCount..<channels {
            for at in stride(from: c, to: rows * channels, by: channels) {
                if let result, !(result[at] > 0) { dz[at] = 0 }
                let g = relu && !(y[at] * a[c] + b[c] > 0) ? 0 : dz[at]
                sumGradient[c] += g
                sumProduct[c] += g * (y[at] - mean[c])
            }
        }
    }

    /// Sums of g and of g * (y - mean) of the columns that fill vectors.
    private struct ColumnSums {
        let channels: Int
        let mean: UnsafePointer<Float>
        let sumGradient: FloatPointer
        let sumProduct: FloatPointer

        /// Adds rows of y with what `gradient` gives for the values from number `at` on, those of columns from c on.
        @inline(__always)
        func add(
            _ y: StoredValues, _ rows: Int, gradient: (_ at: Int, _ c: Int, _ value: FloatVector) -> FloatVector
        ) {
            // Two rows at a time, so that the sums are loaded and stored half as often.
            for first in stride(from: 0, to: rows, by: 2) {
                let second = first &+ 1
                var c = 0
                while c &+ FloatVector.scalarCount <= channels {
                    let center = loadVector(mean + c)
                    var (sum, product) = (loadVector(sumGradient + c), loadVector(sumProduct + c))
                    @inline(__always)
                    func add(_ at: Int) {
                        let value = y.vector(at)
                        let g = gradient(at, c, value)
                        sum += g
                        product = fmaVector(g, value - center, product)
                    }
                    add(first &* channels &+ c)
                    if second < rows { add(second &* channels &+ c) }
                    storeVector(sum, sumGradient + c)
                    storeVector(product, sumProduct + c)
                    c &+= FloatVector.scalarCount
                }
            }
        }
    }

    /// dy = g * factor + y * slope + constant, where g is dz, or 0 where the ReLU of y * a + b was closed when `relu`.
    /// The rows of dy lie `rowStride` values apart; dy may be dz when that is the number of channels.
    static func gradientAffine(
        _ dz: StoredValues, _ y: StoredValues, _ rows: Int, _ channels: Int, relu: Bool,
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ factor: UnsafePointer<Float>,
        _ slope: UnsafePointer<Float>,
        _ constant: UnsafePointer<Float>, _ dy: FloatPointer, rowStride: Int
    ) {
        let width = FloatVector.scalarCount
        let vectors = channels / width &* width
        for r in 0..<rows {
            let at = r &* channels
            let to = dy + r &* rowStride
            var c = 0
            if relu {
                while c < vectors {
                    let value = y.vector(at &+ c)
                    let open = fmaVector(value, loadVector(a + c), loadVector(b + c)) .> 0
                    let g = FloatVector.zero.replacing(with: dz.vector(at &+ c), where: open)
                    let rest = fmaVector(value, loadVector(slope + c), loadVector(constant + c))
                    storeVector(fmaVector(g, loadVector(factor + c), rest), to + c)
                    c &+= width
                }
            } else {
                while c < vectors {
                    let rest = fmaVector(y.vector(at &+ c), loadVector(slope + c), loadVector(constant + c))
                    storeVector(fmaVector(dz.vector(at &+ c), loadVector(factor + c), rest), to + c)
                    c &+= width
                }
            }
            while c < channels {
                let value = y[at &+ c]
                let g = relu && !(value * a[c] + b[c] > 0) ? 0 : dz[at &+ c]
                to[c] = g * factor[c] + value * slope[c] + constant[c]
                c &+= 1
            }
        }
    }

    /// Sums of the columns over `rows` rows, added to `sums`.
    static func sums(_ x: UnsafePointer<Float>, _ rows: Int, _ channels: Int, into sums: FloatPointer) {
        for r in 0..<rows { for c in 0..<channels { sums[c] += x[r &* channels &+ c] } }
    }
}
