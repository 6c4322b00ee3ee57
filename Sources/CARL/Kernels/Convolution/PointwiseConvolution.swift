/// 1x1 convolution of stride 1: y (rows, OC) = x (rows, IC) * w (IC, OC), in pieces that stay in cache for what
/// follows.
enum PointwiseConvolution {
    /// Channels of input and output up to which so few rows that two parts fit the second level cache are enough for a
    /// good product.
    private static let mostPrefetchedChannels = (1 << 15) / 48

    private static func isPrefetched(_ shape: ConvolutionShape) -> Bool {
        shape.inChannels + shape.outChannels <= mostPrefetchedChannels
    }

    static func parts(_ shape: ConvolutionShape) -> RowParts {
        guard isPrefetched(shape) else { return gradientParts(shape) }
        let rows = (1 << 15) / (shape.inChannels + shape.outChannels)
        return RowParts(shape.outRows, size: min(1024, rows & ~15), groups: shape.groups)
    }

    /// Of the data gradient, whose epilogue reads more than there is room for twice: nothing is prefetched for it.
    static func gradientParts(_ shape: ConvolutionShape) -> RowParts {
        let rows = (1 << 16) / (shape.inChannels + shape.outChannels)
        return RowParts(shape.outRows, size: min(1024, max(128, rows & ~15)), groups: shape.groups)
    }

    static func forward(
        _ x: ConvolutionInput, _ weights: UnsafePointer<Float>, _ y: ConvolutionOutput, _ shape: ConvolutionShape,
        _ compute: Compute, alongside: [StoredValues] = [], epilogue: Epilogue?
    ) throws {
        try multiply(
            x, shape.inChannels, weights, y, shape.outChannels, shape, compute, backward: false, accumulate: false,
            alongside: alongside, epilogue)
    }

    static func dataGradient(
        _ dy: ConvolutionInput, _ weights: UnsafePointer<Float>, _ dx: ConvolutionOutput, _ shape: ConvolutionShape,
        _ compute: Compute, accumulate: Bool, epilogue: Epilogue?
    ) throws {
        try multiply(
            dy, shape.outChannels, weights, dx, shape.inChannels, shape, compute, backward: true,
            accumulate: accumulate, alongside: [], epilogue)
    }

    private static func multiply(
        _ source: ConvolutionInput, _ depth: Int, _ weights: UnsafePointer<Float>, _ target: ConvolutionOutput,
        _ columns: Int,
        _ shape: ConvolutionShape, _ compute: Compute, backward: Bool, accumulate: Bool,
        alongside: [StoredValues], _ epilogue: Epilogue?
    ) throws {
        let parts = backward ? gradientParts(shape) : parts(shape)
        let sourceCount = source.scratch(parts.size)
        let scratch = try compute.scratch(sourceCount + target.scratch(parts.size))
        try PackedMatrix.with(
            weights, rows: shape.outRows, depth: depth, columns: columns, transposed: backward, forward: !backward,
            compute
        ) { right in
            if source.isThere(for: right.format),
                SharedColumns.pays(parts, columns: columns, depth: depth, prepared: false, compute)
            {
                let left = source.operand(0..<parts.rows, scratch[0], for: right.format)
                return try target.whole(parts.rows, accumulate: accumulate, compute, epilogue) { target, epilogue in
                    try SharedColumns.multiply(
                        parts, columns: columns, depth: depth, left, right, target, accumulate: accumulate, compute,
                        prepare: nil, epilogue: epilogue)
                }
            }
            compute.parallelAhead(parts.count) { part, next, worker in
                let rows = parts[part]
                let left = source.operand(rows, scratch[worker], for: right.format)
                let written = target.pixels(rows, scratch[worker] + sourceCount, accumulate: accumulate)
                var prefetch = Prefetch(steps: PackedGEMM.tiles(rows.count, columns, right.format.words(depth)))
                if let next, !backward, isPrefetched(shape) {
                    source.prefetch(parts[next], &prefetch)
                    target.prefetch(parts[next], alongside: alongside, &prefetch)
                }
                PackedGEMM.multiply(
                    rows.count, columns, left.isPaired ? depth / 2 : depth, left, right,
                    written + rows.lowerBound * columns, columns, accumulate: accumulate, &prefetch)
                target.finish(part, rows, written, epilogue)
            }
        }
    }

    static func weightGradient(
        _ x: ConvolutionInput, _ dy: ConvolutionInput, _ dw: FloatPointer, _ shape: ConvolutionShape, _ compute: Compute
    ) throws {
        let ic = shape.inChannels
        try RowProductSum.add(to: dw, ic, shape.outChannels, rows: shape.outRows, dy: dy, compute) {
            rows, scratch in
            x.pixels(rows, scratch) + rows.lowerBound * ic
        }
    }

    /// Pixels from which on both gradients are computed in one pass: their maps no longer stay in a cache from one to
    /// the other.
    private static let leastJoinedRows = 1 << 12

    static func joinsGradients(_ shape: ConvolutionShape) -> Bool {
        shape.outRows >= leastJoinedRows && RowProductSum.isSmall(shape.inChannels, shape.outChannels)
    }

    /// Both gradients, of some pixels at a time, so that the maps are read from memory once: the weights' is added to
    /// `dw`, the data's written to `dx` or added.
    static func gradients(
        _ x: ConvolutionInput, _ dy: ConvolutionInput, _ weights: UnsafePointer<Float>, addTo dw: FloatPointer,
        _ dx: ConvolutionOutput, _ shape: ConvolutionShape, _ compute: Compute, accumulate: Bool,
        alongside: [StoredValues], epilogue: Epilogue?
    ) throws {
        let (ic, oc) = (shape.inChannels, shape.outChannels)
        let parts = gradientParts(shape)
        // Parts that the weights' product takes together, for which a few rows are too few.
        let together = max(1, RowProductSum.rowsPerPart / parts.size)
        let items = (parts.count + together - 1) / together
        func members(_ item: Int) -> Range<Int> { item * together..<min(parts.count, (item + 1) * together) }
        func rows(_ item: Int) -> Range<Int> {
            let own = members(item)
            return parts[own.lowerBound].lowerBound..<parts[own.upperBound - 1].upperBound
        }
        let dyCount = dy.scratch(together * parts.size)
        try PackedMatrix.with(
            weights, rows: shape.outRows, depth: oc, columns: ic, transposed: true, forward: false, compute
        ) { right in
            try RowProductSum.addSeparately(
                to: dw, ic, oc, rows: shape.outRows, over: items, scratch: dyCount + dx.scratch(parts.size), compute
            ) { item, next, sum, scratch in
                let all = rows(item)
                let gradient = dy.pixels(all, scratch)
                var prefetch = Prefetch(steps: PackedGEMM.tiles(all.count, ic, right.format.words(oc)))
                if let next {
                    dx.prefetch(rows(next), alongside: alongside, &prefetch)
                    dy.prefetch(rows(next), &prefetch)
                }
                for part in members(item) {
                    let rows = parts[part]
                    let written = dx.pixels(rows, scratch + dyCount, accumulate: accumulate)
                    PackedGEMM.multiply(
                        rows.count, ic, oc,
                        .init(base: gradient + rows.lowerBound * oc, rowStride: oc, depthStride: 1), right,
                        written + rows.lowerBound * ic, ic, accumulate: accumulate, &prefetch)
                    dx.finish(part, rows, written, epilogue)
                }
                sum.add(all, dy: .init(gradient, channels: oc)) { rows, scratch in
                    x.pixels(rows, scratch) + rows.lowerBound * ic
                }
            }
        }
    }
}
