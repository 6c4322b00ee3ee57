/// Batch normalisation over the rows of (rows, C) (Ioffe and Szegedy, arXiv 1502.03167), with torch's conventions: eps 1e-5,
/// biased variance for normalising, running variance unbiased, momentum 0.1. ReLU and a residual addition are done in the same pass.
struct BatchNorm {
    let name: String
    static let epsilon = 1e-5
    static let momentum = 0.1

    let channels: Int
    let scale: Int
    let shift: Int
    let runningMean: Int
    let runningVariance: Int

    init(_ layout: inout ParameterLayout, _ name: String, _ channels: Int, initialScale: Float = 1) {
        self.name = name
        self.channels = channels
        scale = layout.add("\(name).weight", [channels], .normScale, initialScale: initialScale)
        shift = layout.add("\(name).bias", [channels], .normShift)
        runningMean = layout.addStatistic("\(name).running_mean", channels, initial: 0)
        runningVariance = layout.addStatistic("\(name).running_var", channels, initial: 1)
    }

    /// What backward needs besides the normalised input: per channel mean, 1 / standard deviation, and the factors of
    /// z = y * a + b, each C values.
    struct Tape {
        let memory: FloatBuffer
        let channels: Int
        var mean: FloatPointer { memory.base }
        var inverse: FloatPointer { memory.base + channels }
        var a: FloatPointer { memory.base + 2 * channels }
        var b: FloatPointer { memory.base + 3 * channels }
    }

    /// Moments of the parts of a matrix, filled while the parts are in cache, then joined.
    struct Moments {
        let memory: FloatBuffer
        let channels: Int
        let parts: Int
        /// Rows of each part, set by `add`.
        let rowCounts: UnsafeMutablePointer<Float>

        func add(_ y: UnsafePointer<Float>, _ part: Int, _ rows: Range<Int>) {
            rowCounts[part] = Float(rows.count)
            let mean = memory.base + part * 2 * channels
            ColumnKernels.moments(
                y + rows.lowerBound * channels, rows.count, channels, mean: mean, deviation: mean + channels)
        }
    }

    func takeMoments(parts: Int, _ compute: Compute) throws -> Moments {
        let memory = try compute.workspace.take(parts * (2 * channels + 1))
        return Moments(
            memory: memory, channels: channels, parts: parts, rowCounts: memory.base + parts * 2 * channels)
    }

    /// Joins the moments of the parts (Chan, Golub, LeVeque 1979), updates the running statistics, gives the moments' memory back.
    func finish(_ moments: Moments, _ memory: ModelMemory, _ compute: Compute) throws -> Tape {
        let tape = Tape(memory: try compute.workspace.take(4 * channels), channels: channels)
        let values = moments.memory.base
        let stride = 2 * channels
        var total = 0.0
        for part in 0..<moments.parts { total += Double(moments.rowCounts[part]) }
        let rows = total
        let unbias = rows > 1 ? rows / (rows - 1) : 1
        compute.parallelRanges(channels, grain: max(1, (1 << 15) / max(1, moments.parts))) { _, range in
            for c in range {
                var sum = 0.0
                for part in 0..<moments.parts { sum += Double(moments.rowCounts[part]) * Double(values[part &* stride &+ c]) }
                let mean = sum / rows
                var deviation = 0.0
                for part in 0..<moments.parts {
                    let d = Double(values[part &* stride &+ c]) - mean
                    deviation += Double(values[part &* stride &+ channels &+ c]) + Double(moments.rowCounts[part]) * d * d
                }
                let variance = deviation / rows
                let inverse = 1 / (variance + Self.epsilon).squareRoot()
                let a = Double(memory.parameters[scale + c]) * inverse
                tape.mean[c] = Float(mean)
                tape.inverse[c] = Float(inverse)
                tape.a[c] = Float(a)
                tape.b[c] = Float(Double(memory.parameters[shift + c]) - mean * a)
                let m = Self.momentum
                let running = memory.statistics
                running[runningMean + c] = Float((1 - m) * Double(running[runningMean + c]) + m * mean)
                running[runningVariance + c] = Float((1 - m) * Double(running[runningVariance + c]) + m * variance * unbias)
            }
        }
        compute.workspace.give(moments.memory)
        return tape
    }

    /// The factors of z = y * a + b from the running statistics, for evaluation: a and b, each C values.
    func evaluationFactors(_ memory: ModelMemory, _ a: FloatPointer, _ b: FloatPointer) {
        for c in 0..<channels {
            let inverse = 1 / (Double(memory.statistics[runningVariance + c]) + Self.epsilon).squareRoot()
            let factor = Double(memory.parameters[scale + c]) * inverse
            a[c] = Float(factor)
            b[c] = Float(Double(memory.parameters[shift + c]) - Double(memory.statistics[runningMean + c]) * factor)
        }
    }

    /// Rows a loop over (rows, C) takes at a time: about 64 KiB.
    static func rowsPerPart(_ channels: Int) -> Int { max(8, (1 << 14) / channels) }

    /// z = normalised y (+ skip) (then ReLU). The skip may be normalised itself on the way, by `skipTape`. z may be y.
    func apply(
        _ y: Activation, _ tape: Tape, skip: Activation? = nil, skipTape: Tape? = nil, relu: Bool, into z: Activation,
        _ compute: Compute
    ) {
        let (rows, channels) = (y.rows, y.channels)
        let size = Self.rowsPerPart(channels)
        compute.measured(name, .normalise, values: (skip == nil ? 2 : 3) * y.count) {
            compute.parallel((rows + size - 1) / size) { part, _ in
                let at = part * size * channels
                ColumnKernels.affine(
                    y.base + at, min(size, rows - part * size), channels, tape.a, tape.b,
                    skip: skip.map { UnsafePointer($0.base + at) }, skipScale: skipTape.map { UnsafePointer($0.a) },
                    skipShift: skipTape.map { UnsafePointer($0.b) }, relu: relu, z.base + at)
            }
        }
    }

    /// Backward of normalising (and of ReLU, when `mask`, the forward result, is given): from the gradient of the result, `dz`, adds the gradients of
    /// scale and shift and writes the gradient of y to `dy`, which may be `dz`.
    func backward(
        _ dz: Activation, mask: Activation?, _ y: Activation, _ tape: Tape, into dy: Activation, _ memory: ModelMemory,
        _ compute: Compute
    ) throws {
        try compute.measured(name, .normaliseBackward, values: (mask == nil ? 5 : 7) * y.count) {
            try measuredBackward(dz, mask: mask, y, tape, into: dy, memory, compute)
        }
    }

    private func measuredBackward(
        _ dz: Activation, mask: Activation?, _ y: Activation, _ tape: Tape, into dy: Activation, _ memory: ModelMemory,
        _ compute: Compute
    ) throws {
        let rows = y.rows
        let size = Self.rowsPerPart(channels)
        let parts = (rows + size - 1) / size
        // Parts are summed in groups, in order, so that the result does not depend on threads.
        let groups = min(parts, 64)
        let sums = try compute.workspace.take((2 * groups + 3) * channels)
        defer { compute.workspace.give(sums) }
        let channels = channels
        compute.parallel(groups) { group, _ in
            let sumGradient = sums.base + 2 * group * channels
            sumGradient.update(repeating: 0, count: 2 * channels)
            for part in parts * group / groups..<parts * (group + 1) / groups {
                let at = part * size * channels
                ColumnKernels.gradientSums(
                    dz.base + at, mask: mask.map { UnsafePointer($0.base + at) }, y.base + at, tape.mean,
                    min(size, rows - part * size), channels, sumGradient: sumGradient, sumProduct: sumGradient + channels)
            }
        }
        let a = sums.base + 2 * groups * channels
        let b = a + channels
        let k = b + channels
        for c in 0..<channels {
            var sumGradient = 0.0
            var sumProduct = 0.0
            for group in 0..<groups {
                sumGradient += Double(sums.base[2 * group * channels + c])
                sumProduct += Double(sums.base[(2 * group + 1) * channels + c])
            }
            let inverse = Double(tape.inverse[c])
            let factor = Double(memory.parameters[scale + c]) * inverse
            let slope = -factor * inverse * inverse * sumProduct / Double(rows)
            a[c] = Float(factor)
            b[c] = Float(slope)
            k[c] = Float(-factor * sumGradient / Double(rows) - slope * Double(tape.mean[c]))
            if let gradients = memory.gradients {
                gradients[scale + c] += Float(sumProduct * inverse)
                gradients[shift + c] += Float(sumGradient)
            }
        }
        compute.parallel(parts) { part, _ in
            let at = part * size * channels
            ColumnKernels.gradientAffine(
                dz.base + at, mask: mask.map { UnsafePointer($0.base + at) }, y.base + at, min(size, rows - part * size),
                channels, a, b, k, dy.base + at)
        }
    }
}
