/// Loops over the rows of a row-major (rows, C) matrix with one set of coefficients per column: what BatchNorm is made of.
///
/// All take the channel count and pointers to the first row; SIMD over channels, the last C mod 8 of them one by one.
enum ColumnKernels {
    /// Mean and sum of squared deviations of each column over `rows` rows, rows >= 1. Two passes, so that a mean that is large
    /// beside the deviation costs no accuracy; the caller keeps the rows in cache.
    static func moments(_ y: UnsafePointer<Float>, _ rows: Int, _ channels: Int, mean: FloatPointer, deviation: FloatPointer) {
        let scale = 1 / Float(rows)
        var c = 0
        while c &+ 16 <= channels {
            var s0 = Float8.zero, s1 = Float8.zero
            var p = y + c
            for _ in 0..<rows {
                s0 += load8(p)
                s1 += load8(p + 8)
                p += channels
            }
            s0 *= scale
            s1 *= scale
            store8(s0, mean + c)
            store8(s1, mean + c + 8)
            var d0 = Float8.zero, d1 = Float8.zero
            p = y + c
            for _ in 0..<rows {
                let a = load8(p) - s0, b = load8(p + 8) - s1
                d0 = fma8(a, a, d0)
                d1 = fma8(b, b, d1)
                p += channels
            }
            store8(d0, deviation + c)
            store8(d1, deviation + c + 8)
            c &+= 16
        }
        while c < channels {
            var sum: Float = 0
            for r in 0..<rows { sum += y[r &* channels &+ c] }
            sum *= scale
            var square: Float = 0
            for r in 0..<rows {
                let d = y[r &* channels &+ c] - sum
                square += d * d
            }
            mean[c] = sum
            deviation[c] = square
            c &+= 1
        }
    }

    /// z = y * a + b, plus `skip` (itself times `skipScale` plus `skipShift` when given), then ReLU when asked. z may be y.
    static func affine(
        _ y: UnsafePointer<Float>, _ rows: Int, _ channels: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>,
        skip: UnsafePointer<Float>?, skipScale: UnsafePointer<Float>?, skipShift: UnsafePointer<Float>?,
        relu: Bool, _ z: FloatPointer
    ) {
        // One loop per combination: the tests stay out of the inner loop.
        let floor = Float8(repeating: relu ? 0 : -Float.infinity)
        let scalarFloor: Float = relu ? 0 : -Float.infinity
        let vectors = channels & ~7
        for r in 0..<rows {
            let at = r &* channels
            var c = 0
            if let skip {
                if let skipScale, let skipShift {
                    while c < vectors {
                        let s = fma8(load8(skip + at + c), load8(skipScale + c), load8(skipShift + c))
                        store8(max8(fma8(load8(y + at + c), load8(a + c), load8(b + c)) + s, floor), z + at + c)
                        c &+= 8
                    }
                    while c < channels {
                        let s = skip[at &+ c] * skipScale[c] + skipShift[c]
                        z[at &+ c] = max(y[at &+ c] * a[c] + b[c] + s, scalarFloor)
                        c &+= 1
                    }
                } else {
                    while c < vectors {
                        store8(
                            max8(fma8(load8(y + at + c), load8(a + c), load8(b + c)) + load8(skip + at + c), floor), z + at + c)
                        c &+= 8
                    }
                    while c < channels {
                        z[at &+ c] = max(y[at &+ c] * a[c] + b[c] + skip[at &+ c], scalarFloor)
                        c &+= 1
                    }
                }
            } else {
                while c < vectors {
                    store8(max8(fma8(load8(y + at + c), load8(a + c), load8(b + c)), floor), z + at + c)
                    c &+= 8
                }
                while c < channels {
                    z[at &+ c] = max(y[at &+ c] * a[c] + b[c], scalarFloor)
                    c &+= 1
                }
            }
        }
    }

    /// Over `rows` rows, adds g to `sumGradient` and g * (y - mean) to `sumProduct`, where g is dz, or 0 where `mask` is not positive.
    static func gradientSums(
        _ dz: UnsafePointer<Float>, mask: UnsafePointer<Float>?, _ y: UnsafePointer<Float>, _ mean: UnsafePointer<Float>,
        _ rows: Int, _ channels: Int, sumGradient: FloatPointer, sumProduct: FloatPointer
    ) {
        var c = 0
        while c &+ 8 <= channels {
            let m = load8(mean + c)
            var s = Float8.zero, t = Float8.zero
            var at = c
            for _ in 0..<rows {
                var g = load8(dz + at)
                if let mask { g = Float8.zero.replacing(with: g, where: load8(mask + at) .> 0) }
                s += g
                t = fma8(g, load8(y + at) - m, t)
                at &+= channels
            }
            store8(load8(sumGradient + c) + s, sumGradient + c)
            store8(load8(sumProduct + c) + t, sumProduct + c)
            c &+= 8
        }
        while c < channels {
            var s: Float = 0, t: Float = 0
            for r in 0..<rows {
                let at = r &* channels &+ c
                let g = mask.map { $0[at] > 0 } ?? true ? dz[at] : 0
                s += g
                t += g * (y[at] - mean[c])
            }
            sumGradient[c] += s
            sumProduct[c] += t
            c &+= 1
        }
    }

    /// dy = g * a + y * b + k with g as in `gradientSums`. dy may be dz.
    static func gradientAffine(
        _ dz: UnsafePointer<Float>, mask: UnsafePointer<Float>?, _ y: UnsafePointer<Float>, _ rows: Int, _ channels: Int,
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ k: UnsafePointer<Float>, _ dy: FloatPointer
    ) {
        let vectors = channels & ~7
        for r in 0..<rows {
            let at = r &* channels
            var c = 0
            if let mask {
                while c < vectors {
                    let g = Float8.zero.replacing(with: load8(dz + at + c), where: load8(mask + at + c) .> 0)
                    store8(fma8(g, load8(a + c), fma8(load8(y + at + c), load8(b + c), load8(k + c))), dy + at + c)
                    c &+= 8
                }
            } else {
                while c < vectors {
                    store8(
                        fma8(load8(dz + at + c), load8(a + c), fma8(load8(y + at + c), load8(b + c), load8(k + c))), dy + at + c)
                    c &+= 8
                }
            }
            while c < channels {
                let g = mask.map { $0[at &+ c] > 0 } ?? true ? dz[at &+ c] : 0
                dy[at &+ c] = g * a[c] + y[at &+ c] * b[c] + k[c]
                c &+= 1
            }
        }
    }

    /// Sums of the columns over `rows` rows, added to `sums`.
    static func sums(_ x: UnsafePointer<Float>, _ rows: Int, _ channels: Int, into sums: FloatPointer) {
        for r in 0..<rows { for c in 0..<channels { sums[c] += x[r &* channels &+ c] } }
    }
}
