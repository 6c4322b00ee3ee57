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
        _ x: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ y: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute, rowsDone: RowsDone?
    ) throws {
        func run<Algorithm: WinogradForwardAlgorithm>(_: Algorithm.Type) throws {
            try convolve(
                forwardGrid(shape, Algorithm.self), x, shape.inChannels, weights, y, shape.outChannels, shape, compute,
                backward: false, accumulate: false, rowsDone: rowsDone)
        }
        if shape.stride == 1 { try run(WinogradStride1.self) } else { try run(WinogradStride2.self) }
    }

    /// dx = the gradient of the input, written or added.
    static func dataGradient(
        _ dy: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ dx: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute, accumulate: Bool, rowsDone: RowsDone?
    ) throws {
        func run<Algorithm: WinogradAlgorithm>(_: Algorithm.Type) throws {
            try convolve(
                gradientGrid(shape, Algorithm.self), dy, shape.outChannels, weights, dx, shape.inChannels, shape, compute, backward: true,
                accumulate: accumulate, rowsDone: rowsDone)
        }
        if shape.stride == 1 { try run(WinogradStride1.self) } else { try run(WinogradStride2Gradient.self) }
    }

    /// Adds the weight gradient G^T [sum over tiles of (B^T d B)^T (A dY A^T)] G to `dw`, (9 * IC, OC).
    static func weightGradient(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ dw: FloatPointer, _ shape: ConvolutionShape, _ compute: Compute
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
        _ grid: WinogradGrid<Algorithm>, _ source: UnsafePointer<Float>, _ sourceChannels: Int,
        _ weights: UnsafePointer<Float>, _ target: FloatPointer, _ targetChannels: Int, _ shape: ConvolutionShape,
        _ compute: Compute, backward: Bool, accumulate: Bool, rowsDone: RowsDone?
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
        func multiply(_ position: Int, _ tiles: Int, _ v: FloatPointer, _ m: FloatPointer) {
            PanelProduct.multiply(
                tiles, targetChannels, sourceChannels, .init(base: v + position * vStride, rowStride: vRow, depthStride: 1),
                filters.right(filterPosition(position, Algorithm.self)), m + position * mStride, mRow, accumulate: false)
        }
        func finish(_ part: Int, _ rows: Range<Int>, _ m: FloatPointer) {
            grid.transformOutput(m, mStride, rowStride: mRow, targetChannels, rows, target, accumulate: accumulate)
            rowsDone?(part, grid.firstPixel(rows.lowerBound)..<grid.firstPixel(rows.upperBound))
        }
        if plan.partsPerStage == 1 {
            let scratch = try compute.scratch(positions * (vStride + mStride))
            compute.parallel(plan.parts.count) { part, worker in
                let rows = plan.parts[part]
                let v = scratch[worker]
                let m = v + positions * vStride
                grid.transformInput(source, sourceChannels, rows, v, vStride, rowStride: vRow, zeros: zeros.base)
                for position in 0..<positions { multiply(position, rows.count * grid.tilesAcross, v, m) }
                finish(part, rows, m)
            }
            return
        }
        let stage = try compute.workspace.take(positions * (vStride + mStride))
        defer { compute.workspace.give(stage) }
        let v = stage.base
        let m = v + positions * vStride
        for first in stride(from: 0, to: plan.parts.count, by: plan.partsPerStage) {
            let count = min(plan.partsPerStage, plan.parts.count - first)
            let firstRow = plan.parts[first].lowerBound
            let tiles = (plan.parts[first + count - 1].upperBound - firstRow) * grid.tilesAcross
            compute.parallel(count) { part, _ in
                let rows = plan.parts[first + part]
                let place = (rows.lowerBound - firstRow) * grid.tilesAcross * vRow
                grid.transformInput(source, sourceChannels, rows, v + place, vStride, rowStride: vRow, zeros: zeros.base)
            }
            compute.parallel(positions) { position, _ in multiply(position, tiles, v, m) }
            compute.parallel(count) { part, _ in
                let rows = plan.parts[first + part]
                finish(first + part, rows, m + (rows.lowerBound - firstRow) * grid.tilesAcross * mRow)
            }
        }
    }

    /// A filter position's products belong to one worker, so the result does not depend on the number of threads.
    private static func weightGradient<Algorithm: WinogradForwardAlgorithm>(
        _ grid: WinogradGrid<Algorithm>, _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ dw: FloatPointer,
        _ shape: ConvolutionShape, _ compute: Compute
    ) throws {
        let positions = Algorithm.points * Algorithm.points
        let filterPositions = WinogradFilters.points * WinogradFilters.points
        let (ic, oc) = (shape.inChannels, shape.outChannels)
        let filters = ic * oc
        let stageRows = WinogradPlan.weightGradientRows(grid)
        let stageTiles = stageRows * grid.tilesAcross
        let vRow = WinogradPlan.rowStride(ic)
        let mRow = WinogradPlan.rowStride(oc)
        let vStride = WinogradPlan.stride(stageTiles * vRow)
        let mStride = WinogradPlan.stride(stageTiles * mRow)
        let uStride = WinogradPlan.stride(filters)
        let memory = try compute.workspace.take(positions * (vStride + mStride))
        defer { compute.workspace.give(memory) }
        let gradients = try compute.workspace.take(filterPositions * uStride)
        defer { compute.workspace.give(gradients) }
        let zeros = try takeZeros(max(ic, oc), compute)
        defer { compute.workspace.give(zeros) }
        let v = memory.base
        let m = v + positions * vStride
        for first in stride(from: 0, to: grid.tileRows, by: stageRows) {
            let last = min(grid.tileRows, first + stageRows)
            let tiles = (last - first) * grid.tilesAcross
            // Some 16 tiles an item, either of x or of dy.
            let size = max(1, 16 / grid.tilesAcross)
            let items = (last - first + size - 1) / size
            compute.parallel(2 * items) { item, _ in
                let start = first + item / 2 * size
                let rows = start..<min(last, start + size)
                let tile = (start - first) * grid.tilesAcross
                if item % 2 == 0 {
                    grid.transformInput(x, ic, rows, v + tile * vRow, vStride, rowStride: vRow, zeros: zeros.base)
                } else {
                    grid.transformOutputGradient(dy, oc, rows, m + tile * mRow, mStride, rowStride: mRow, zeros: zeros.base)
                }
            }
            compute.parallel(filterPositions) { item, _ in
                // The last ones first: at stride 2 they have more products than the others.
                let filter = filterPositions - 1 - item
                var begun = first > 0
                for position in 0..<positions where filterPosition(position, Algorithm.self) == filter {
                    PanelProduct.multiply(
                        ic, oc, tiles, .init(base: v + position * vStride, rowStride: 1, depthStride: vRow),
                        .init(base: m + position * mStride, panelStride: PanelProduct.width, depthStride: mRow),
                        gradients.base + filter * uStride, oc, accumulate: begun)
                    begun = true
                }
            }
        }
        compute.parallelRanges(filters, grain: 1 << 12) { _, range in
            Algorithm.addFilterGradients(
                gradients.base + range.lowerBound, uStride, range.count, dw + range.lowerBound, step: filters)
        }
    }

    private static func takeZeros(_ count: Int, _ compute: Compute) throws -> FloatBuffer {
        let zeros = try compute.workspace.take(count)
        zeros.base.update(repeating: 0, count: count)
        return zeros
    }
}
