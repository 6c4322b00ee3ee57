/// Maximum over windows of 3x3 pixels, stride 2, padding 1 (the pool of the ImageNet stem). Pixels outside do not
/// count. What it reads may be kept as bfloat16; its results are float32.
enum MaxPool {
    static func outSize(_ size: Int) -> Int { (size - 1) / 2 + 1 }

    static func forward(_ x: Activation, _ compute: Compute) throws -> Activation {
        let y = try compute.workspace.takeActivation(
            x.batch, outSize(x.height), outSize(x.width), x.channels, groups: x.groups)
        let (c, pixels) = (x.channels, x.stored)
        compute.parallel(y.batch * y.height) { row, _ in
            let (n, oy) = (row / y.height, row % y.height)
            for ox in 0..<y.width {
                let target = y.base + (row * y.width + ox) * c
                var i = 0
                while i &+ FloatVector.scalarCount <= c {
                    var maximum = FloatVector(repeating: -Float.infinity)
                    forEachPixel(x, n, oy, ox) { maximum = maxVector(maximum, pixels.vector($0 &+ i)) }
                    storeVector(maximum, target + i)
                    i &+= FloatVector.scalarCount
                }
                while i < c {
                    target[i] = -Float.infinity
                    forEachPixel(x, n, oy, ox) { target[i] = max(target[i], pixels[$0 &+ i]) }
                    i &+= 1
                }
            }
        }
        return y
    }

    /// Gives each window's gradient to the first pixel, in reading order, that has the maximum. That pixel is found
    /// again by comparing, so that forward stores no indices.
    static func backward(_ x: Activation, _ y: Activation, _ dy: Activation, _ compute: Compute) throws -> Activation {
        let dx = try compute.workspace.takeActivation(like: x)
        let (c, pixels) = (x.channels, x.stored)
        // Windows overlap: an image belongs to one worker.
        compute.parallel(x.batch) { n, _ in
            (dx.base + n * x.height * x.width * c).update(repeating: 0, count: x.height * x.width * c)
            for oy in 0..<y.height {
                for ox in 0..<y.width {
                    let at = ((n * y.height + oy) * y.width + ox) * c
                    let (maxima, gradients) = (y.base + at, dy.stored.from(at))
                    var i = 0
                    while i &+ FloatVector.scalarCount <= c {
                        let maximum = loadVector(maxima + i)
                        // What is left of the gradient where no pixel has had it yet.
                        var left = gradients.vector(i)
                        forEachPixel(x, n, oy, ox) { source in
                            let isMaximum = pixels.vector(source &+ i) .== maximum
                            let to = dx.base + (source &+ i)
                            storeVector(loadVector(to) + FloatVector.zero.replacing(with: left, where: isMaximum), to)
                            left.replace(with: FloatVector.zero, where: isMaximum)
                        }
                        i &+= FloatVector.scalarCount
                    }
                    while i < c {
                        var left = gradients[i]
                        forEachPixel(x, n, oy, ox) { source in
                            guard pixels[source &+ i] == maxima[i] else { return }
                            dx.base[source &+ i] += left
                            left = 0
                        }
                        i &+= 1
                    }
                }
            }
        }
        return dx
    }

    @inline(__always)
    private static func forEachPixel(_ x: Activation, _ n: Int, _ oy: Int, _ ox: Int, _ body: (_ source: Int) -> Void) {
        for iy in max(0, oy * 2 - 1)..<min(x.height, oy * 2 + 2) {
            for ix in max(0, ox * 2 - 1)..<min(x.width, ox * 2 + 2) {
                body(((n * x.height + iy) * x.width + ix) * x.channels)
            }
        }
    }
}

/// Mean over all pixels: (B, H, W, C) -> (B, C).
enum GlobalAveragePool {
    static func forward(_ x: Activation, _ compute: Compute) throws -> Activation {
        let y = try compute.workspace.takeActivation(x.batch, 1, 1, x.channels, groups: x.groups)
        let pixels = x.height * x.width
        let scale = 1 / Float(pixels)
        compute.parallel(x.batch) { n, _ in
            let target = y.base + n * x.channels
            target.update(repeating: 0, count: x.channels)
            ColumnKernels.sums(x.base + n * pixels * x.channels, pixels, x.channels, into: target)
            for c in 0..<x.channels { target[c] *= scale }
        }
        return y
    }

    /// The gradient of x, shaped like it.
    static func backward(_ x: Activation, _ dy: Activation, _ compute: Compute) throws -> Activation {
        let dx = try compute.workspace.takeActivation(like: x)
        let pixels = x.height * x.width
        let c = x.channels
        let scale = 1 / Float(pixels)
        compute.parallel(x.batch) { n, _ in
            let first = dx.base + n * pixels * c
            for i in 0..<c { first[i] = dy.base[n &* c &+ i] * scale }
            for pixel in 1..<max(pixels, 1) { (first + pixel * c).update(from: first, count: c) }
        }
        return dx
    }
}
