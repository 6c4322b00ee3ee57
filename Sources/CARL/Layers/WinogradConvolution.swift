/// 3x3 convolution of stride 1 and padding 1 by Winograd's F(4x4, 3x3), see `WinogradTransforms`: a quarter of the direct
/// method's multiplications, as 36 matrix products (tiles, IC) x (IC, OC), one per position of a transformed tile.
///
/// Rounding errors are five to ten times the direct method's: for 16 to 512 channels of random values, 1e-6 to 3e-6 of
/// the result, both root mean square.
enum WinogradConvolution {
    static func partCount(_ shape: ConvolutionShape) -> Int { WinogradPlan(shape).parts }

    /// y = conv(x), for `rowsDone` see its type.
    static func forward(
        _ x: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ y: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute, rowsDone: RowsDone?
    ) throws {
        try convolve(
            x, shape.inChannels, weights, y, shape.outChannels, shape, compute, backward: false, accumulate: false,
            rowsDone: rowsDone)
    }

    /// dx = the gradient of the input, written or added: the convolution of dy with the filters turned by 180 degrees.
    static func dataGradient(
        _ dy: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ dx: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute, accumulate: Bool
    ) throws {
        try convolve(
            dy, shape.outChannels, weights, dx, shape.inChannels, shape, compute, backward: true, accumulate: accumulate,
            rowsDone: nil)
    }

    private static func convolve(
        _ source: UnsafePointer<Float>, _ sourceChannels: Int, _ weights: UnsafePointer<Float>, _ target: FloatPointer,
        _ targetChannels: Int, _ shape: ConvolutionShape, _ compute: Compute, backward: Bool, accumulate: Bool,
        rowsDone: RowsDone?
    ) throws {
        let plan = WinogradPlan(shape)
        let grid = plan.grid
        let filters = shape.inChannels * shape.outChannels
        let uStride = WinogradPlan.stride(filters)
        let u = try compute.workspace.take(36 * uStride)
        defer { compute.workspace.give(u) }
        let zeros = try takeZeros(sourceChannels, compute)
        defer { compute.workspace.give(zeros) }
        compute.parallelRanges(filters, grain: 1 << 12) { _, range in
            WinogradTransforms.filters(weights, filters, range, rotated: backward, u.base, uStride)
        }
        let vStride = WinogradPlan.stride(plan.tilesPerStage * sourceChannels)
        let mStride = WinogradPlan.stride(plan.tilesPerStage * targetChannels)
        // Both directions use u as (IC, OC) matrices, the backward one transposed.
        func multiply(_ position: Int, _ tiles: Int, _ v: FloatPointer, _ m: FloatPointer) {
            MatrixProduct.multiply(
                tiles, targetChannels, sourceChannels, v + position * vStride, sourceChannels,
                u.base + position * uStride, shape.outChannels, transposeB: backward, m + position * mStride, targetChannels)
        }
        func finish(_ part: Int, _ rows: Range<Int>, _ m: FloatPointer) {
            grid.transformOutput(m, mStride, targetChannels, rows, target, accumulate: accumulate)
            rowsDone?(part, grid.firstPixel(rows.lowerBound)..<grid.firstPixel(rows.upperBound))
        }
        if plan.partsPerStage == 1 {
            let scratch = try compute.scratch(36 * (vStride + mStride))
            compute.parallel(plan.parts) { part, worker in
                let rows = plan.rows(part)
                let v = scratch[worker]
                let m = v + 36 * vStride
                grid.transformInput(source, sourceChannels, rows, v, vStride, zeros: zeros.base)
                for position in 0..<36 { multiply(position, rows.count * grid.tilesAcross, v, m) }
                finish(part, rows, m)
            }
            return
        }
        let memory = try compute.workspace.take(36 * (vStride + mStride))
        defer { compute.workspace.give(memory) }
        let v = memory.base
        let m = v + 36 * vStride
        for first in stride(from: 0, to: plan.parts, by: plan.partsPerStage) {
            let count = min(plan.partsPerStage, plan.parts - first)
            let firstRow = plan.rows(first).lowerBound
            let tiles = (plan.rows(first + count - 1).upperBound - firstRow) * grid.tilesAcross
            compute.parallel(count) { part, _ in
                let rows = plan.rows(first + part)
                let place = (rows.lowerBound - firstRow) * grid.tilesAcross * sourceChannels
                grid.transformInput(source, sourceChannels, rows, v + place, vStride, zeros: zeros.base)
            }
            compute.parallel(36) { position, _ in multiply(position, tiles, v, m) }
            compute.parallel(count) { part, _ in
                let rows = plan.rows(first + part)
                finish(first + part, rows, m + (rows.lowerBound - firstRow) * grid.tilesAcross * targetChannels)
            }
        }
    }

    /// Adds the weight gradient G^T [sum over tiles of (B^T d B)^T (A dY A^T)] G to `dw`, (9 * IC, OC).
    ///
    /// A position's product belongs to one worker, so the result does not depend on the number of threads.
    static func weightGradient(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ dw: FloatPointer, _ shape: ConvolutionShape, _ compute: Compute
    ) throws {
        let grid = WinogradGrid(shape)
        let (ic, oc) = (shape.inChannels, shape.outChannels)
        let filters = ic * oc
        let stageRows = WinogradPlan.weightGradientRows(grid)
        let stageTiles = stageRows * grid.tilesAcross
        let vStride = WinogradPlan.stride(stageTiles * ic)
        let mStride = WinogradPlan.stride(stageTiles * oc)
        let uStride = WinogradPlan.stride(filters)
        let memory = try compute.workspace.take(36 * (vStride + mStride))
        defer { compute.workspace.give(memory) }
        let gradients = try compute.workspace.take(36 * uStride)
        defer { compute.workspace.give(gradients) }
        let zeros = try takeZeros(max(ic, oc), compute)
        defer { compute.workspace.give(zeros) }
        let v = memory.base
        let m = v + 36 * vStride
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
                    grid.transformInput(x, ic, rows, v + tile * ic, vStride, zeros: zeros.base)
                } else {
                    grid.transformOutputGradient(dy, oc, rows, m + tile * oc, mStride, zeros: zeros.base)
                }
            }
            compute.parallel(36) { position, _ in
                MatrixProduct.multiply(
                    ic, oc, tiles, v + position * vStride, ic, transposeA: true, m + position * mStride, oc,
                    gradients.base + position * uStride, oc, beta: first == 0 ? 0 : 1)
            }
        }
        compute.parallelRanges(filters, grain: 1 << 12) { _, range in
            WinogradTransforms.addFilterGradients(gradients.base, uStride, range, dw, filters)
        }
    }

    private static func takeZeros(_ count: Int, _ compute: Compute) throws -> FloatBuffer {
        let zeros = try compute.workspace.take(count)
        zeros.base.update(repeating: 0, count: count)
        return zeros
    }
}
