/// 1x1 convolution of stride 1: y (rows, OC) = x (rows, IC) * w (IC, OC), in pieces that stay in cache for what follows.
enum PointwiseConvolution {
    private static func rowsPerPart(_ shape: ConvolutionShape) -> Int {
        let rows = (1 << 16) / (shape.inChannels + shape.outChannels)
        return min(1024, max(128, rows & ~15))
    }

    static func parts(_ shape: ConvolutionShape) -> RowParts {
        RowParts(shape.outRows, size: rowsPerPart(shape), groups: shape.groups)
    }

    static func forward(
        _ x: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ y: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute, rowsDone: RowsDone?
    ) {
        let parts = parts(shape)
        let (ic, oc) = (shape.inChannels, shape.outChannels)
        compute.parallel(parts.count) { part, _ in
            let rows = parts[part]
            MatrixProduct.multiply(
                rows.count, oc, ic, x + rows.lowerBound * ic, ic, weights, oc, y + rows.lowerBound * oc, oc)
            rowsDone?(part, rows)
        }
    }

    static func dataGradient(
        _ dy: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ dx: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute, accumulate: Bool, rowsDone: RowsDone?
    ) {
        let parts = parts(shape)
        let (ic, oc) = (shape.inChannels, shape.outChannels)
        compute.parallel(parts.count) { part, _ in
            let rows = parts[part]
            MatrixProduct.multiply(
                rows.count, ic, oc, dy + rows.lowerBound * oc, oc, weights, oc, transposeB: true,
                dx + rows.lowerBound * ic, ic, beta: accumulate ? 1 : 0)
            rowsDone?(part, rows)
        }
    }

    static func weightGradient(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, _ dw: FloatPointer, _ shape: ConvolutionShape, _ compute: Compute
    ) throws {
        let (ic, oc) = (shape.inChannels, shape.outChannels)
        if shape.outRows < 4 * compute.threads * max(ic, oc) {
            // Few rows, large result: share the result.
            compute.multiply(ic, oc, shape.outRows, x, ic, transposeA: true, dy, oc, dw, oc, beta: 1)
            return
        }
        try PartialSums.add(to: dw, shape.weightCount, over: shape.outRows, compute) { partial, _, rows in
            MatrixProduct.multiply(
                ic, oc, rows.count, x + rows.lowerBound * ic, ic, transposeA: true, dy + rows.lowerBound * oc, oc,
                partial, oc, beta: 1)
        }
    }
}
