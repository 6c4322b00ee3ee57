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
/// The rule is derived from counts of operations, and has not been measured: VDPBF16PS does twice the multiply-adds of
/// a float32 fused multiply-add, and each operand's values have to be rounded and paired first. Costs are in float32
/// multiply-adds of a product that take as long.
enum BFloat16Rule {
    /// Of each multiply-add.
    private static let perProduct = 0.5
    /// Of each value of an operand that is loaded, rounded, paired and stored: some twelve vector instructions for
    /// sixteen values, where one does sixteen multiply-adds.
    private static let perValue = 12.0

    /// A product (rows, depth) * (depth, columns) with both operands float32 in memory.
    static func cost(rows: Int, columns: Int, depth: Int) -> Double {
        let (rows, columns, depth) = (Double(rows), Double(columns), Double((depth + 1) / 2 * 2))
        return perProduct * rows * columns * depth + perValue * depth * (rows + columns)
    }

    static func pays(rows: Int, columns: Int, depth: Int) -> Bool {
        cost(rows: rows, columns: columns, depth: depth) < Double(rows) * Double(columns) * Double(depth)
    }

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
