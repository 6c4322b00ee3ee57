import CMachine

/// GEMM on packed operands: they already lie as the micro-kernel reads them, so that nothing is copied, cleared or
/// packed.
///
/// Made for many products of small or middling size with a side that is kept (a Winograd convolution's 36 transformed
/// filters), where a general library spends a large share of its time on packing.
enum PackedGEMM {
    /// Columns of a panel of B.
    static let width = MicroKernel.columns
    /// Rows of A taken at a time; row counts that are multiples of it waste nothing.
    static let rows = MicroKernel.rows
    /// Depth done at a time: a panel's part, 16 KiB with AVX2 and 32 KiB with AVX-512, stays close to the processor
    /// while rows of A pass by.
    private static let depth = 256

    /// Values of panels that are far: 256 KiB.
    static let farCount = 1 << 16

    /// C (m x n) = A (m x k) * B (k x n), or added to C. `ldc`: from a row of C to the next one. `bias`, of n values,
    /// is what each row of C starts from, unless C is added to.
    ///
    /// Each value is one chain of fused multiply-adds along k in pieces of 256: the same however m and n are cut up.
    ///
    /// With a `b` of pairs, values of `a` are rounded to bfloat16 some rows at a time, and pieces are of 512; where
    /// both are pairs already, k counts words.
    static func multiply(
        _ m: Int, _ n: Int, _ k: Int, _ a: Left, _ b: Right, _ c: FloatPointer, _ ldc: Int, accumulate: Bool,
        bias: UnsafePointer<Float>? = nil
    ) {
        var prefetch = Prefetch()
        multiply(m, n, k, a, b, c, ldc, accumulate: accumulate, bias: bias, &prefetch)
    }

    /// The tiles of a product, for each of which `prefetch` takes a step.
    static func tiles(_ m: Int, _ n: Int, _ k: Int) -> Int {
        (k + depth - 1) / depth * ((n + width - 1) / width) * ((m + rows - 1) / rows)
    }

    /// The same product, with a step of `prefetch` before each tile.
    static func multiply(
        _ m: Int, _ n: Int, _ k: Int, _ a: Left, _ b: Right, _ c: FloatPointer, _ ldc: Int, accumulate: Bool,
        bias: UnsafePointer<Float>? = nil, _ prefetch: inout Prefetch
    ) {
        if b.format != .float32 && !a.isPaired {
            return multiplyRounding(m, n, k, a, b, c, ldc, accumulate: accumulate, bias: bias, &prefetch)
        }
        if k == 0 && !accumulate {
            for row in 0..<m {
                if let bias {
                    (c + row &* ldc).update(from: bias, count: n)
                } else {
                    (c + row &* ldc).update(repeating: 0, count: n)
                }
            }
        }
        let most = b.format == .float32 && !a.isPacked ? MicroKernel.mostRows : rows
        let tiles = (m &+ rows &- 1) / rows
        let isSpread = b.isFar && 1...mostSpread ~= tiles && b.format == .float32
        var start = 0
        while start < k {
            let count = min(depth, k &- start)
            let linesAhead = b.isFar && !isSpread && tiles >= 4 ? (count &* (width / 16) &+ tiles &- 1) / tiles : 0
            let add = accumulate || start > 0
            var column = 0
            while column < n {
                let panel = b.base + (column / width &* b.panelStride &+ start &* b.depthStride)
                let columns = min(width, n &- column)
                // The panel beside this one, or the first one further down; behind the last of all most likely the
                // caller's next columns.
                var ahead = panel + b.panelStride
                if column &+ width >= n {
                    ahead = start &+ count < k ? b.from(word: start &+ count).base : ahead - start &* b.depthStride
                }
                var spread = isSpread ? SpreadPrefetch(panel: ahead, tiles: tiles) : nil
                var rowsOfA = a.base + start &* a.depthStride
                var row = 0
                let isNarrow = columns <= FloatVector.scalarCount && b.format == .float32 && !isSpread
                while row < m {
                    prefetch.step()
                    for _ in 0..<linesAhead {
                        carl_prefetch(ahead)
                        ahead += 16
                    }
                    let target = c + (row &* ldc &+ column)
                    let left = m &- row
                    if isNarrow && left >= 2 &* rows {
                        prefetch.step()
                        narrow(
                            count, rowsOfA, a.rowStride, a.tileStride, a.depthStride, panel, b.depthStride, target, ldc,
                            columns, add ? UnsafePointer(target) : bias.map { $0 + column }, add ? ldc : 0)
                        rowsOfA += 2 &* a.tileStride
                        row &+= 2 &* rows
                        continue
                    }
                    let taken = left <= most ? left : rows
                    if b.format == .float32 {
                        tile(
                            count, rowsOfA, a.rowStride, a.depthStride, taken, panel, b.depthStride, target, ldc,
                            columns, add, add ? nil : bias.map { $0 + column }, spread)
                        spread = spread?.after(count)
                    } else {
                        BFloat16Kernel.tile(
                            b.format, count, rowsOfA, rowStride: a.rowStride, rows: taken, aStep: a.depthStride, panel,
                            bStep: b.depthStride, target, ldc, columns: columns,
                            addend: add ? UnsafePointer(target) : bias.map { $0 + column }, distance: add ? ldc : 0)
                    }
                    rowsOfA += a.tileStride
                    row &+= taken
                }
                column &+= width
            }
            start &+= count
        }
    }

    /// Tiles of rows up to which a panel is prefetched a line at a time within the tiles: the few of them have so many
    /// lines to bring that a burst between two would wait for memory itself.
    private static let mostSpread = 12

    /// Rows that are rounded at a time: with the depth of a piece 96 KiB, which stay in a second level cache.
    private static let roundedRows = 96

    /// The product with a `b` of pairs and an `a` of float32 values, which is not packed.
    private static func multiplyRounding(
        _ m: Int, _ n: Int, _ k: Int, _ a: Left, _ b: Right, _ c: FloatPointer, _ ldc: Int, accumulate: Bool,
        bias: UnsafePointer<Float>?, _ prefetch: inout Prefetch
    ) {
        let most = min(roundedRows, (m &+ rows &- 1) / rows &* rows)
        // Rows spread over the cache's sets.
        let words = min(depth, b.format.words(k)) &+ 16
        withUnsafeTemporaryAllocation(of: Float.self, capacity: most &* words) { memory in
            let target = memory.baseAddress!
            for start in stride(from: 0, to: max(k, 1), by: 2 &* depth) {
                let count = min(2 &* depth, k &- start)
                for first in stride(from: 0, to: m, by: most) {
                    let taken = min(most, m &- first)
                    let source = a.base + (first &* a.rowStride &+ start &* a.depthStride)
                    let left: Left
                    if a.depthStride == 1 {
                        left = Left(base: target, rowStride: words, depthStride: 1, isPaired: true)
                        for row in 0..<taken {
                            BFloat16.pair(source + row &* a.rowStride, count, to: target + row &* words)
                        }
                    } else {
                        left = Left(base: target, rowStride: 1, depthStride: most, isPaired: true)
                        for i in stride(from: 0, to: count, by: 2) {
                            let low = source + i &* a.depthStride
                            BFloat16.pair(
                                low, i &+ 1 < count ? low + a.depthStride : nil, taken, to: target + i / 2 &* most)
                        }
                    }
                    multiply(
                        taken, n, b.format.words(count), left, b.from(depth: start), c + first &* ldc, ldc,
                        accumulate: accumulate || start > 0, bias: bias, &prefetch)
                }
            }
        }
    }

    /// One tile of C. Rows behind the last one are computed from it again and not stored. `spread` prefetches for the
    /// next tiles.
    ///
    /// Functions of their own, so that each has a loop of its own.
    @inline(__always)
    private static func tile(
        _ k: Int, _ a: UnsafePointer<Float>, _ rowStride: Int, _ aStep: Int, _ rows: Int, _ b: UnsafePointer<Float>,
        _ bStep: Int, _ c: FloatPointer, _ ldc: Int, _ columns: Int, _ accumulate: Bool, _ bias: UnsafePointer<Float>?,
        _ spread: SpreadPrefetch?
    ) {
        let isTall = rows > PackedGEMM.rows
        switch (spread, isTall) {
        case (nil, false): plain(k, a, rowStride, aStep, rows, b, bStep, c, ldc, columns, accumulate, bias)
        case (nil, true): tall(k, a, rowStride, aStep, rows, b, bStep, c, ldc, columns, accumulate, bias)
        case (let ahead?, false):
            spreading(k, a, rowStride, aStep, rows, b, bStep, c, ldc, columns, accumulate, bias, ahead)
        case (let ahead?, true):
            tallSpreading(k, a, rowStride, aStep, rows, b, bStep, c, ldc, columns, accumulate, bias, ahead)
        }
    }

    @inline(never)
    private static func plain(
        _ k: Int, _ a: UnsafePointer<Float>, _ rowStride: Int, _ aStep: Int, _ rows: Int, _ b: UnsafePointer<Float>,
        _ bStep: Int, _ c: FloatPointer, _ ldc: Int, _ columns: Int, _ accumulate: Bool, _ bias: UnsafePointer<Float>?
    ) {
        tile(PackedGEMM.rows, k, a, rowStride, aStep, rows, b, bStep, c, ldc, columns, accumulate, bias) { _ in }
    }

    /// Two tiles of rows of at most half of a panel's columns, with `addend` added if there is one, its rows `distance`
    /// apart.
    @inline(never)
    private static func narrow(
        _ k: Int, _ a: UnsafePointer<Float>, _ rowStride: Int, _ tileStride: Int, _ aStep: Int,
        _ b: UnsafePointer<Float>, _ bStep: Int, _ c: FloatPointer, _ ldc: Int, _ columns: Int,
        _ addend: UnsafePointer<Float>?, _ distance: Int
    ) {
        let sums = MicroKernel(
            narrow: k, a, rowStride: rowStride, groupStride: tileStride, aStep: aStep, b, bStep: bStep)
        sums.forEachRow { row, upper, lower in
            store(upper, c + row &* ldc, columns, addend.map { $0 + row &* distance })
            let further = row &+ rows
            store(lower, c + further &* ldc, columns, addend.map { $0 + further &* distance })
        }
    }

    @inline(never)
    private static func tall(
        _ k: Int, _ a: UnsafePointer<Float>, _ rowStride: Int, _ aStep: Int, _ rows: Int, _ b: UnsafePointer<Float>,
        _ bStep: Int, _ c: FloatPointer, _ ldc: Int, _ columns: Int, _ accumulate: Bool, _ bias: UnsafePointer<Float>?
    ) {
        tile(MicroKernel.mostRows, k, a, rowStride, aStep, rows, b, bStep, c, ldc, columns, accumulate, bias) { _ in }
    }

    @inline(never)
    private static func spreading(
        _ k: Int, _ a: UnsafePointer<Float>, _ rowStride: Int, _ aStep: Int, _ rows: Int, _ b: UnsafePointer<Float>,
        _ bStep: Int, _ c: FloatPointer, _ ldc: Int, _ columns: Int, _ accumulate: Bool, _ bias: UnsafePointer<Float>?,
        _ spread: SpreadPrefetch
    ) {
        tile(PackedGEMM.rows, k, a, rowStride, aStep, rows, b, bStep, c, ldc, columns, accumulate, bias) {
            spread.step($0)
        }
    }

    @inline(never)
    private static func tallSpreading(
        _ k: Int, _ a: UnsafePointer<Float>, _ rowStride: Int, _ aStep: Int, _ rows: Int, _ b: UnsafePointer<Float>,
        _ bStep: Int, _ c: FloatPointer, _ ldc: Int, _ columns: Int, _ accumulate: Bool, _ bias: UnsafePointer<Float>?,
        _ spread: SpreadPrefetch
    ) {
        tile(MicroKernel.mostRows, k, a, rowStride, aStep, rows, b, bStep, c, ldc, columns, accumulate, bias) {
            spread.step($0)
        }
    }

    /// What all are made of: of `most` rows at most. `alongside` as of `MicroKernel`.
    @inline(__always)
    private static func tile(
        _ most: Int, _ k: Int, _ a: UnsafePointer<Float>, _ rowStride: Int, _ aStep: Int, _ rows: Int,
        _ b: UnsafePointer<Float>, _ bStep: Int, _ c: FloatPointer, _ ldc: Int, _ columns: Int, _ accumulate: Bool,
        _ bias: UnsafePointer<Float>?, alongside: (_ k: Int) -> Void
    ) {
        // What the tile is stored to has long been there when its sums are ready.
        var line = c
        for _ in 0..<most {
            carl_prefetch_near(line)
            line += ldc
        }
        let sums = MicroKernel(
            k, a, rowStride: rowStride, rowCount: rows, most: most, aStep: aStep, b, bStep: bStep,
            alongside: alongside)
        let addend = accumulate ? UnsafePointer(c) : bias
        let distance = accumulate ? ldc : 0
        if rows < most || columns < width {
            sums.forEachRow(most: most) { row, left, right in
                if row < rows {
                    store(left, right, c + row &* ldc, columns, addend.map { $0 + row &* distance })
                }
            }
        } else if let addend {
            sums.forEachRow(most: most) { row, left, right in
                let from = addend + row &* distance
                let (left, right) = (loadVector(from) + left, loadVector(from + FloatVector.scalarCount) + right)
                storeVector(left, c + row &* ldc)
                storeVector(right, c + row &* ldc + FloatVector.scalarCount)
            }
        } else {
            sums.forEachRow(most: most) { row, left, right in
                storeVector(left, c + row &* ldc)
                storeVector(right, c + row &* ldc + FloatVector.scalarCount)
            }
        }
    }

    /// Stores a row of a tile at an edge, added to `addend` if there is one.
    @inline(__always)
    private static func store(
        _ left: FloatVector, _ right: FloatVector, _ c: FloatPointer, _ columns: Int, _ addend: UnsafePointer<Float>?
    ) {
        let half = FloatVector.scalarCount
        store(left, c, min(half, columns), addend)
        if columns > half { store(right, c + half, columns &- half, addend.map { $0 + half }) }
    }

    /// Stores `count` values, a vector at most, added to `addend` if there is one.
    @inline(__always)
    private static func store(
        _ values: FloatVector, _ c: FloatPointer, _ count: Int, _ addend: UnsafePointer<Float>?
    ) {
        storeVector(addend.map { loadVector($0, count) + values } ?? values, c, count)
    }
}
