/// What the operands of a matrix product are, and what multiplies them.
enum ProductFormat: Hashable {
    case float32
    /// Pairs of bfloat16 values, by VDPBF16PS.
    case bfloat16
    /// Pairs of bfloat16 values, by float32 instructions.
    case emulatedBFloat16

    /// Values of the depth that share 32 bits.
    var depthPerWord: Int { self == .float32 ? 1 : 2 }

    /// Words of so many values of the depth.
    func words(_ depth: Int) -> Int { (depth &+ depthPerWord &- 1) / depthPerWord }
}

/// Where bfloat16 operands beat float32 ones: by the shape of a product alone, so that runs are reproducible.
///
/// Fitted to products of one thread of a Zen 5, 8 to 4,096 rows, 8 to 2,048 columns, depths of 16 to 512: bfloat16 was
/// 1.3 to 2.0 times as fast from a depth of 40 on, whatever else the shape, and slower below some 27. Costs are in
/// float32 multiply-adds of a product that take as long.
enum BFloat16Rule {
    /// Of each multiply-add: VDPBF16PS does two.
    private static let perProduct = 0.5
    /// Of each sum, for its shorter chain, begun and stored as often.
    private static let perSum = 7.0
    /// Of each value of the left operand, which is rounded and paired; the right one is packed either way.
    private static let perValue = 4.5
    private static let perRow = 250.0

    /// A product (rows, depth) * (depth, columns) with both operands float32 in memory. Tiles at the edges cost as much
    /// as whole ones.
    static func cost(rows: Int, columns: Int, depth: Int) -> Double {
        let sums = tiled(rows, 8) * tiled(columns, 32)
        let (rows, depth) = (Double(rows), Double((depth + 1) / 2 * 2))
        return sums * (perProduct * depth + perSum) + rows * (perValue * depth + perRow)
    }

    static func pays(rows: Int, columns: Int, depth: Int) -> Bool {
        cost(rows: rows, columns: columns, depth: depth) < tiled(rows, 8) * tiled(columns, 32) * Double(depth)
    }

    private static func tiled(_ count: Int, _ side: Int) -> Double { Double((count + side - 1) / side * side) }

    /// Whether a convolution that Winograd's method can do is better done by im2col and bfloat16. Winograd's transforms
    /// need float32.
    static func beatsWinograd(_ shape: ConvolutionShape) -> Bool {
        let cost = cost(rows: shape.outRows, columns: shape.outChannels, depth: shape.patch)
        return cost < shape.operations / 2 && cost < WinogradPlan.cost(shape)
    }
}

extension Compute {
    /// The operands of a layer's product (rows, depth) * (depth, columns).
    func format(rows: Int, columns: Int, depth: Int) -> ProductFormat {
        guard products != .float32, BFloat16Rule.pays(rows: rows, columns: columns, depth: depth) else {
            return .float32
        }
        return products
    }
}
