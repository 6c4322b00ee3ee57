/// 3x3 convolution of padding 1 and stride 1 or 2 by Winograd's method, see `WinogradAlgorithm`: at stride 1 a quarter
/// of the direct method's multiplications (tiles of 4 x 4 pixels; 0.22 of 5 x 5, 0.31 of 3 x 3), at stride 2 nine
/// sixteenths, as one matrix product (tiles, IC) x (IC, OC) per position of a transformed tile.
///
/// Rounding errors are two to ten times the direct method's: for 16 to 512 channels of random values, 1e-6 to 4e-6 of
/// the result, both root mean square; of 256 channels 2.6e-6 with tiles of 4 x 4 pixels, 4.1e-6 of 5 x 5 and 1.4e-6 of
/// 3 x 3.
enum WinogradConvolution {
    /// The parts for which `epilogue` is called by `forward`.
    static func parts(_ shape: ConvolutionShape) -> PartNumbers {
        switch WinogradMethod(shape) {
        case .stride1(.four): numbers(shape, forwardGrid(shape, WinogradStride1.self))
        case .stride1(.five): numbers(shape, forwardGrid(shape, WinogradStride1Five.self))
        case .stride1(.three): numbers(shape, forwardGrid(shape, WinogradStride1Three.self))
        case .stride2: numbers(shape, forwardGrid(shape, WinogradStride2.self))
        }
    }

    /// The parts for which `epilogue` is called by `dataGradient`.
    static func gradientParts(_ shape: ConvolutionShape) -> PartNumbers {
        switch WinogradMethod(shape) {
        case .stride1: parts(shape)
        case .stride2: numbers(shape, gradientGrid(shape, WinogradStride2Gradient.self))
        }
    }

    /// y = conv(x), for `epilogue` see its type.
    static func forward(
        _ x: ConvolutionInput, _ weights: UnsafePointer<Float>, _ y: ConvolutionOutput, _ shape: ConvolutionShape,
        _ compute: Compute, alongside: [StoredValues] = [], epilogue: Epilogue?
    ) throws {
        func run<Algorithm: WinogradForwardAlgorithm>(_: Algorithm.Type) throws {
            try convolve(
                forwardGrid(shape, Algorithm.self), x, shape.inChannels, weights, y, shape.outChannels, shape, compute,
                backward: false, accumulate: false, alongside: alongside, epilogue: epilogue)
        }
        switch WinogradMethod(shape) {
        case .stride1(.four): try run(WinogradStride1.self)
        case .stride1(.five): try run(WinogradStride1Five.self)
        case .stride1(.three): try run(WinogradStride1Three.self)
        case .stride2: try run(WinogradStride2.self)
        }
    }

    /// dx = the gradient of the input, written or added.
    static func dataGradient(
        _ dy: ConvolutionInput, _ weights: UnsafePointer<Float>, _ dx: ConvolutionOutput, _ shape: ConvolutionShape,
        _ compute: Compute, accumulate: Bool, alongside: [StoredValues] = [], epilogue: Epilogue?
    ) throws {
        func run<Algorithm: WinogradAlgorithm>(_: Algorithm.Type) throws {
            try convolve(
                gradientGrid(shape, Algorithm.self), dy, shape.outChannels, weights, dx, shape.inChannels, shape,
                compute, backward: true,
                accumulate: accumulate, alongside: alongside, epilogue: epilogue)
        }
        switch WinogradMethod(shape) {
        case .stride1(.four): try run(WinogradStride1.self)
        case .stride1(.five): try run(WinogradStride1Five.self)
        case .stride1(.three): try run(WinogradStride1Three.self)
        case .stride2: try run(WinogradStride2Gradient.self)
        }
    }

    /// Adds the weight gradient G^T [sum over tiles of (B^T d B)^T (A dY A^T)] G to `dw`, (9 * IC, OC).
    static func weightGradient(
        _ x: ConvolutionInput, _ dy: ConvolutionInput, _ dw: FloatPointer, _ shape: ConvolutionShape, _ compute: Compute
    ) throws {
        switch WinogradMethod(shape) {
        case .stride1(.four):
            try weightGradient(forwardGrid(shape, WinogradStride1.self), x, dy, dw, shape, compute)
        case .stride1(.five):
            try weightGradient(forwardGrid(shape, WinogradStride1Five.self), x, dy, dw, shape, compute)
        case .stride1(.three):
            try weightGradient(forwardGrid(shape, WinogradStride1Three.self), x, dy, dw, shape, compute)
        case .stride2:
            try weightGradient(forwardGrid(shape, WinogradStride2.self), x, dy, dw, shape, compute)
        }
    }

    private static func forwardGrid<Algorithm>(_ shape: ConvolutionShape, _: Algorithm.Type) -> WinogradGrid<Algorithm>
    {
        WinogradGrid(
            batch: shape.batch, source: (shape.height, shape.width), target: (shape.outHeight, shape.outWidth))
    }

    private static func gradientGrid<Algorithm>(_ shape: ConvolutionShape, _: Algorithm.Type) -> WinogradGrid<Algorithm>
    {
        WinogradGrid(
            batch: shape.batch, source: (shape.outHeight, shape.outWidth), target: (shape.height, shape.width))
    }

    private static func numbers<Algorithm>(_ shape: ConvolutionShape, _ grid: WinogradGrid<Algorithm>) -> PartNumbers {
        WinogradPlan(shape, grid).parts.numbers
    }

    static func filterPosition<Algorithm: WinogradAlgorithm>(_ position: Int, _: Algorithm.Type) -> Int {
        Algorithm.filterPoint(position / Algorithm.points) * Algorithm.filterPoints
            + Algorithm.filterPoint(position % Algorithm.points)
    }

    private static func convolve<Algorithm>(
        _ grid: WinogradGrid<Algorithm>, _ source: ConvolutionInput, _ sourceChannels: Int,
        _ weights: UnsafePointer<Float>, _ target: ConvolutionOutput, _ targetChannels: Int, _ shape: ConvolutionShape,
        _ compute: Compute, backward: Bool, accumulate: Bool, alongside: [StoredValues], epilogue: Epilogue?
    ) throws {
        let plan = WinogradPlan(shape, grid)
        let positions = Algorithm.points * Algorithm.points
        let memory = try compute.takeDerived(
            weights, WinogradFilters.count(points: Algorithm.filterPoints, sourceChannels, targetChannels),
            keeps: !backward)
        defer { compute.give(memory) }
        let filters = WinogradFilters(
            points: Algorithm.filterPoints, depth: sourceChannels, columns: targetChannels, values: memory.base)
        if !memory.isReady { filters.transform(Algorithm.self, weights, forDataGradient: backward, compute) }
        let zeros = try takeZeros(sourceChannels, compute)
        defer { compute.workspace.give(zeros) }
        let vRow = WinogradPlan.rowStride(sourceChannels)
        let mRow = WinogradPlan.rowStride(targetChannels)
        let vStride = WinogradPlan.stride(plan.tilesPerStage * vRow)
        let mStride = WinogradPlan.stride(plan.tilesPerStage * mRow)
        func multiply(_ position: Int, _ tiles: Int, _ v: FloatPointer, _ m: FloatPointer, _ prefetch: inout Prefetch) {
            PackedGEMM.multiply(
                tiles, targetChannels, sourceChannels,
                .init(base: v + position * vStride, rowStride: vRow, depthStride: 1),
                filters.right(filterPosition(position, Algorithm.self)), m + position * mStride, mRow,
                accumulate: false, &prefetch)
        }
        func transform(_ rows: Range<Int>, _ v: FloatPointer, _ scratch: FloatPointer) {
            let pixels = source.pixels(grid.readPixels(rows), scratch)
            grid.transformInput(pixels, sourceChannels, rows, v, vStride, rowStride: vRow, zeros: zeros.base)
        }
        // A part's source pixels, then its target pixels.
        let inputCount = source.scratch(grid.mostReadPixels(plan.parts.size))
        let pixelCount =
            inputCount + target.scratch(plan.parts.size * Algorithm.outputs * grid.target.width)
        func finish(_ part: Int, _ rows: Range<Int>, _ m: FloatPointer, _ scratch: FloatPointer) {
            let pixels = grid.targetPixels(rows)
            let written = target.pixels(pixels, scratch + inputCount, accumulate: accumulate)
            grid.transformOutput(m, mStride, rowStride: mRow, targetChannels, rows, written, accumulate: accumulate)
            target.finish(part, pixels, written, epilogue)
        }
        if plan.partsPerStage == 1 {
            let scratch = try compute.scratch(positions * (vStride + mStride) + pixelCount)
            compute.parallelAhead(plan.parts.count) { part, next, worker in
                let rows = plan.parts[part]
                let v = scratch[worker]
                let m = v + positions * vStride
                let memory = m + positions * mStride
                transform(rows, v, memory)
                let tiles = rows.count * grid.tilesAcross
                let read = next.map { grid.sourcePixels(plan.parts[$0]) } ?? 0..<0
                var prefetch = Prefetch(steps: positions * PackedGEMM.tiles(tiles, targetChannels, sourceChannels))
                source.prefetch(read, &prefetch)
                target.prefetch(grid.targetPixels(rows), alongside: alongside, &prefetch)
                for position in 0..<positions { multiply(position, tiles, v, m, &prefetch) }
                finish(part, rows, m, memory)
            }
            return
        }
        let scratch = try compute.scratch(pixelCount)
        let stage = try compute.workspace.takePassing(positions * (vStride + mStride))
        defer { compute.workspace.givePassing(stage) }
        let v = stage.base
        let m = v + positions * vStride
        // Three phases a stage: there, multiply, and back.
        let stages = (plan.parts.count + plan.partsPerStage - 1) / plan.partsPerStage
        func parts(_ stage: Int) -> Range<Int> {
            stage * plan.partsPerStage..<min(plan.parts.count, (stage + 1) * plan.partsPerStage)
        }
        // Of one stage's few tiles a position is soon multiplied: a thread takes some, so that it prefetches the
        // filters of its own next one.
        let runs = stages == 1 && compute.threads <= 6 ? (positions + 2) / 3 : positions
        let counts = (0..<stages).flatMap { [parts($0).count, runs, parts($0).count] }
        compute.parallelPhases(counts) { phase, item, worker in
            let parts = parts(phase / 3)
            let firstRow = plan.parts[parts.lowerBound].lowerBound
            if phase % 3 == 1 {
                let last = plan.parts[parts.upperBound - 1].upperBound
                let tiles = (last - firstRow) * grid.tilesAcross
                let taken = share(0..<positions, item, of: runs)
                var prefetch = Prefetch(
                    steps: taken.count * PackedGEMM.tiles(tiles, targetChannels, sourceChannels))
                let written = share(grid.targetPixels(firstRow..<last), item, of: runs)
                target.prefetch(written, alongside: alongside, &prefetch)
                for position in taken { multiply(position, tiles, v, m, &prefetch) }
                return
            }
            let part = parts.lowerBound + item
            let rows = plan.parts[part]
            let tile = (rows.lowerBound - firstRow) * grid.tilesAcross
            if phase % 3 == 0 {
                transform(rows, v + tile * vRow, scratch[worker])
            } else {
                finish(part, rows, m + tile * mRow, scratch[worker])
            }
        }
    }
}
