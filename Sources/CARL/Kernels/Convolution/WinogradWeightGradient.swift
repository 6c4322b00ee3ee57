// The weight gradient by Winograd's algorithm: both operands are transformed, and tiles are what is summed over.

extension WinogradConvolution {
    static func weightGradient<Algorithm: WinogradForwardAlgorithm>(
        _ grid: WinogradGrid<Algorithm>, _ x: ConvolutionInput, _ dy: ConvolutionInput, _ dw: FloatPointer,
        _ shape: ConvolutionShape, _ compute: Compute
    ) throws {
        let filters = shape.inChannels * shape.outChannels
        let shared = filters > WinogradPlan.fewFilters
        let copies = shared ? 1 : compute.threads
        let stride = WinogradPlan.stride(filters)
        let filterPositions = Algorithm.filterPoints * Algorithm.filterPoints
        let count = filterPositions * stride
        let memory = try compute.workspace.takePassing(copies * count)
        defer { compute.workspace.givePassing(memory) }
        let zeros = try takeZeros(max(shape.inChannels, shape.outChannels), compute)
        defer { compute.workspace.give(zeros) }
        let operands = WeightGradientOperands(
            grid: grid, x: x, dy: dy, ic: shape.inChannels, oc: shape.outChannels, zeros: UnsafePointer(zeros.base))
        let filled =
            shared
            ? try sharedWeightGradient(operands, memory.base, stride, compute)
            : try separateWeightGradients(operands, memory.base, count, stride, compute)
        compute.parallelRanges(filters, grain: 1 << 12) { _, range in
            for copy in 1..<max(filled, 1) {
                for position in 0..<filterPositions {
                    let sum = memory.base + position * stride
                    let other = sum + copy * count
                    for i in range { sum[i] += other[i] }
                }
            }
            Algorithm.addFilterGradients(
                memory.base + range.lowerBound, stride, range.count, dw + range.lowerBound, step: filters)
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
            _ filter: Int, _ tiles: Int, _ v: FloatPointer, _ vStride: Int, _ m: FloatPointer, _ mStride: Int,
            _ u: FloatPointer,
            accumulate: Bool, _ prefetch: inout Prefetch
        ) {
            var begun = accumulate
            for position in 0..<positions where filterPosition(position, Algorithm.self) == filter {
                PackedGEMM.multiply(
                    ic, oc, tiles, .init(base: v + position * vStride, rowStride: 1, depthStride: vRow),
                    .init(base: m + position * mStride, panelStride: PackedGEMM.width, depthStride: mRow), u, oc,
                    accumulate: begun, &prefetch)
                begun = true
            }
        }
    }

    /// Each thread sums over tiles of its own to a copy of its own: nothing is handed from core to core. For filters
    /// few enough.
    ///
    /// - Returns: how many of the copies at `u`, `copyStride` values apart, were written.
    private static func separateWeightGradients<Algorithm>(
        _ operands: WeightGradientOperands<Algorithm>, _ u: FloatPointer, _ copyStride: Int, _ stride: Int,
        _ compute: Compute
    ) throws -> Int {
        let grid = operands.grid
        let partRows = WinogradPlan.weightGradientRows(grid, separate: true)
        let parts = (grid.tileRows + partRows - 1) / partRows
        let partTiles = partRows * grid.tilesAcross
        let vStride = WinogradPlan.stride(partTiles * operands.vRow)
        let mStride = WinogradPlan.stride(partTiles * operands.mRow)
        let scratch = try compute.scratch(
            operands.positions * (vStride + mStride) + operands.scratch(partRows), for: compute.threads)
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
                var prefetch = Prefetch(steps: operands.positions * PackedGEMM.tiles(operands.ic, operands.oc, tiles))
                operands.x.prefetch(source, &prefetch)
                operands.dy.prefetch(target, &prefetch)
                for filter in 0..<Algorithm.filterPoints * Algorithm.filterPoints {
                    operands.multiply(
                        filter, tiles, v, vStride, m, mStride, own + filter * stride,
                        accumulate: part > range.lowerBound, &prefetch)
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
        let filterPositions = Algorithm.filterPoints * Algorithm.filterPoints
        let rowsPerStage = WinogradPlan.weightGradientRows(grid, separate: false)
        let stageTiles = rowsPerStage * grid.tilesAcross
        let vStride = WinogradPlan.stride(stageTiles * operands.vRow)
        let mStride = WinogradPlan.stride(stageTiles * operands.mRow)
        let memory = try compute.workspace.takePassing(operands.positions * (vStride + mStride))
        defer { compute.workspace.givePassing(memory) }
        let v = memory.base
        let m = v + operands.positions * vStride
        // Some 16 tiles an item, either of x or of dy.
        let size = max(1, 16 / grid.tilesAcross)
        let scratch = try compute.scratch(operands.scratch(size))
        let stages = (grid.tileRows + rowsPerStage - 1) / rowsPerStage
        func stageRows(_ stage: Int) -> Range<Int> {
            stage * rowsPerStage..<min(grid.tileRows, (stage + 1) * rowsPerStage)
        }
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
            var prefetch = Prefetch(steps: PackedGEMM.tiles(operands.ic, operands.oc, tiles))
            let next = phase / 2 + 1 < stages ? stageRows(phase / 2 + 1) : 0..<0
            operands.x.prefetch(share(grid.sourcePixels(next), item, of: filterPositions), &prefetch)
            operands.dy.prefetch(share(grid.targetPixels(next), item, of: filterPositions), &prefetch)
            operands.multiply(
                filter, tiles, v, vStride, m, mStride, u + filter * stride, accumulate: phase > 1, &prefetch)
        }
        return 1
    }

    /// The part of `range` that item `item` of `count` asks for.
    static func share(_ range: Range<Int>, _ item: Int, of count: Int) -> Range<Int> {
        range.lowerBound + range.count * item / count..<range.lowerBound + range.count * (item + 1) / count
    }

    static func takeZeros(_ count: Int, _ compute: Compute) throws -> FloatBuffer {
        let zeros = try compute.workspace.take(count)
        zeros.base.update(repeating: 0, count: count)
        return zeros
    }
}
