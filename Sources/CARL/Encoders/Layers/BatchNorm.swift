/// Batch normalisation over the rows of (rows, C) (Ioffe and Szegedy, arXiv 1502.03167), with torch's conventions: eps
/// 1e-5, biased variance for normalising, running variance unbiased, momentum 0.1. ReLU and a residual addition are
/// done in the same pass.
///
/// Each group of rows (a view) has statistics of its own; the running ones see the groups one after the other.
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
        runningVariance = layout.addStatistic("\(name).running_var", channels, initial: 1, lowest: 0)
    }

    /// What backward needs besides the normalised input.
    typealias Tape = NormalizationFactors

    // MARK: Forward

    /// Moments of the parts of a matrix, filled while the parts are in cache, then joined.
    struct Moments {
        let memory: FloatBuffer
        let channels: Int
        let parts: PartNumbers
        /// Rows of each part, set by `add`.
        var rowCounts: FloatPointer { memory.base + parts.count * 2 * channels }

        func add(_ part: Int, _ rows: Range<Int>, _ y: FloatPointer) {
            rowCounts[part] = Float(rows.count)
            let mean = memory.base + part * 2 * channels
            ColumnKernels.moments(
                y + rows.lowerBound * channels, rows.count, channels, mean: mean, deviation: mean + channels)
        }
    }

    func takeMoments(_ parts: PartNumbers, _ compute: Compute) throws -> Moments {
        Moments(memory: try compute.workspace.take(parts.count * (2 * channels + 1)), channels: channels, parts: parts)
    }

    /// Joins the moments of each group's parts (Chan, Golub, LeVeque 1979), updates the running statistics group by
    /// group, gives the moments' memory back.
    func finish(_ moments: Moments, _ memory: ModelMemory, _ compute: Compute) throws -> Tape {
        let parts = moments.parts
        let tape = Tape(memory: try compute.workspace.take(4 * parts.groups * channels), channels: channels)
        let values = moments.memory.base
        let stride = 2 * channels
        let counts = moments.rowCounts
        let m = Self.momentum
        let running = memory.statistics
        compute.parallelRanges(channels, grain: max(1, (1 << 15) / max(1, parts.count))) { _, range in
            for group in 0..<parts.groups {
                let groupParts = parts.parts(group)
                let rows = groupParts.reduce(0.0) { $0 + Double(counts[$1]) }
                let unbias = rows > 1 ? rows / (rows - 1) : 1
                for c in range {
                    var sum = 0.0
                    for part in groupParts { sum += Double(counts[part]) * Double(values[part &* stride &+ c]) }
                    let mean = sum / rows
                    var deviation = 0.0
                    for part in groupParts {
                        let d = Double(values[part &* stride &+ c]) - mean
                        deviation += Double(values[part &* stride &+ channels &+ c]) + Double(counts[part]) * d * d
                    }
                    let variance = deviation / rows
                    let inverse = 1 / (variance + Self.epsilon).squareRoot()
                    let a = Double(memory.parameters[scale + c]) * inverse
                    tape.mean(group)[c] = Float(mean)
                    tape.inverse(group)[c] = Float(inverse)
                    tape.a(group)[c] = Float(a)
                    tape.b(group)[c] = Float(Double(memory.parameters[shift + c]) - mean * a)
                    running[runningMean + c] = Float((1 - m) * Double(running[runningMean + c]) + m * mean)
                    running[runningVariance + c] = Float(
                        (1 - m) * Double(running[runningVariance + c]) + m * variance * unbias)
                }
            }
        }
        compute.workspace.give(moments.memory)
        return tape
    }

    /// Lends the factors a and b, C values each, of z = y * a + b by the running statistics, for evaluation. Where the
    /// weights stay they are computed once.
    func withEvaluationFactors<Result>(
        _ memory: ModelMemory, _ compute: Compute, _ body: (_ a: FloatPointer, _ b: FloatPointer) throws -> Result
    ) throws -> Result {
        let factors = try compute.takeDerived(memory.parameters + scale, 2 * channels, passing: false)
        defer { compute.give(factors) }
        let (a, b) = (factors.base, factors.base + channels)
        if !factors.isReady {
            for c in 0..<channels {
                let inverse = 1 / (Double(memory.statistics[runningVariance + c]) + Self.epsilon).squareRoot()
                let factor = Double(memory.parameters[scale + c]) * inverse
                a[c] = Float(factor)
                b[c] = Float(Double(memory.parameters[shift + c]) - Double(memory.statistics[runningMean + c]) * factor)
            }
        }
        return try body(a, b)
    }

    /// Parts of a loop over (rows, C): about 64 KiB each.
    static func parts(_ x: Activation) -> RowParts {
        RowParts(x.rows, size: max(8, (1 << 14) / x.channels), groups: x.groups)
    }

    /// z = normalised y (+ skip) (then ReLU). The skip may be normalised itself on the way, by `skipTape`. z may be y.
    func apply(
        _ y: Activation, _ tape: Tape, skip: Activation? = nil, skipTape: Tape? = nil, relu: Bool, into z: Activation,
        _ compute: Compute
    ) throws {
        let parts = Self.parts(y)
        let channels = channels
        try compute.measured(name, .normalise, values: (skip == nil ? 2 : 3) * y.count) {
            try ConvolutionOutput(z).write(parts, compute) { part, rows, written in
                let group = parts.numbers.group(part)
                let at = rows.lowerBound * channels
                ColumnKernels.affine(
                    y.stored.from(at), rows.count, channels, tape.a(group), tape.b(group),
                    skip: skip.map { $0.stored.from(at) },
                    skipScale: skipTape.map { UnsafePointer($0.a(group)) },
                    skipShift: skipTape.map { UnsafePointer($0.b(group)) }, relu: relu, written + at)
            }
        }
    }

    // MARK: Backward

    /// What followed the normalisation, whose backward is done on the way.
    enum Followed {
        case nothing
        /// A ReLU.
        case relu
        /// An addition, then a ReLU with this result; the gradient, 0 where the result is not positive, is written back
        /// for the other summand.
        case sumAndRelu(Activation)
    }

    /// Sums over the rows of the gradient of a normalised matrix, filled while the parts of the gradient are in cache,
    /// then used by `pendingGradient`.
    struct GradientSums {
        let memory: FloatBuffer
        let parts: PartNumbers
        let dz: Activation
        let y: Activation
        let tape: Tape
        let followed: Followed

        /// What `add` reads besides dz.
        var reads: [StoredValues] {
            if case .sumAndRelu(let z) = followed { return [y.stored, z.stored] }
            return [y.stored]
        }

        func add(_ part: Int, _ rows: Range<Int>, _ dz: FloatPointer) {
            let channels = y.channels
            let group = parts.group(part)
            let at = rows.lowerBound * channels
            let sums = memory.base + part * 2 * channels
            var (relu, result): (Bool, StoredValues?) = (false, nil)
            switch followed {
            case .nothing: break
            case .relu: relu = true
            case .sumAndRelu(let z): result = z.stored.from(at)
            }
            ColumnKernels.gradientSums(
                dz + at, y.stored.from(at), rows.count, channels, mean: tape.mean(group), relu: relu, tape.a(group),
                tape.b(group),
                result: result, sumGradient: sums, sumProduct: sums + channels)
        }
    }

    func takeGradientSums(
        _ parts: PartNumbers, _ dz: Activation, _ y: Activation, _ tape: Tape, _ followed: Followed, _ compute: Compute
    ) throws -> GradientSums {
        GradientSums(
            memory: try compute.workspace.take(parts.count * 2 * channels), parts: parts, dz: dz, y: y, tape: tape,
            followed: followed)
    }

    /// Backward of normalising, and of what followed, up to a last step that its reader does: from the gradient of the
    /// result, `dz`, adds the gradients of scale and shift.
    func backward(
        _ dz: Activation, _ followed: Followed, _ y: Activation, _ tape: Tape, _ memory: ModelMemory, _ compute: Compute
    ) throws -> PendingGradient {
        let parts = Self.parts(y)
        let sums = try takeGradientSums(parts.numbers, dz, y, tape, followed, compute)
        let gradient = ConvolutionOutput(dz)
        let scratch = try compute.scratch(gradient.scratch(parts.size))
        compute.measured(name, .normaliseBackward, values: 2 * y.count) {
            compute.parallel(parts.count) { part, worker in
                let rows = parts[part]
                let written = gradient.pixels(rows, scratch[worker], accumulate: true)
                sums.add(part, rows, written)
                if case .sumAndRelu = followed { gradient.finish(part, rows, written, nil) }
            }
        }
        return try pendingGradient(sums, memory, compute)
    }

    /// As above, with the last step: the gradient of y ends up in `dy`, which may be `dz`.
    func backward(
        _ dz: Activation, _ followed: Followed, _ y: Activation, _ tape: Tape, into dy: Activation,
        _ memory: ModelMemory,
        _ compute: Compute
    ) throws {
        let gradient = try backward(dz, followed, y, tape, memory, compute)
        defer { gradient.release(compute.workspace) }
        let parts = Self.parts(y)
        compute.measured(name, .normaliseBackward, values: 3 * y.count) {
            compute.parallel(parts.count) { part, _ in
                let rows = parts[part]
                gradient.write(
                    rows, parts.numbers.group(part), to: dy.base + rows.lowerBound * channels, rowStride: channels)
            }
        }
    }

    typealias PendingGradient = PendingNormalizationGradient

    /// Adds the gradients of scale and shift, when all sums are there; gives the sums' memory back.
    func pendingGradient(_ sums: GradientSums, _ memory: ModelMemory, _ compute: Compute) throws -> PendingGradient {
        let coefficients = try compute.workspace.take(3 * sums.y.groups * channels)
        addGradients(sums, coefficients.base, memory, compute)
        compute.workspace.give(sums.memory)
        var relu = false
        if case .relu = sums.followed { relu = true }
        return PendingGradient(dz: sums.dz, y: sums.y, factors: sums.tape, relu: relu, coefficients: coefficients)
    }

    /// Joins the sums, adds the gradients of scale and shift, and writes per group the factors a, b, k of dy = dz * a +
    /// y * b + k.
    private func addGradients(
        _ sums: GradientSums, _ coefficients: FloatPointer, _ memory: ModelMemory, _ compute: Compute
    ) {
        let parts = sums.parts
        let rows = Double(sums.y.rows / parts.groups)
        let values = sums.memory.base
        compute.parallelRanges(channels, grain: max(1, (1 << 15) / max(1, parts.count))) { _, range in
            for group in 0..<parts.groups {
                let a = coefficients + 3 * group * channels
                for c in range {
                    var sumGradient = 0.0
                    var sumProduct = 0.0
                    for part in parts.parts(group) {
                        sumGradient += Double(values[2 &* part &* channels &+ c])
                        sumProduct += Double(values[(2 &* part &+ 1) &* channels &+ c])
                    }
                    let inverse = Double(sums.tape.inverse(group)[c])
                    let factor = Double(memory.parameters[scale + c]) * inverse
                    let slope = -factor * inverse * inverse * sumProduct / rows
                    a[c] = Float(factor)
                    a[channels + c] = Float(slope)
                    a[2 * channels + c] = Float(-factor * sumGradient / rows - slope * Double(sums.tape.mean(group)[c]))
                    if let gradients = memory.gradients {
                        gradients[scale + c] += Float(sumProduct * inverse)
                        gradients[shift + c] += Float(sumGradient)
                    }
                }
            }
        }
    }
}
