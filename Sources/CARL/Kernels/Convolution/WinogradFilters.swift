/// Transformed filters of a Winograd convolution, as panels for `PackedGEMM`: position p of the filter from input k to
/// output c is value `p * positionStride + (c / width * depth + k) * width + c % width`, with the width of a panel.
struct WinogradFilters {
    /// Transformed values along a side of a filter, `WinogradAlgorithm.filterPoints`.
    let points: Int
    /// Channels that are summed over: IC, or OC for the data gradient.
    let depth: Int
    /// Channels of the result: OC, or IC for the data gradient.
    let columns: Int
    let values: FloatPointer

    private static let width = PackedGEMM.width
    /// Filters side by side that are transformed at a time.
    private static let blockSide = 16
    /// Values that can be hoped to stay in a shared cache until they are read, 16 MiB.
    private static let mostInCaches = 1 << 22

    /// Values of all positions from which on a stage's filters come from beyond a second level cache, 512 KiB: each is
    /// read once a stage.
    private static let leastFar = 1 << 17

    static func positionStride(_ depth: Int, _ columns: Int) -> Int {
        WinogradPlan.stride((columns + width - 1) / width * depth * width)
    }

    var positionStride: Int { Self.positionStride(depth, columns) }

    /// Values of memory for all positions.
    static func count(points: Int, _ depth: Int, _ columns: Int) -> Int {
        points * points * positionStride(depth, columns)
    }

    private var count: Int { Self.count(points: points, depth, columns) }

    /// The filters of a position as the right side of a product.
    func right(_ position: Int) -> PackedGEMM.Right {
        PackedGEMM.Right(
            base: values + position * positionStride, panelStride: depth * Self.width, depthStride: Self.width,
            isFar: count >= Self.leastFar)
    }

    /// G g G^T of all filters of `weights`, (9, IC, OC). For the data gradient the filters are turned by 180 degrees
    /// and inputs and outputs change places.
    func transform<Algorithm: WinogradAlgorithm>(
        _: Algorithm.Type, _ weights: UnsafePointer<Float>, forDataGradient: Bool, _ compute: Compute
    ) {
        // Blocks of sixteen inputs or outputs of the layer, a cache line, whichever becomes the columns of a panel in
        // the end.
        let side = Self.blockSide
        let blocks = (columns + side - 1) / side
        let grain = max(1, (1 << 12) / (side * depth))
        let nonTemporal = count > Self.mostInCaches
        compute.parallelRanges(blocks, grain: grain) { _, range in
            withUnsafeTemporaryAllocation(byteCount: 9 * side * side * MemoryLayout<Float>.stride, alignment: 64) {
                memory in
                let block = memory.bindMemory(to: Float.self).baseAddress!
                WinogradTiles.withHalf { half in
                    for column in range {
                        if forDataGradient {
                            transformTurned(Algorithm.self, weights, column * side, block, half, nonTemporal)
                        } else {
                            transform(Algorithm.self, weights, column * side, half, nonTemporal)
                        }
                    }
                }
            }
            if nonTemporal { storeFence() }
        }
    }

    /// Columns of a block from `column` on, as they lie in the weights.
    private func transform<Algorithm: WinogradAlgorithm>(
        _: Algorithm.Type, _ weights: UnsafePointer<Float>, _ column: Int, _ half: FloatPointer, _ nonTemporal: Bool
    ) {
        for k in 0..<depth {
            let source = weights + (k &* columns &+ column)
            let target = place(k, column)
            Algorithm.filters(
                source, step: depth &* columns, min(Self.blockSide, columns &- column), target, positionStride, half,
                nonTemporal)
        }
    }

    /// Columns of a block from `column` on, which are inputs of the layer: in the weights their values lie OC apart, so
    /// square blocks are brought side by side first.
    private func transformTurned<Algorithm: WinogradAlgorithm>(
        _: Algorithm.Type, _ weights: UnsafePointer<Float>, _ column: Int, _ block: FloatPointer, _ half: FloatPointer,
        _ nonTemporal: Bool
    ) {
        let side = Self.blockSide
        let inputs = min(side, columns &- column)
        var k = 0
        while k < depth {
            let outputs = min(side, depth &- k)
            for tap in 0..<9 {
                let source = weights + (((8 &- tap) &* columns &+ column) &* depth &+ k)
                let target = block + tap &* side &* side
                for i in 0..<inputs {
                    for o in 0..<outputs { target[o &* side &+ i] = source[i &* depth &+ o] }
                }
            }
            for o in 0..<outputs {
                Algorithm.filters(
                    block + o &* side, step: side &* side, inputs, place(k &+ o, column), positionStride, half,
                    nonTemporal)
            }
            k &+= side
        }
    }

    private func place(_ k: Int, _ column: Int) -> FloatPointer {
        values + ((column / Self.width &* depth &+ k) &* Self.width &+ column % Self.width)
    }
}
