/// Convolution of any kernel, stride and padding: windows are gathered for some output pixels at a time (im2col), then
/// multiplied. The gathered windows of all pixels never exist at once.
enum Im2colConvolution {
    private static func rowsPerPart(_ shape: ConvolutionShape) -> Int {
        min(512, max(64, (1 << 16) / shape.patch & ~15))
    }

    static func parts(_ shape: ConvolutionShape) -> RowParts {
        OverlappingWindows.pays(shape)
            ? OverlappingWindows.parts(shape)
            : RowParts(shape.outRows, size: rowsPerPart(shape), groups: shape.groups)
    }

    /// Parts of images. Windows overlap, so an image belongs to one worker; small images go several at a time for the
    /// product's sake.
    static func imageParts(_ shape: ConvolutionShape) -> RowParts {
        let images = max(1, min(rowsPerPart(shape) / (shape.outHeight * shape.outWidth), shape.batch))
        return RowParts(shape.batch, size: images, groups: shape.groups)
    }

    static func forward(
        _ x: StoredValues, _ weights: UnsafePointer<Float>, _ y: ConvolutionOutput, _ shape: ConvolutionShape,
        _ compute: Compute, epilogue: Epilogue?
    ) throws {
        if OverlappingWindows.pays(shape) {
            return try OverlappingWindows.forward(x.float32, weights, y, shape, compute, epilogue: epilogue)
        }
        let parts = parts(shape)
        let (oc, patch) = (shape.outChannels, shape.patch)
        if SharedColumns.pays(parts, columns: oc, depth: patch, prepared: true, compute) {
            let patches = try compute.workspace.takePassing(shape.outRows * patch)
            defer { compute.workspace.givePassing(patches) }
            try PackedMatrix.with(
                weights, rows: shape.outRows, depth: patch, columns: oc, forward: true, compute
            ) { right in
                let operand = Patches(x, shape, right.format)
                try y.whole(shape.outRows, accumulate: false, compute, epilogue) { y, epilogue in
                    try SharedColumns.multiply(
                        parts, columns: oc, depth: patch, operand.left(patches.base), right, y, accumulate: false,
                        compute, prepare: { operand.gather($0, patches.base + $0.lowerBound * operand.stride) },
                        epilogue: epilogue)
                }
            }
            return
        }
        let scratch = try compute.scratch(parts.size * patch + y.scratch(parts.size))
        try PackedMatrix.with(
            weights, rows: shape.outRows, depth: patch, columns: oc, forward: true, compute
        ) { right in
            let operand = Patches(x, shape, right.format)
            compute.parallel(parts.count) { part, worker in
                let rows = parts[part]
                let patches = scratch[worker]
                let written = y.pixels(rows, patches + parts.size * patch, accumulate: false)
                operand.gather(rows, patches)
                PackedGEMM.multiply(
                    rows.count, oc, operand.stride, operand.left(patches), right,
                    written + rows.lowerBound * oc, oc,
                    accumulate: false)
                y.finish(part, rows, written, epilogue)
            }
        }
    }

    /// The windows of output pixels as the left operand of a product: float32 values, or words of two where x is kept
    /// as bfloat16 and the product takes such.
    private struct Patches {
        let x: StoredValues
        let shape: ConvolutionShape
        let isPaired: Bool

        init(_ x: StoredValues, _ shape: ConvolutionShape, _ format: ProductFormat) {
            self.x = x
            self.shape = shape
            isPaired = x.isBFloat16 && format != .float32
        }

        /// From a pixel's window to the next one: the depth of the product, in words.
        var stride: Int { isPaired ? shape.patch / 2 : shape.patch }

        func left(_ patches: UnsafePointer<Float>) -> PackedGEMM.Left {
            .init(base: patches, rowStride: stride, depthStride: 1, isPaired: isPaired)
        }

        func gather(_ rows: Range<Int>, _ patches: FloatPointer) {
            if isPaired {
                Im2colConvolution.gatherPairs(x, shape, rows, patches)
            } else {
                Im2colConvolution.gather(x, shape, rows, patches, rowStride: stride)
            }
        }
    }

    static func weightGradient(
        _ x: StoredValues, _ dy: ConvolutionInput, _ dw: FloatPointer, _ shape: ConvolutionShape,
        _ compute: Compute
    ) throws {
        if OverlappingWindows.paysForWeights(shape) {
            return try OverlappingWindows.weightGradient(x.float32, dy, dw, shape, compute)
        }
        try RowProductSum.add(to: dw, shape.patch, shape.outChannels, rows: shape.outRows, dy: dy, compute) {
            rows, scratch in
            gather(x, shape, rows, scratch, rowStride: shape.patch)
            return UnsafePointer(scratch)
        }
    }

    static func dataGradient(
        _ dy: ConvolutionInput, _ weights: UnsafePointer<Float>, _ target: ConvolutionOutput, _ shape: ConvolutionShape,
        _ compute: Compute, accumulate: Bool, epilogue: Epilogue?
    ) throws {
        let size = rowsPerPart(shape)
        let (oc, patch) = (shape.outChannels, shape.patch)
        let pixels = shape.outHeight * shape.outWidth
        let imageRows = shape.height * shape.width
        let imageCount = imageRows * shape.inChannels
        let parts = imageParts(shape)
        let gradientCount = dy.scratch(size)
        let scratch = try compute.scratch(size * patch + gradientCount + target.scratch(parts.size * imageRows))
        try PackedMatrix.with(
            weights, rows: shape.outRows, depth: oc, columns: patch, transposed: true, forward: false, compute
        ) { right in
            compute.parallel(parts.count) { part, worker in
                let (first, last) = (parts[part].lowerBound, parts[part].upperBound)
                let patches = scratch[worker]
                let images = first * imageRows..<last * imageRows
                let dx = target.pixels(images, patches + size * patch + gradientCount, accumulate: accumulate)
                if !accumulate { (dx + first * imageCount).update(repeating: 0, count: (last - first) * imageCount) }
                for start in stride(from: first * pixels, to: last * pixels, by: size) {
                    let rows = start..<min(last * pixels, start + size)
                    let gradient = dy.pixels(rows, patches + size * patch)
                    PackedGEMM.multiply(
                        rows.count, patch, oc,
                        .init(base: gradient + rows.lowerBound * oc, rowStride: oc, depthStride: 1), right, patches,
                        patch,
                        accumulate: false)
                    scatterAdd(patches, shape, rows, dx)
                }
                target.finish(part, images, dx, epilogue)
            }
        }
    }

    /// Copies the windows of output pixels `rows` to `patches`, each `rowStride` values from the one before; outside
    /// the image is 0.
    static func gather(
        _ x: StoredValues, _ shape: ConvolutionShape, _ rows: Range<Int>, _ patches: FloatPointer,
        rowStride: Int
    ) {
        forEachWindowRow(shape, rows, rowStride: rowStride) { place, source, before, inside, after in
            let target = patches + place
            for i in 0..<before { target[i] = 0 }
            if inside > 0 { x.from(source).copy(inside, to: target + before) }
            let rest = target + (before &+ inside)
            for i in 0..<after { rest[i] = 0 }
        }
    }

    /// The same of values that are kept as bfloat16, as they are. Their channels are even.
    private static func gatherPairs(
        _ x: StoredValues, _ shape: ConvolutionShape, _ rows: Range<Int>, _ patches: FloatPointer
    ) {
        guard let pairs = x.pairs else { return }
        forEachWindowRow(shape, rows, rowStride: shape.patch) { place, source, before, inside, after in
            let target = patches + place / 2
            for i in 0..<before / 2 { target[i] = 0 }
            if inside > 0 { (target + before / 2).update(from: pairs + source / 2, count: inside / 2) }
            let rest = target + (before &+ inside) / 2
            for i in 0..<after / 2 { rest[i] = 0 }
        }
    }

    /// Adds windows to where `gather` would have taken them from.
    static func scatterAdd(
        _ patches: UnsafePointer<Float>, _ shape: ConvolutionShape, _ rows: Range<Int>, _ dx: FloatPointer
    ) {
        forEachWindowRow(shape, rows, rowStride: shape.patch) { place, source, before, inside, _ in
            let from = patches + (place &+ before)
            let to = dx + source
            var i = 0
            while i &+ 8 <= inside {
                store8(load8(to + i) + load8(from + i), to + i)
                i &+= 8
            }
            while i < inside {
                to[i] += from[i]
                i &+= 1
            }
        }
    }

    /// For each output pixel and each row of its window: where the row starts in the gathered matrix, where its part
    /// inside the image starts in x, and how many values lie before, inside and after.
    @inline(__always)
    private static func forEachWindowRow(
        _ shape: ConvolutionShape, _ rows: Range<Int>, rowStride: Int,
        _ body: (_ place: Int, _ source: Int, _ before: Int, _ inside: Int, _ after: Int) -> Void
    ) {
        let (h, w, c, k) = (shape.height, shape.width, shape.inChannels, shape.kernel)
        let (oh, ow) = (shape.outHeight, shape.outWidth)
        let rowValues = k &* c
        var ox = rows.lowerBound % ow
        var oy = rows.lowerBound / ow % oh
        var n = rows.lowerBound / (ow &* oh)
        var window = 0
        for _ in rows {
            var place = window
            let x0 = ox &* shape.stride &- shape.padding
            let first = max(0, min(k, 0 &- x0))
            let last = max(first, min(k, w &- x0))
            for ky in 0..<k {
                let y = oy &* shape.stride &- shape.padding &+ ky
                if y < 0 || y >= h {
                    body(place, 0, rowValues, 0, 0)
                } else {
                    body(
                        place, ((n &* h &+ y) &* w &+ x0 &+ first) &* c, first &* c, (last &- first) &* c,
                        (k &- last) &* c)
                }
                place &+= rowValues
            }
            window &+= rowStride
            ox &+= 1
            if ox == ow {
                ox = 0
                oy &+= 1
                if oy == oh {
                    oy = 0
                    n &+= 1
                }
            }
        }
    }
}
