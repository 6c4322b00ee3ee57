/// Winograd's way to convolve with 3 taps: few multiplications of transformed inputs with transformed filters, in one
/// dimension.
///
///     Y = A^T [ (G g) * (B^T d) ]
///
/// (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4.) In two dimensions a
/// transform is that of the columns, then that of the rows. Values are handed in by position and out by position, so
/// that they need no arrays in between.
protocol WinogradAlgorithm {
    /// Transformed values along a side of a tile.
    static var points: Int { get }
    /// Transformed values along a side of a filter.
    static var filterPoints: Int { get }
    /// Input pixels along a side of a tile.
    static var window: Int { get }
    /// Input pixels from a tile's first one to the next tile's.
    static var windowStep: Int { get }
    /// The first input pixel of the first tile.
    static var windowStart: Int { get }
    /// Result pixels along a side of a tile.
    static var outputs: Int { get }
    /// Which transformed filter value a transformed value is multiplied with.
    static func filterPoint(_ point: Int) -> Int
    /// B^T d: `window` values to `points`.
    static func input<V: WinogradLane>(_ d: (Int) -> V, _ put: (Int, V) -> Void)
    /// A^T m: `points` values to `outputs`.
    static func output<V: WinogradLane>(_ m: (Int) -> V, _ put: (Int, V) -> Void)
    /// G g: three values to `filterPoints`.
    static func filter<V: WinogradLane>(_ g: (Int) -> V, _ put: (Int, V) -> Void)
}

/// An algorithm of a forward convolution, with the transposed transforms of the weight gradient.
protocol WinogradForwardAlgorithm: WinogradAlgorithm {
    /// A y: `outputs` values to `points`.
    static func outputGradient<V: WinogradLane>(_ y: (Int) -> V, _ put: (Int, V) -> Void)
    /// G^T u: `filterPoints` values to three.
    static func filterGradient<V: WinogradLane>(_ u: (Int) -> V, _ put: (Int, V) -> Void)
}

/// F(4, 3), stride 1: four results from six inputs with 6 multiplications instead of 12. Points 0, 1, -1, 2, -2 and
/// infinity; the matrices are those of Lavin and Gray, section 4.3. The data gradient is the same with the filter
/// turned round.
enum WinogradStride1: WinogradForwardAlgorithm {
    static let points = 6
    static let filterPoints = 6
    static let window = 6
    static let windowStep = 4
    static let windowStart = -1
    static let outputs = 4

    @inline(__always)
    static func filterPoint(_ point: Int) -> Int { point }

    @inline(__always)
    static func input<V: WinogradLane>(_ d: (Int) -> V, _ put: (Int, V) -> Void) {
        let (d0, d1, d2, d3, d4, d5) = (d(0), d(1), d(2), d(3), d(4), d(5))
        let even = d4.addingProduct(-4, d2)
        let odd = d3.addingProduct(-4, d1)
        let evenOuter = d4 - d2
        let oddOuter = (d3 - d1).doubled
        put(0, d4.addingProduct(-5, d2).addingProduct(4, d0))
        put(1, even + odd)
        put(2, even - odd)
        put(3, evenOuter + oddOuter)
        put(4, evenOuter - oddOuter)
        put(5, d5.addingProduct(-5, d3).addingProduct(4, d1))
    }

    @inline(__always)
    static func output<V: WinogradLane>(_ m: (Int) -> V, _ put: (Int, V) -> Void) {
        let (m0, m1, m2, m3, m4, m5) = (m(0), m(1), m(2), m(3), m(4), m(5))
        let sum = m1 + m2
        let difference = m1 - m2
        let outerSum = m3 + m4
        let outerDifference = m3 - m4
        put(0, m0 + sum + outerSum)
        put(1, difference.addingProduct(2, outerDifference))
        put(2, sum.addingProduct(4, outerSum))
        put(3, (difference + m5).addingProduct(8, outerDifference))
    }

    @inline(__always)
    static func outputGradient<V: WinogradLane>(_ y: (Int) -> V, _ put: (Int, V) -> Void) {
        let (y0, y1, y2, y3) = (y(0), y(1), y(2), y(3))
        let even = y0 + y2
        let odd = y1 + y3
        let evenOuter = y0.addingProduct(4, y2)
        let oddOuter = y1.addingProduct(4, y3).doubled
        put(0, y0)
        put(1, even + odd)
        put(2, even - odd)
        put(3, evenOuter + oddOuter)
        put(4, evenOuter - oddOuter)
        put(5, y3)
    }

    @inline(__always)
    static func filter<V: WinogradLane>(_ g: (Int) -> V, _ put: (Int, V) -> Void) {
        let (g0, g1, g2) = (g(0), g(1), g(2))
        let even = -1 / 6 * (g0 + g2)
        let odd = -1 / 6 * g1
        let evenOuter = (1 / 24 * g0).addingProduct(1 / 6, g2)
        let oddOuter = 1 / 12 * g1
        put(0, 0.25 * g0)
        put(1, even + odd)
        put(2, even - odd)
        put(3, evenOuter + oddOuter)
        put(4, evenOuter - oddOuter)
        put(5, g2)
    }

    @inline(__always)
    static func filterGradient<V: WinogradLane>(_ u: (Int) -> V, _ put: (Int, V) -> Void) {
        let (u0, u1, u2, u3, u4, u5) = (u(0), u(1), u(2), u(3), u(4), u(5))
        let sum = u1 + u2
        let outerSum = u3 + u4
        put(0, (0.25 * u0).addingProduct(-1 / 6, sum).addingProduct(1 / 24, outerSum))
        put(1, (1 / 6 * (u2 - u1)).addingProduct(1 / 12, u3 - u4))
        put(2, u5.addingProduct(1 / 6, outerSum - sum))
    }
}

/// What F(4, 2) with points 0, 1, -1, 2 and infinity is made of: a filter of two taps, four results from five inputs
/// with 5 multiplications instead of 8. The matrices follow from the points by Toom and Cook's construction.
enum TwoTaps {
    @inline(__always)
    static func input<V: WinogradLane>(_ d0: V, _ d1: V, _ d2: V, _ d3: V, _ d4: V, _ put: (Int, V) -> Void) {
        let difference = d3 - d1
        put(0, difference.addingProduct(2, d0 - d2))
        put(1, (d3 - d2).addingProduct(-2, d1))
        put(2, d3.addingProduct(2, d1).addingProduct(-3, d2))
        put(3, difference)
        put(4, (d4 - d2).addingProduct(-2, difference))
    }

    @inline(__always)
    static func filter<V: WinogradLane>(_ g0: V, _ g1: V, _ put: (Int, V) -> Void) {
        put(0, 0.5 * g0)
        put(1, -0.5 * (g0 + g1))
        put(2, 1 / 6 * (g1 - g0))
        put(3, (1 / 6 * g0).addingProduct(1 / 3, g1))
        put(4, g1)
    }

    @inline(__always)
    static func output<V: WinogradLane>(_ m0: V, _ m1: V, _ m2: V, _ m3: V, _ m4: V) -> (V, V, V, V) {
        let sum = m1 + m2
        let difference = m1 - m2
        return (
            m0 + sum + m3, difference.addingProduct(2, m3), sum.addingProduct(4, m3),
            (difference + m4).addingProduct(8, m3)
        )
    }
}

/// Stride 2: result i is g0 x(2i - 1) + g1 x(2i) + g2 x(2i + 1), so the odd pixels meet a filter of two taps, F(4, 2),
/// and the even ones a single tap: four results from nine inputs with 9 multiplications instead of 12. The four even
/// values share one filter value.
enum WinogradStride2: WinogradForwardAlgorithm {
    static let points = 9
    static let filterPoints = 6
    static let window = 9
    static let windowStep = 8
    static let windowStart = -1
    static let outputs = 4

    @inline(__always)
    static func filterPoint(_ point: Int) -> Int { min(point, 5) }

    @inline(__always)
    static func input<V: WinogradLane>(_ d: (Int) -> V, _ put: (Int, V) -> Void) {
        TwoTaps.input(d(0), d(2), d(4), d(6), d(8), put)
        for i in 0..<4 { put(5 &+ i, d(2 &* i &+ 1)) }
    }

    @inline(__always)
    static func output<V: WinogradLane>(_ m: (Int) -> V, _ put: (Int, V) -> Void) {
        let y = TwoTaps.output(m(0), m(1), m(2), m(3), m(4))
        put(0, y.0 + m(5))
        put(1, y.1 + m(6))
        put(2, y.2 + m(7))
        put(3, y.3 + m(8))
    }

    @inline(__always)
    static func outputGradient<V: WinogradLane>(_ y: (Int) -> V, _ put: (Int, V) -> Void) {
        let (y0, y1, y2, y3) = (y(0), y(1), y(2), y(3))
        let even = y0 + y2
        let odd = y1 + y3
        put(0, y0)
        put(1, even + odd)
        put(2, even - odd)
        put(3, y0.addingProduct(4, y2).addingProduct(2, y1.addingProduct(4, y3)))
        put(4, y3)
        put(5, y0)
        put(6, y1)
        put(7, y2)
        put(8, y3)
    }

    @inline(__always)
    static func filter<V: WinogradLane>(_ g: (Int) -> V, _ put: (Int, V) -> Void) {
        TwoTaps.filter(g(0), g(2), put)
        put(5, g(1))
    }

    @inline(__always)
    static func filterGradient<V: WinogradLane>(_ u: (Int) -> V, _ put: (Int, V) -> Void) {
        let (u0, u1, u2, u3) = (u(0), u(1), u(2), u(3))
        put(0, (0.5 * (u0 - u1)).addingProduct(1 / 6, u3 - u2))
        put(1, u(5))
        put(2, u(4).addingProduct(-0.5, u1).addingProduct(1 / 6, u2).addingProduct(1 / 3, u3))
    }
}

/// The data gradient of `WinogradStride2`, with the filter (h0, h1, h2) = (g2, g1, g0) turned round: odd pixel i of dx,
/// which is x(2i + 1), gets h0 dy(i) + h2 dy(i + 1), the even one h1 dy(i). Eight results from five inputs with 9
/// multiplications instead of 12.
enum WinogradStride2Gradient: WinogradAlgorithm {
    static let points = 9
    static let filterPoints = 6
    static let window = 5
    static let windowStep = 4
    static let windowStart = 0
    static let outputs = 8

    @inline(__always)
    static func filterPoint(_ point: Int) -> Int { min(point, 5) }

    @inline(__always)
    static func input<V: WinogradLane>(_ d: (Int) -> V, _ put: (Int, V) -> Void) {
        TwoTaps.input(d(0), d(1), d(2), d(3), d(4), put)
        for i in 0..<4 { put(5 &+ i, d(i)) }
    }

    @inline(__always)
    static func output<V: WinogradLane>(_ m: (Int) -> V, _ put: (Int, V) -> Void) {
        let odd = TwoTaps.output(m(0), m(1), m(2), m(3), m(4))
        put(0, m(5))
        put(1, odd.0)
        put(2, m(6))
        put(3, odd.1)
        put(4, m(7))
        put(5, odd.2)
        put(6, m(8))
        put(7, odd.3)
    }

    @inline(__always)
    static func filter<V: WinogradLane>(_ g: (Int) -> V, _ put: (Int, V) -> Void) { WinogradStride2.filter(g, put) }
}

/// What a transform works on: a vector of channels at a time, or one where fewer than eight are left.
protocol WinogradLane {
    static func + (a: Self, b: Self) -> Self
    static func - (a: Self, b: Self) -> Self
    static func * (a: Float, b: Self) -> Self
    /// self + a * b.
    func addingProduct(_ a: Float, _ b: Self) -> Self
    static func load(_ pointer: UnsafePointer<Float>) -> Self
    func store(_ pointer: FloatPointer)
}

extension WinogradLane {
    @inline(__always)
    var doubled: Self { self + self }
}

extension Float: WinogradLane {
    @inline(__always)
    static func load(_ pointer: UnsafePointer<Float>) -> Float { pointer.pointee }

    @inline(__always)
    func store(_ pointer: FloatPointer) { pointer.pointee = self }
}

extension SIMD8: WinogradLane where Scalar == Float {
    @inline(__always)
    static func load(_ pointer: UnsafePointer<Float>) -> Float8 { load8(pointer) }

    @inline(__always)
    func store(_ pointer: FloatPointer) { store8(self, pointer) }
}

#if CARL_AVX512
    extension SIMD16: WinogradLane where Scalar == Float {
        @inline(__always)
        static func load(_ pointer: UnsafePointer<Float>) -> FloatVector { loadVector(pointer) }

        @inline(__always)
        func store(_ pointer: FloatPointer) { storeVector(self, pointer) }
    }
#endif
