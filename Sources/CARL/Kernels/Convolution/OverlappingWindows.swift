/// Convolution of few channels whose windows overlap: the first layer of an encoder, 7x7 with stride 2 or 3x3 with
/// stride 1.
///
/// im2col copies each pixel as often as there are windows with it. Here the image rows that an output row reads are
/// laid side by side, pixel column by pixel column, (x, ky, channel): the window of output pixel ox is then kernel
/// columns from column ox * stride on, contiguous, and the one beside it begins stride columns further on. So a pixel
/// is copied once for each output row that reads it, and the windows are a left operand whose rows overlap in memory.
/// The filters' values are packed in that order, (kx, ky, channel).
enum OverlappingWindows {
    /// Channels up to which copying pixels is a large share of the work.
    private static let mostChannels = 8
    /// Pixels of an output row, which is a product by itself, from which on this outweighs its beginning.
    private static let leastWidth = 16
    /// Output pixels of a part, about.
    private static let pixelsPerPart = 256

    /// Whether this is faster than gathering windows: where windows overlap, and an output row fills the micro-kernel's
    /// tiles but for a tenth.
    static func pays(_ shape: ConvolutionShape) -> Bool {
        let tiled = (shape.outWidth + PackedGEMM.rows - 1) / PackedGEMM.rows * PackedGEMM.rows
        return paysForWeights(shape) && 10 * tiled <= 11 * shape.outWidth
    }

    /// The same of the weight gradient, in which output pixels are what is summed over.
    static func paysForWeights(_ shape: ConvolutionShape) -> Bool {
        shape.inChannels <= mostChannels && shape.kernel > shape.stride && shape.outWidth >= leastWidth
    }

    /// Whole output rows.
    static func parts(_ shape: ConvolutionShape) -> RowParts {
        RowParts(
            shape.outRows, size: max(1, pixelsPerPart / shape.outWidth) * shape.outWidth, groups: shape.groups)
    }

    static func forward(
        _ x: UnsafePointer<Float>, _ weights: UnsafePointer<Float>, _ y: ConvolutionOutput, _ shape: ConvolutionShape,
        _ compute: Compute, epilogue: Epilogue?
    ) throws {
        let parts = parts(shape)
        let (oc, patch) = (shape.outChannels, shape.patch)
        let column = shape.kernel * shape.inChannels
        let columns = (shape.outWidth - 1) * shape.stride + shape.kernel
        // One value more: an odd window's last pair takes the value behind it, times 0.
        let count = (columns * column + 2) / 2 * 2
        let scratch = try compute.scratch(count + y.scratch(parts.size))
        try PackedMatrix.with(
            weights, rows: shape.outRows, depth: patch, columns: oc, forward: true, compute,
            arranged: { arrange($0, to: $1, shape) }
        ) { right in
            // Windows begin at whole pairs.
            let isPaired = right.format != .float32 && shape.stride * column % 2 == 0
            let distance = shape.stride * column / (isPaired ? 2 : 1)
            let depth = isPaired ? right.format.words(patch) : patch
            compute.parallel(parts.count) { part, worker in
                let rows = parts[part]
                let pixels = scratch[worker]
                let written = y.pixels(rows, pixels + count, accumulate: false)
                for first in stride(from: rows.lowerBound, to: rows.upperBound, by: shape.outWidth) {
                    lay(x, shape, row: first / shape.outWidth, to: pixels)
                    pixels[columns * column] = 0
                    if isPaired { BFloat16.pair(pixels, count, to: pixels) }
                    PackedGEMM.multiply(
                        shape.outWidth, oc, depth,
                        .init(base: pixels, rowStride: distance, depthStride: 1, isPaired: isPaired), right,
                        written + first * oc, oc, accumulate: false)
                }
                y.finish(part, rows, written, epilogue)
            }
        }
    }

    /// Adds the weight gradient to `dw`.
    ///
    /// It is summed as (OC, window): then the windows, whose values lie side by side, are the right operand's columns,
    /// and the output channels the rows, of which a tile has few. Each thread sums a share of the output rows.
    static func weightGradient(
        _ x: UnsafePointer<Float>, _ dy: ConvolutionInput, _ dw: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute
    ) throws {
        let (oc, patch, width) = (shape.outChannels, shape.patch, shape.outWidth)
        let column = shape.kernel * shape.inChannels
        // The last panel of the last window's values is read to its end.
        let end = ((width - 1) * shape.stride + shape.kernel) * column
        let count = end + PackedGEMM.width
        let scratch = try compute.scratch(count + dy.scratch(width), for: compute.threads)
        let sum = try compute.workspace.takePassing(oc * patch)
        defer { compute.workspace.givePassing(sum) }
        sum.base.update(repeating: 0, count: oc * patch)
        try PartialSums.add(to: sum.base, oc * patch, over: shape.outRows / width, compute) { partial, worker, range in
            let pixels = scratch[worker]
            (pixels + end).update(repeating: 0, count: PackedGEMM.width)
            for row in range where !Cancellation.isRequested {
                lay(x, shape, row: row, to: pixels)
                let first = row * width
                let gradient = dy.pixels(first..<first + width, pixels + count) + first * oc
                PackedGEMM.multiply(
                    oc, patch, width, .init(base: gradient, rowStride: 1, depthStride: oc),
                    .init(base: pixels, panelStride: PackedGEMM.width, depthStride: shape.stride * column), partial,
                    patch, accumulate: true)
            }
        }
        // From (OC, kx, ky, channel) to (ky, kx, channel, OC).
        compute.parallelRanges(patch, grain: max(1, (1 << 14) / oc)) { _, range in
            for value in range {
                let (tap, channel) = (value / shape.inChannels, value % shape.inChannels)
                let (ky, kx) = (tap / shape.kernel, tap % shape.kernel)
                let from = sum.base + ((kx * shape.kernel + ky) * shape.inChannels + channel)
                let to = dw + value * oc
                for o in 0..<oc { to[o] += from[o * patch] }
            }
        }
    }

    /// The pixels that output row `row` of all images reads, (x, ky, channel) with the padding; outside the image is 0.
    private static func lay(_ x: UnsafePointer<Float>, _ shape: ConvolutionShape, row: Int, to target: FloatPointer) {
        let (image, oy) = (row / shape.outHeight, row % shape.outHeight)
        let (width, c, kernel) = (shape.width, shape.inChannels, shape.kernel)
        let column = kernel &* c
        let columns = (shape.outWidth &- 1) &* shape.stride &+ kernel
        let last = min(columns, width &+ shape.padding)
        for ky in 0..<kernel {
            let y = oy &* shape.stride &- shape.padding &+ ky
            let to = target + ky &* c
            func clear(_ range: Range<Int>) {
                for i in range { (to + i &* column).update(repeating: 0, count: c) }
            }
            guard y >= 0 && y < shape.height else {
                clear(0..<columns)
                continue
            }
            clear(0..<shape.padding)
            let from = x + (image &* shape.height &+ y) &* width &* c
            copy(from, last &- shape.padding, channels: c, to: to + shape.padding &* column, distance: column)
            clear(last..<columns)
        }
    }

    /// Copies `count` pixels, from one to the next `distance` values in `target`.
    @inline(__always)
    private static func copy(
        _ source: UnsafePointer<Float>, _ count: Int, channels: Int, to target: FloatPointer, distance: Int
    ) {
        var (from, to) = (source, target)
        switch channels {
        case 1:
            for _ in 0..<count {
                to[0] = from[0]
                from += 1
                to += distance
            }
        case 3:
            for _ in 0..<count {
                (to[0], to[1], to[2]) = (from[0], from[1], from[2])
                from += 3
                to += distance
            }
        default:
            for _ in 0..<count {
                for i in 0..<channels { to[i] = from[i] }
                from += channels
                to += distance
            }
        }
    }

    /// Filters (ky, kx, channel, OC) in the order of the windows, (kx, ky, channel, OC).
    private static func arrange(_ weights: UnsafePointer<Float>, to target: FloatPointer, _ shape: ConvolutionShape) {
        let (kernel, count) = (shape.kernel, shape.inChannels * shape.outChannels)
        for ky in 0..<kernel {
            for kx in 0..<kernel {
                (target + (kx * kernel + ky) * count).update(
                    from: weights + (ky * kernel + kx) * count, count: count)
            }
        }
    }
}
