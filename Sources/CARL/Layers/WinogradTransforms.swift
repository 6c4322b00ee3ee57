/// Winograd's F(4x4, 3x3): a 4x4 tile of outputs from a 6x6 tile of inputs with 36 multiplications a channel pair instead of 144.
///
///     Y = A^T [ (G g G^T) * (B^T d B) ] A
///
/// Interpolation points 0, 1, -1, 2, -2 and infinity; the matrices are those of Lavin and Gray, "Fast Algorithms for
/// Convolutional Neural Networks" (2016), section 4.3. A 2-D transform is the 1-D one on columns, then on rows.
enum WinogradTransforms {
    typealias Six<V> = (V, V, V, V, V, V)

    /// B^T d.
    @inline(__always)
    static func input<V: WinogradLane>(_ d: Six<V>) -> Six<V> {
        let (d0, d1, d2, d3, d4, d5) = d
        let even = d4.addingProduct(-4, d2)
        let odd = d3.addingProduct(-4, d1)
        let evenOuter = d4 - d2
        let oddOuter = (d3 - d1).doubled
        return (
            d4.addingProduct(-5, d2).addingProduct(4, d0), even + odd, even - odd,
            evenOuter + oddOuter, evenOuter - oddOuter,
            d5.addingProduct(-5, d3).addingProduct(4, d1)
        )
    }

    /// A^T m.
    @inline(__always)
    static func output<V: WinogradLane>(_ m: Six<V>) -> (V, V, V, V) {
        let (m0, m1, m2, m3, m4, m5) = m
        let sum = m1 + m2
        let difference = m1 - m2
        let outerSum = m3 + m4
        let outerDifference = m3 - m4
        return (
            m0 + sum + outerSum, difference.addingProduct(2, outerDifference), sum.addingProduct(4, outerSum),
            (difference + m5).addingProduct(8, outerDifference)
        )
    }

    /// A y, the transpose of `output`.
    @inline(__always)
    static func outputGradient<V: WinogradLane>(_ y0: V, _ y1: V, _ y2: V, _ y3: V) -> Six<V> {
        let even = y0 + y2
        let odd = y1 + y3
        let evenOuter = y0.addingProduct(4, y2)
        let oddOuter = y1.addingProduct(4, y3).doubled
        return (
            y0, even + odd, even - odd, evenOuter + oddOuter, evenOuter - oddOuter, y3
        )
    }

    /// G g.
    @inline(__always)
    static func filter<V: WinogradLane>(_ g0: V, _ g1: V, _ g2: V) -> Six<V> {
        let even = -1 / 6 * (g0 + g2)
        let odd = -1 / 6 * g1
        let evenOuter = (1 / 24 * g0).addingProduct(1 / 6, g2)
        let oddOuter = 1 / 12 * g1
        return (0.25 * g0, even + odd, even - odd, evenOuter + oddOuter, evenOuter - oddOuter, g2)
    }

    /// G^T u, the transpose of `filter`.
    @inline(__always)
    static func filterGradient<V: WinogradLane>(_ u: Six<V>) -> (V, V, V) {
        let (u0, u1, u2, u3, u4, u5) = u
        let sum = u1 + u2
        let outerSum = u3 + u4
        return (
            (0.25 * u0).addingProduct(-1 / 6, sum).addingProduct(1 / 24, outerSum),
            (1 / 6 * (u2 - u1)).addingProduct(1 / 12, u3 - u4),
            u5.addingProduct(1 / 6, outerSum - sum)
        )
    }
}

/// What a transform works on: eight channels at a time, or one where fewer than eight are left.
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
