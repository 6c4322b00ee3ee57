/// Loops over the rows of a row-major (rows, C) matrix with one set of coefficients per column: what BatchNorm is made
/// of.
///
/// All take the channel count and pointers to the first row, and go a vector of channels at a time; of the last vector
/// only the channels that are there are read and written.
enum ColumnKernels {
    /// Calls `body` with the first channel of each vector, and how many of its channels there are. As it is inlined
    /// twice, whole vectors are loaded and stored without asking.
    @inline(__always)
    private static func forEachVector(_ channels: Int, _ body: (_ c: Int, _ count: Int) -> Void) {
        let width = FloatVector.scalarCount
        var c = 0
        while c &+ width <= channels {
            body(c, width)
            c &+= width
        }
        if c < channels { body(c, channels &- c) }
    }

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
            var left = ColumnMoments(y + c, width), right = ColumnMoments(y + c + width, width)
            var row = y + c
            for _ in 0..<rows {
                left.add(row, width)
                right.add(row + width, width)
                row += channels
            }
            left.store(scale, mean: mean + c, deviation: deviation + c, width)
            right.store(scale, mean: mean + c + width, deviation: deviation + c + width, width)
            c &+= 2 &* width
        }
        @inline(__always)
        func one(_ count: Int) {
            var moments = ColumnMoments(y + c, count)
            for row in 0..<rows { moments.add(y + (row &* channels &+ c), count) }
            moments.store(scale, mean: mean + c, deviation: deviation + c, count)
            c &+= count
        }
        if c &+ width <= channels { one(width) }
        if c < channels { one(channels &- c) }
    }

    /// Sums of a vector of columns, of which `count` are there: of the differences from their first values, and of
    /// these squared.
    private struct ColumnMoments {
        private let first: FloatVector
        private var sum = FloatVector.zero
        private var square = FloatVector.zero

        @inline(__always)
        init(_ firstRow: UnsafePointer<Float>, _ count: Int) { first = loadVector(firstRow, count) }

        @inline(__always)
        mutating func add(_ row: UnsafePointer<Float>, _ count: Int) {
            let difference = loadVector(row, count) - first
            sum += difference
            square = fmaVector(difference, difference, square)
        }

        /// - Parameter scale: 1 / rows.
        @inline(__always)
        func store(_ scale: Float, mean: FloatPointer, deviation: FloatPointer, _ count: Int) {
            let means = FloatVector(repeating: scale)
            storeVector(fmaVector(sum, means, first), mean, count)
            // In this order nothing overflows before `square` does, which is then told of.
            storeVector(maxVector(fmaVector(sum * -means, sum, square), .zero), deviation, count)
        }
    }

    /// z = y * a + b, plus `skip` (itself times `skipScale` plus `skipShift` when given), then ReLU when asked. z may
    /// be y.
    static func affine(
        _ y: StoredValues, _ rows: Int, _ channels: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>,
        skip: StoredValues?, skipScale: UnsafePointer<Float>?, skipShift: UnsafePointer<Float>?,
        relu: Bool, _ z: FloatPointer
    ) {
        let floor = FloatVector(repeating: relu ? 0 : -Float.infinity)
        @inline(__always)
        func write(_ at: Int, _ c: Int, _ count: Int, _ skipped: FloatVector) {
            let value = fmaVector(y.vector(at &+ c, count), loadVector(a + c, count), loadVector(b + c, count))
            storeVector(maxVector(value + skipped, floor), z + at + c, count)
        }
        // One loop per combination: the tests stay out of the inner loop.
        for r in 0..<rows {
            let at = r &* channels
            if let skip, let skipScale, let skipShift {
                forEachVector(channels) { c, count in
                    let (scale, shift) = (loadVector(skipScale + c, count), loadVector(skipShift + c, count))
                    write(at, c, count, fmaVector(skip.vector(at &+ c, count), scale, shift))
                }
            } else if let skip {
                forEachVector(channels) { c, count in write(at, c, count, skip.vector(at &+ c, count)) }
            } else {
                forEachVector(channels) { c, count in write(at, c, count, .zero) }
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
            forEachVector(channels) { c, count in
                let value = fmaVector(from.vector(c, count), loadVector(a + c, count), loadVector(b + c, count))
                storeVector(maxVector(value, .zero), to + c, count)
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
            sums.add(y, rows) { at, _, count, _ in
                let open = result.vector(at, count) .> 0
                let g = FloatVector.zero.replacing(with: loadVector(dz + at, count), where: open)
                storeVector(g, dz + at, count)
                return g
            }
        } else if relu {
            sums.add(y, rows) { at, c, count, value in
                let open = fmaVector(value, loadVector(a + c, count), loadVector(b + c, count)) .> 0
                return FloatVector.zero.replacing(with: loadVector(dz + at, count), where: open)
            }
        } else {
            sums.add(y, rows) { at, _, count, _ in loadVector(dz + at, count) }
        }
    }

    /// Sums of g and of g * (y - mean) of columns.
    private struct ColumnSums {
        let channels: Int
        let mean: UnsafePointer<Float>
        let sumGradient: FloatPointer
        let sumProduct: FloatPointer

        /// Adds rows of y with what `gradient` gives for the `count` values from number `at` on, those of columns from
        /// c on.
        @inline(__always)
        func add(
            _ y: StoredValues, _ rows: Int,
            gradient: (_ at: Int, _ c: Int, _ count: Int, _ value: FloatVector) -> FloatVector
        ) {
            // Two rows at a time, so that the sums are loaded and stored half as often.
            for first in stride(from: 0, to: rows, by: 2) {
                let second = first &+ 1
                forEachVector(channels) { c, count in
                    let center = loadVector(mean + c, count)
                    var (sum, product) = (loadVector(sumGradient + c, count), loadVector(sumProduct + c, count))
                    @inline(__always)
                    func add(_ at: Int) {
                        let value = y.vector(at, count)
                        let g = gradient(at, c, count, value)
                        sum += g
                        product = fmaVector(g, value - center, product)
                    }
                    add(first &* channels &+ c)
                    if second < rows { add(second &* channels &+ c) }
                    storeVector(sum, sumGradient + c, count)
                    storeVector(product, sumProduct + c, count)
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
        for r in 0..<rows {
            let at = r &* channels
            let to = dy + r &* rowStride
            if relu {
                forEachVector(channels) { c, count in
                    let value = y.vector(at &+ c, count)
                    let open = fmaVector(value, loadVector(a + c, count), loadVector(b + c, count)) .> 0
                    let g = FloatVector.zero.replacing(with: dz.vector(at &+ c, count), where: open)
                    let rest = fmaVector(value, loadVector(slope + c, count), loadVector(constant + c, count))
                    storeVector(fmaVector(g, loadVector(factor + c, count), rest), to + c, count)
                }
            } else {
                forEachVector(channels) { c, count in
                    let value = y.vector(at &+ c, count)
                    let rest = fmaVector(value, loadVector(slope + c, count), loadVector(constant + c, count))
                    let g = dz.vector(at &+ c, count)
                    storeVector(fmaVector(g, loadVector(factor + c, count), rest), to + c, count)
                }
            }
        }
    }

    /// Sums of the columns over `rows` rows, added to `sums`.
    static func sums(_ x: UnsafePointer<Float>, _ rows: Int, _ channels: Int, into sums: FloatPointer) {
        for r in 0..<rows { for c in 0..<channels { sums[c] += x[r &* channels &+ c] } }
    }
}
