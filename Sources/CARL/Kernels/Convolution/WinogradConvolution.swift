/// 3x3 convolution of padding 1 and stride 1 or 2 by Winograd's method, see `WinogradAlgorithm`: at stride 1 a quarter of the direct
/// method's multiplications, at stride 2 nine sixteenths, as one matrix product (tiles, IC) x (IC, OC) per position of a transformed tile.
///
/// Rounding errors are five to ten times the direct method's: for 16 to 512 channels of random values, 1e-6 to 3e-6 of
/// the result, both root mean square.
enum WinogradConvolution {
    /// The parts for which `rowsDone` is called by `forward`.
    static func parts(_ shape: ConvolutionShape) -> PartNumbers {
        shape.stride == 1
            ? numbers(shape, forwardGrid(shape, WinogradStride1.self)) : numbers(shape, forwardGrid(shape, WinogradStride2.self))
    }

    /// The parts for which `rowsDone` is called by `dataGradient`.
    static func gradientParts(_ shape: ConvolutionShape) -> PartNumbers {
        shape.stride == 1
            ? numbers(shape, gradientGrid(shape, WinogradStride1.self))
            : numbers(shape, gradientGrid(shape, WinogradStride2Gradient.self))
    }

    /// y = conv(x), for `rowsDone` see its type.
    static func forward(
        _ x: ConvolutionInput, _ weights: UnsafePointer<Float>, _ y: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute, alongside: [UnsafePointer<Float>] = [], rowsDone: RowsDone?
    ) throws {
        func run<Algorithm: WinogradForwardAlgorithm>(_: Algorithm.Type) throws {
            try convolve(
                forwardGrid(shape, Algorithm.self), x, shape.inChannels, weights, y, shape.outChannels, shape, compute,
                backward: false, accumulate: false, alongside: alongside, rowsDone: rowsDone)
        }
        if shape.stride == 1 { try run(WinogradStride1.self) } else { try run(WinogradStride2.self) }
    }

    /// dx = the gradient of the input, written or added.
    static func dataGradient(
        _ dy: ConvolutionInput, _ weights: UnsafePointer<Float>, _ dx: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute, accumulate: Bool, alongside: [UnsafePointer<Float>] = [], rowsDone: RowsDone?
    ) throws {
        func run<Algorithm: WinogradAlgorithm>(_: Algorithm.Type) throws {
            try convolve(
                gradientGrid(shape, Algorithm.self), dy, shape.outChannels, weights, dx, shape.inChannels, shape, compute, backward: true,
                accumulate: accumulate, alongside: alongside, rowsDone: rowsDone)
        }
        if shape.stride == 1 { try run(WinogradStride1.self) } else { try run(WinogradStride2Gradient.self) }
    }

    /// Adds the weight gradient G^T [sum over tiles of (B^T d B)^T (A dY A^T)] G to `dw`, (9 * IC, OC).
    static func weightGradient(
        _ x: ConvolutionInput, _ dy: ConvolutionInput, _ dw: FloatPointer, _ shape: ConvolutionShape, _ compute: Compute
    ) throws {
        if shape.stride == 1 {
            try weightGradient(forwardGrid(shape, WinogradStride1.self), x, dy, dw, shape, compute)
        } else {
            try weightGradient(forwardGrid(shape, WinogradStride2.self), x, dy, dw, shape, compute)
        }
    }

    private static func forwardGrid<Algorithm>(_ shape: ConvolutionShape, _: Algorithm.Type) -> WinogradGrid<Algorithm> {
        WinogradGrid(
            batch: shape.batch, source: (shape.height, shape.width), target: (shape.outHeight, shape.outWidth))
    }

    private static func gradientGrid<Algorithm>(_ shape: ConvolutionShape, _: Algorithm.Type) -> WinogradGrid<Algorithm> {
        WinogradGrid(
            batch: shape.batch, source: (shape.outHeight, shape.outWidth), target: (shape.height, shape.width))
    }

    private static func numbers<Algorithm>(_ shape: ConvolutionShape, _ grid: WinogradGrid<Algorithm>) -> PartNumbers {
        WinogradPlan(shape, grid).parts.numbers
    }

    private static func filterPosition<Algorithm: WinogradAlgorithm>(_ position: Int, _: Algorithm.Type) -> Int {
        Algorithm.filterPoint(position / Algorithm.points) * WinogradFilters.points
            + Algorithm.filterPoint(position % Algorithm.points)
    }

    private static func convolve<Algorithm>(
        _ grid: WinogradGrid<Algorithm>, _ source: ConvolutionInput, _ sourceChannels: Int,
        _ weights: UnsafePointer<Float>, _ target: FloatPointer, _ targetChannels: Int, _ shape: ConvolutionShape,
        _ compute: Compute, backward: Bool, accumulate: Bool, alongside: [UnsafePointer<Float>], rowsDone: RowsDone?
    ) throws {
        let plan = WinogradPlan(shape, grid)
        let positions = Algorithm.points * Algorithm.points
        let kept = backward ? nil : compute.keptFilters
        let (memory, ready) = try kept?.memory(weights, WinogradFilters.count(sourceChannels, targetChannels))
            ?? (compute.workspace.take(WinogradFilters.count(sourceChannels, targetChannels)), false)
        defer { if kept == nil { compute.workspace.give(memory) } }
        let filters = WinogradFilters(depth: sourceChannels, columns: targetChannels, values: memory.base)
        if !ready { filters.transform(Algorithm.self, weights, forDataGradient: backward, compute) }
        let zeros = try takeZeros(sourceChannels, compute)
        defer { compute.workspace.give(zeros) }
        let vRow = WinogradPlan.rowStride(sourceChannels)
        let mRow = WinogradPlan.rowStride(targetChannels)
        let vStride = WinogradPlan.stride(plan.tilesPerStage * vRow)
        let mStride = WinogradPlan.stride(plan.tilesPerStage * mRow)
        func multiply(_ position: Int, _ tiles: Int, _ v: FloatPointer, _ m: FloatPointer, _ prefetch: inout Prefetch) {
            PanelProduct.multiply(
                tiles, targetChannels, sourceChannels, .init(base: v + position * vStride, rowStride: vRow, depthStride: 1),
                filters.right(filterPosition(position, Algorithm.self)), m + position * mStride, mRow, accumulate: false, &prefetch)
        }
        func transform(_ rows: Range<Int>, _ v: FloatPointer, _ scratch: FloatPointer) {
            let pixels = source.pixels(grid.readPixels(rows), scratch)
            grid.transformInput(pixels, sourceChannels, rows, v, vStride, rowStride: vRow, zeros: zeros.base)
        }
        let inputCount = source.scratch(grid.mostReadPixels(plan.parts.size))
        func finish(_ part: Int, _ rows: Range<Int>, _ m: FloatPointer) {
            grid.transformOutput(m, mStride, rowStride: mRow, targetChannels, rows, target, accumulate: accumulate)
            rowsDone?(part, grid.targetPixels(rows))
        }
        if plan.partsPerStage == 1 {
            let scratch = try compute.scratch(positions * (vStride + mStride) + inputCount)
            compute.parallelAhead(plan.parts.count) { part, next, worker in
                let rows = plan.parts[part]
                let v = scratch[worker]
                let m = v + positions * vStride
                transform(rows, v, m + positions * mStride)
                let tiles = rows.count * grid.tilesAcross
                let written = grid.targetPixels(rows)
                let read = next.map { grid.sourcePixels(plan.parts[$0]) } ?? 0..<0
                var prefetch = Prefetch(steps: positions * PanelProduct.tiles(tiles, targetChannels, sourceChannels))
                source.ask(for: read, &prefetch)
                for memory in [UnsafePointer(target)] + alongside {
                    prefetch.add(memory + written.lowerBound * targetChannels, written.count * targetChannels)
                }
                for position in 0..<positions { multiply(position, tiles, v, m, &prefetch) }
                finish(part, rows, m)
            }
            return
        }
        let scratch = try compute.scratch(inputCount)
        let stage = try compute.workspace.take(positions * (vStride + mStride))
        defer { compute.workspace.give(stage) }
        let v = stage.base
        let m = v + positions * vStride
        // Three phases a stage: there, multiply, and back.
        let stages = (plan.parts.count + plan.partsPerStage - 1) / plan.partsPerStage
        func parts(_ stage: Int) -> Range<Int> {
            stage * plan.partsPerStage..<min(plan.parts.count, (stage + 1) * plan.partsPerStage)
        }
        let counts = (0..<stages).flatMap { [parts($0).count, positions, parts($0).count] }
        compute.parallelPhases(counts) { phase, item, worker in
            let parts = parts(phase / 3)
            let firstRow = plan.parts[parts.lowerBound].lowerBound
            if phase % 3 == 1 {
                let last = plan.parts[parts.upperBound - 1].upperBound
                let tiles = (last - firstRow) * grid.tilesAcross
                var prefetch = Prefetch(steps: PanelProduct.tiles(tiles, targetChannels, sourceChannels))
                let written = share(grid.targetPixels(firstRow..<last), item, of: positions)
                for memory in [UnsafePointer(target)] + alongside {
                    prefetch.add(memory + written.lowerBound * targetChannels, written.count * targetChannels)
                }
                multiply(item, tiles, v, m, &prefetch)
                return
            }
            let part = parts.lowerBound + item
            let rows = plan.parts[part]
            let tile = (rows.lowerBound - firstRow) * grid.tilesAcross
            if phase % 3 == 0 {
                transform(rows, v + tile * vRow, scratch[worker])
            } else {
                finish(part, rows, m + tile * mRow)
            }
        }
    }

    private static func weightGradient<Algorithm: WinogradForwardAlgorithm>(
        _ grid: WinogradGrid<Algorithm>, _ x: ConvolutionInput, _ dy: ConvolutionInput, _ dw: FloatPointer,
        _ shape: ConvolutionShape, _ compute: Compute
    ) throws {
        let filters = shape.inChannels * shape.outChannels
        let shared = filters > WinogradPlan.fewFilters
        let copies = shared ? 1 : compute.threads
        let stride = WinogradPlan.stride(filters)
        let count = WinogradFilters.points * WinogradFilters.points * stride
        let memory = try compute.workspace.take(copies * count)
        defer { compute.workspace.give(memory) }
        let zeros = try takeZeros(max(shape.inChannels, shape.outChannels), compute)
        defer { compute.workspace.give(zeros) }
        let operands = WeightGradientOperands(
            grid: grid, x: x, dy: dy, ic: shape.inChannels, oc: shape.outChannels, zeros: UnsafePointer(zeros.base))
        let filled = shared
            ? try sharedWeightGradient(operands, memory.base, stride, compute)
            : try separateWeightGradients(operands, memory.base, count, stride, compute)
        compute.parallelRanges(filters, grain: 1 << 12) { _, range in
            for copy in 1..<max(filled, 1) {
                for position in 0..<WinogradFilters.points * WinogradFilters.points {
                    let sum = memory.base + position * stride
                    let other = sum + copy * count
                    for i in range { sum[i] += other[i] }
                }
            }
            Algorithm.addFilterGradients(memory.base + range.lowerBound, stride, range.count, dw + range.lowerBound, step: filters)
        }
    }

    private struct WeightGradientOperands<Algorithm: WinogradForwardAlgorithm> {
        let grid: WinogradGrid<Algorithm>
        let x: ConvolutionInput
        let dy: ConvolutionInput
        let ic: Int
        let oc: Int
        let zeros: UnsafePointer<Float>

        var positions: Int { Algorithm.points * Algorithm.points }
        var vRow: Int { WinogradPlan.rowStride(ic) }
        var mRow: Int { WinogradPlan.rowStride(oc) }

        /// Values of memory that the transforms of some tile rows need, one after the other.
        func scratch(_ rowCount: Int) -> Int {
            max(x.scratch(grid.mostReadPixels(rowCount)), dy.scratch(rowCount * Algorithm.outputs * grid.target.width))
        }

        func transformInput(_ rows: Range<Int>, _ v: FloatPointer, _ vStride: Int, _ scratch: FloatPointer) {
            let pixels = x.pixels(grid.readPixels(rows), scratch)
            grid.transformInput(pixels, ic, rows, v, vStride, rowStride: vRow, zeros: zeros)
        }

        func transformGradient(_ rows: Range<Int>, _ m: FloatPointer, _ mStride: Int, _ scratch: FloatPointer) {
            let pixels = dy.pixels(grid.targetPixels(rows), scratch)
            grid.transformOutputGradient(pixels, oc, rows, m, mStride, rowStride: mRow, zeros: zeros)
        }

        /// Adds the products of `tiles` transformed tiles to a filter position of `u`, or writes them.
        @inline(__always)
        func multiply(
            _ filter: Int, _ tiles: Int, _ v: FloatPointer, _ vStride: Int, _ m: FloatPointer, _ mStride: Int, _ u: FloatPointer,
            accumulate: Bool, _ prefetch: inout Prefetch
        ) {
            var begun = accumulate
            for position in 0..<positions where filterPosition(position, Algorithm.self) == filter {
                PanelProduct.multiply(
                    ic, oc, tiles, .init(base: v + position * vStride, rowStride: 1, depthStride: vRow),
                    .init(base: m + position * mStride, panelStride: PanelProduct.width, depthStride: mRow), u, oc,
                    accumulate: begun, &prefetch)
                begun = true
            }
        }
    }

    /// Each thread sums over tiles of its own to a copy of its own: nothing is handed from core to core. For filters few enough.
    ///
    /// - Returns: how many of the copies at `u`, `copyStride` values apart, were written.
    private static func separateWeightGradients<Algorithm>(
        _ operands: WeightGradientOperands<Algorithm>, _ u: FloatPointer, _ copyStride: Int, _ stride: Int, _ compute: Compute
    ) throws -> Int {
        let grid = operands.grid
        let partRows = WinogradPlan.weightGradientRows(grid, separate: true)
        let parts = (grid.tileRows + partRows - 1) / partRows
        let partTiles = partRows * grid.tilesAcross
        let vStride = WinogradPlan.stride(partTiles * operands.vRow)
        let mStride = WinogradPlan.stride(partTiles * operands.mRow)
        let scratch = try compute.scratch(operands.positions * (vStride + mStride) + operands.scratch(partRows), for: compute.threads)
        let copies = min(compute.threads, parts)
        compute.parallelRanges(parts) { worker, range in
            let v = scratch[worker]
            let m = v + operands.positions * vStride
            let own = u + worker * copyStride
            func rows(_ part: Int) -> Range<Int> { part * partRows..<min(grid.tileRows, (part + 1) * partRows) }
            for part in range where !Cancellation.isRequested {
                let taken = rows(part)
                operands.transformInput(taken, v, vStride, m + operands.positions * mStride)
                operands.transformGradient(taken, m, mStride, m + operands.positions * mStride)
                let next = part + 1 < range.upperBound ? rows(part + 1) : 0..<0
                let (source, target) = (grid.sourcePixels(next), grid.targetPixels(next))
                let tiles = taken.count * grid.tilesAcross
                var prefetch = Prefetch(steps: operands.positions * PanelProduct.tiles(operands.ic, operands.oc, tiles))
                operands.x.ask(for: source, &prefetch)
                operands.dy.ask(for: target, &prefetch)
                for filter in 0..<WinogradFilters.points * WinogradFilters.points {
                    operands.multiply(
                        filter, tiles, v, vStride, m, mStride, own + filter * stride, accumulate: part > range.lowerBound, &prefetch)
                }
            }
        }
        return copies
    }

    /// The threads share the tiles of a stage, and each filter position belongs to one of them.
    private static func sharedWeightGradient<Algorithm>(
        _ operands: WeightGradientOperands<Algorithm>, _ u: FloatPointer, _ stride: Int, _ compute: Compute
    ) throws -> Int {
        let grid = operands.grid
        let filterPositions = WinogradFilters.points * WinogradFilters.points
        let rowsPerStage = WinogradPlan.weightGradientRows(grid, separate: false)
        let stageTiles = rowsPerStage * grid.tilesAcross
        let vStride = WinogradPlan.stride(stageTiles * operands.vRow)
        let mStride = WinogradPlan.stride(stageTiles * operands.mRow)
        let memory = try compute.workspace.take(operands.positions * (vStride + mStride))
        defer { compute.workspace.give(memory) }
        let v = memory.base
        let m = v + operands.positions * vStride
        // Some 16 tiles an item, either of x or of dy.
        let size = max(1, 16 / grid.tilesAcross)
        let scratch = try compute.scratch(operands.scratch(size))
        let stages = (grid.tileRows + rowsPerStage - 1) / rowsPerStage
        func stageRows(_ stage: Int) -> Range<Int> { stage * rowsPerStage..<min(grid.tileRows, (stage + 1) * rowsPerStage) }
        let counts = (0..<stages).flatMap { [2 * ((stageRows($0).count + size - 1) / size), filterPositions] }
        compute.parallelPhases(counts) { phase, item, worker in
            let rows = stageRows(phase / 2)
            if phase % 2 == 0 {
                let start = rows.lowerBound + item / 2 * size
                let taken = start..<min(rows.upperBound, start + size)
                let tile = (start - rows.lowerBound) * grid.tilesAcross
                if item % 2 == 0 {
                    operands.transformInput(taken, v + tile * operands.vRow, vStride, scratch[worker])
                } else {
                    operands.transformGradient(taken, m + tile * operands.mRow, mStride, scratch[worker])
                }
                return
            }
            // The last ones first: at stride 2 they have more products than the others.
            let filter = filterPositions - 1 - item
            let tiles = rows.count * grid.tilesAcross
            var prefetch = Prefetch(steps: PanelProduct.tiles(operands.ic, operands.oc, tiles))
            let next = phase / 2 + 1 < stages ? stageRows(phase / 2 + 1) : 0..<0
            operands.x.ask(for: share(grid.sourcePixels(next), item, of: filterPositions), &prefetch)
            operands.dy.ask(for: share(grid.targetPixels(next), item, of: filterPositions), &prefetch)
            operands.multiply(
                filter, tiles, v, vStride, m, mStride, u + filter * stride, accumulate: phase > 1, &prefetch)
        }
        return 1
    }

    /// The part of `range` that item `item` of `count` asks for.
    private static func share(_ range: Range<Int>, _ item: Int, of count: Int) -> Range<Int> {
        range.lowerBound + range.count * item / count..<range.lowerBound + range.count * (item + 1) / count
    }

    private static func takeZeros(_ count: Int, _ compute: Compute) throws -> FloatBuffer {
        let zeros = try compute.workspace.take(count)
        zeros.base.update(repeating: 0, count: count)
        return zeros
    }
}
