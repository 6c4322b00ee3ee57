// Stride 1 with tiles of other sizes than four pixels, for feature maps that are no multiple of four. The matrices
// follow from the points by Toom and Cook's construction.

/// The tiles of stride 1, by the pixels of a side.
enum WinogradTileSize: CaseIterable {
    case four, five, three

    /// Result pixels along a side.
    var outputs: Int {
        switch self {
        case .four: WinogradStride1.outputs
        case .five: WinogradStride1Five.outputs
        case .three: WinogradStride1Three.outputs
        }
    }

    /// Values along a side of a transformed tile.
    var points: Int { outputs + 2 }

    /// The size that costs least, of several the first: that with the fewest multiplications, but for few tiles, where
    /// the filters, 49, 36 or 25 values each for tiles of five, four and three, are more work than the tiles.
    static func best(_ shape: ConvolutionShape) -> WinogradTileSize {
        allCases.min { WinogradPlan.cost(shape, .stride1($0)) < WinogradPlan.cost(shape, .stride1($1)) } ?? .four
    }
}

/// How a 3x3 convolution of padding 1 is done: the algorithms of its directions.
enum WinogradMethod {
    case stride1(WinogradTileSize)
    case stride2

    /// - Parameter shape: of stride 1 or 2. Its input and output are of the same size at stride 1.
    init(_ shape: ConvolutionShape) {
        self = shape.stride == 1 ? .stride1(.best(shape)) : .stride2
    }
}

/// F(5, 3): five results from seven inputs with 7 multiplications instead of 15. Points 0, 1, -1, 2, -2, 1/2 and
/// infinity: all but 1/2 are those of F(4, 3), whose transform is taken of d(k + 1) - d(k) / 2.
enum WinogradStride1Five: WinogradForwardAlgorithm {
    static let points = 7
    static let filterPoints = 7
    static let window = 7
    static let windowStep = 5
    static let windowStart = -1
    static let outputs = 5

    @inline(__always)
    static func filterPoint(_ point: Int) -> Int { point }

    @inline(__always)
    static func input<V: WinogradLane>(_ d: (Int) -> V, _ put: (Int, V) -> Void) {
        put(5, d(5).addingProduct(-5, d(3)).addingProduct(4, d(1)))
        WinogradStride1.input({ d($0 &+ 1).addingProduct(-0.5, d($0)) }) { (i: Int, x: V) in put(i == 5 ? 6 : i, x) }
    }

    @inline(__always)
    static func output<V: WinogradLane>(_ m: (Int) -> V, _ put: (Int, V) -> Void) {
        let (m0, m1, m2, m3, m4, m5, m6) = (m(0), m(1), m(2), m(3), m(4), m(5), m(6))
        let sum = m1 + m2
        let difference = m1 - m2
        let outerSum = m3 + m4
        let outerDifference = m3 - m4
        put(0, m0 + sum + outerSum + m5)
        put(1, difference.addingProduct(2, outerDifference).addingProduct(0.5, m5))
        put(2, sum.addingProduct(4, outerSum).addingProduct(0.25, m5))
        put(3, difference.addingProduct(8, outerDifference).addingProduct(0.125, m5))
        put(4, (sum + m6).addingProduct(16, outerSum).addingProduct(0.0625, m5))
    }

    @inline(__always)
    static func outputGradient<V: WinogradLane>(_ y: (Int) -> V, _ put: (Int, V) -> Void) {
        let (y0, y1, y2, y3, y4) = (y(0), y(1), y(2), y(3), y(4))
        let even = y0 + y2 + y4
        let odd = y1 + y3
        let evenOuter = y0.addingProduct(4, y2).addingProduct(16, y4)
        let oddOuter = y1.addingProduct(4, y3).doubled
        put(0, y0)
        put(1, even + odd)
        put(2, even - odd)
        put(3, evenOuter + oddOuter)
        put(4, evenOuter - oddOuter)
        put(
            5,
            y0.addingProduct(0.5, y1).addingProduct(0.25, y2).addingProduct(0.125, y3).addingProduct(0.0625, y4))
        put(6, y4)
    }

    @inline(__always)
    static func filter<V: WinogradLane>(_ g: (Int) -> V, _ put: (Int, V) -> Void) {
        let (g0, g1, g2) = (g(0), g(1), g(2))
        let even = g0 + g2
        let evenOuter = g0.addingProduct(4, g2)
        put(0, -0.5 * g0)
        put(1, -1 / 3 * (even + g1))
        put(2, 1 / 9 * (even - g1))
        put(3, 1 / 36 * evenOuter.addingProduct(2, g1))
        put(4, -1 / 60 * evenOuter.addingProduct(-2, g1))
        put(5, 32 / 45 * g0.addingProduct(0.5, g1).addingProduct(0.25, g2))
        put(6, g2)
    }

    @inline(__always)
    static func filterGradient<V: WinogradLane>(_ u: (Int) -> V, _ put: (Int, V) -> Void) {
        let (u1, u2, u3, u4) = (-1 / 3 * u(1), 1 / 9 * u(2), 1 / 36 * u(3), -1 / 60 * u(4))
        let u5 = 32 / 45 * u(5)
        let sum = u1 + u2
        let outerSum = u3 + u4
        put(0, (sum + outerSum + u5).addingProduct(-0.5, u(0)))
        put(1, (u1 - u2).addingProduct(2, u3 - u4).addingProduct(0.5, u5))
        put(2, (sum + u(6)).addingProduct(4, outerSum).addingProduct(0.25, u5))
    }
}

/// F(3, 3): three results from five inputs with 5 multiplications instead of 9. Points 0, 1, -1, 2 and infinity.
enum WinogradStride1Three: WinogradForwardAlgorithm {
    static let points = 5
    static let filterPoints = 5
    static let window = 5
    static let windowStep = 3
    static let windowStart = -1
    static let outputs = 3

    @inline(__always)
    static func filterPoint(_ point: Int) -> Int { point }

    @inline(__always)
    static func input<V: WinogradLane>(_ d: (Int) -> V, _ put: (Int, V) -> Void) {
        TwoTaps.input(d(0), d(1), d(2), d(3), d(4), put)
    }

    @inline(__always)
    static func output<V: WinogradLane>(_ m: (Int) -> V, _ put: (Int, V) -> Void) {
        let (m0, m1, m2, m3, m4) = (m(0), m(1), m(2), m(3), m(4))
        let sum = m1 + m2
        put(0, m0 + sum + m3)
        put(1, (m1 - m2).addingProduct(2, m3))
        put(2, (sum + m4).addingProduct(4, m3))
    }

    @inline(__always)
    static func outputGradient<V: WinogradLane>(_ y: (Int) -> V, _ put: (Int, V) -> Void) {
        let (y0, y1, y2) = (y(0), y(1), y(2))
        let even = y0 + y2
        put(0, y0)
        put(1, even + y1)
        put(2, even - y1)
        put(3, y0.addingProduct(2, y1).addingProduct(4, y2))
        put(4, y2)
    }

    @inline(__always)
    static func filter<V: WinogradLane>(_ g: (Int) -> V, _ put: (Int, V) -> Void) {
        let (g0, g1, g2) = (g(0), g(1), g(2))
        let even = g0 + g2
        put(0, 0.5 * g0)
        put(1, -0.5 * (even + g1))
        put(2, 1 / 6 * (g1 - even))
        put(3, 1 / 6 * g0.addingProduct(2, g1).addingProduct(4, g2))
        put(4, g2)
    }

    @inline(__always)
    static func filterGradient<V: WinogradLane>(_ u: (Int) -> V, _ put: (Int, V) -> Void) {
        let (u1, u2, u3) = (-0.5 * u(1), 1 / 6 * u(2), 1 / 6 * u(3))
        put(0, (u1 - u2 + u3).addingProduct(0.5, u(0)))
        put(1, (u1 + u2).addingProduct(2, u3))
        put(2, (u1 - u2 + u(4)).addingProduct(4, u3))
    }
}
