/// Loops over the rows of a row-major (rows, C) matrix with one set of coefficients per column: what BatchNorm is made of.
///
/// All take the channel count and pointers to the first row; SIMD over channels, the last C mod 8 of them one by one.
enum ColumnKernels {
    /// Mean and sum of squared deviations of each column over `rows` rows, rows >= 1. Sums are taken of differences from the first row, so
    /// that a mean that is large beside the deviation costs no accuracy.
    static func moments(_ y: UnsafePointer<Float>, _ rows: Int, _ channels: Int, mean: FloatPointer, deviation: FloatPointer) {
        let scale = 1 / Float(rows)
        var c = 0
        while c &+ 16 <= channels {
            let first0 = load8(y + c), first1 = load8(y + c + 8)
            var s0 = Float8.zero, s1 = Float8.zero
            var q0 = Float8.zero, q1 = Float8.zero
            var p = y + c
            for _ in 0..<rows {
                let a = load8(p) - first0, b = load8(p + 8) - first1
                s0 += a
                s1 += b
                q0 = fma8(a, a, q0)
                q1 = fma8(b, b, q1)
                p += channels
            }
            store8(fma8(s0, Float8(repeating: scale), first0), mean + c)
            store8(fma8(s1, Float8(repeating: scale), first1), mean + c + 8)
            store8(max8(fma8(s0 * s0, Float8(repeating: -scale), q0), .zero), deviation + c)
            store8(max8(fma8(s1 * s1, Float8(repeating: -scale), q1), .zero), deviation + c + 8)
            c &+= 16
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
            deviation[c] = max(square - sum * sum * scale, 0)
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

    /// z = max(y * a + b, 0), where the rows of z lie `rowStride` values apart.
    static func affineRelu(
        _ y: UnsafePointer<Float>, _ rows: Int, _ channels: Int, _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ z: FloatPointer,
        rowStride: Int
    ) {
        for r in 0..<rows {
            let (from, to) = (y + r &* channels, z + r &* rowStride)
            var c = 0
            while c &+ FloatLane.scalarCount <= channels {
                storeLane(pointwiseMax(fmaLane(loadLane(from + c), loadLane(a + c), loadLane(b + c)), .zero), to + c)
                c &+= FloatLane.scalarCount
            }
            while c &+ 8 <= channels {
                store8(max8(fma8(load8(from + c), load8(a + c), load8(b + c)), .zero), to + c)
                c &+= 8
            }
            while c < channels {
                to[c] = max(from[c] * a[c] + b[c], 0)
                c &+= 1
            }
        }
    }

    /// Sums of g and of g * (y - mean) over `rows` rows, where g is dz, or 0 where a ReLU was closed: that of y * a + b when `relu`, or
    /// that whose `result` is given, and then g is written back to dz.
    ///
    /// Goes through memory in its order, with the sums in the first level cache.
    static func gradientSums(
        _ dz: FloatPointer, _ y: UnsafePointer<Float>, _ rows: Int, _ channels: Int, mean: UnsafePointer<Float>, relu: Bool,
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, result: UnsafePointer<Float>?, sumGradient: FloatPointer,
        sumProduct: FloatPointer
    ) {
        sumGradient.update(repeating: 0, count: channels)
        sumProduct.update(repeating: 0, count: channels)
        let vectors = channels & ~7
        for r in 0..<rows {
            let at = r &* channels
            var c = 0
            func add(_ g: Float8, _ value: Float8) {
                store8(load8(sumGradient + c) + g, sumGradient + c)
                store8(fma8(g, value - load8(mean + c), load8(sumProduct + c)), sumProduct + c)
                c &+= 8
            }
            if let result {
                while c < vectors {
                    let g = Float8.zero.replacing(with: load8(dz + at + c), where: load8(result + at + c) .> 0)
                    store8(g, dz + at + c)
                    add(g, load8(y + at + c))
                }
            } else if relu {
                while c < vectors {
                    let value = load8(y + at + c)
                    let open = fma8(value, load8(a + c), load8(b + c)) .> 0
                    add(Float8.zero.replacing(with: load8(dz + at + c), where: open), value)
                }
            } else {
                while c < vectors { add(load8(dz + at + c), load8(y + at + c)) }
            }
            while c < channels {
                let i = at &+ c
                if let result, !(result[i] > 0) { dz[i] = 0 }
                let g = relu && !(y[i] * a[c] + b[c] > 0) ? 0 : dz[i]
                sumGradient[c] += g
                sumProduct[c] += g * (y[i] - mean[c])
                c &+= 1
            }
        }
    }

    /// dy = g * factor + y * slope + constant, where g is dz, or 0 where the ReLU of y * a + b was closed when `relu`. The rows of dy lie `rowStride`
    /// values apart; dy may be dz when that is the number of channels.
    static func gradientAffine(
        _ dz: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ rows: Int, _ channels: Int, relu: Bool,
        _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ factor: UnsafePointer<Float>, _ slope: UnsafePointer<Float>,
        _ constant: UnsafePointer<Float>, _ dy: FloatPointer, rowStride: Int
    ) {
        let vectors = channels & ~7
        for r in 0..<rows {
            let at = r &* channels
            let to = dy + r &* rowStride
            var c = 0
            if relu {
                while c < vectors {
                    let value = load8(y + at + c)
                    let open = fma8(value, load8(a + c), load8(b + c)) .> 0
                    let g = Float8.zero.replacing(with: load8(dz + at + c), where: open)
                    store8(fma8(g, load8(factor + c), fma8(value, load8(slope + c), load8(constant + c))), to + c)
                    c &+= 8
                }
            } else {
                while c < vectors {
                    let rest = fma8(load8(y + at + c), load8(slope + c), load8(constant + c))
                    store8(fma8(load8(dz + at + c), load8(factor + c), rest), to + c)
                    c &+= 8
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
