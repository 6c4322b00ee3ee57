/// GELU, x * Phi(x) with the normal distribution function Phi, and its slope Phi(x) + x phi(x), eight values at a time.
///
/// Phi's smaller side is exp(-x^2 / 2) times a polynomial in 1 / (1 + 0.23164 |x|), formula 26.2.17 of Abramowitz and
/// Stegun, "Handbook of Mathematical Functions": it is off by at most 7.5e-8, about the distance of Float32 numbers
/// below 1. The exponential serves the density too.
enum GaussianError {
    /// Phi(x), and exp(-x^2 / 2).
    @inline(__always)
    private static func distribution(_ x: Float8) -> (phi: Float8, exponential: Float8) {
        let magnitude = max8(x, -x)
        let exponential = expNonpositive8(x * x * -0.5)
        let t = 1 / fma8(magnitude, Float8(repeating: 0.231_641_888), Float8(repeating: 1))
        var p = Float8(repeating: 0.530_702_714_5)
        p = fma8(p, t, Float8(repeating: -0.726_576_013_5))
        p = fma8(p, t, Float8(repeating: 0.710_706_870_5))
        p = fma8(p, t, Float8(repeating: -0.142_248_368))
        p = fma8(p, t, Float8(repeating: 0.127_414_796))
        let tail = p * t * exponential
        return (tail.replacing(with: 1 - tail, where: x .> 0), exponential)
    }

    @inline(__always)
    static func gelu8(_ x: Float8) -> Float8 { x * distribution(x).phi }

    /// GELU and its slope.
    @inline(__always)
    static func geluAndSlope8(_ x: Float8) -> (value: Float8, slope: Float8) {
        let (phi, exponential) = distribution(x)
        return (x * phi, fma8(x * exponential, Float8(repeating: 0.398_942_28), phi))
    }

    /// y = GELU(x). y may be x. `count` is a multiple of 8.
    static func gelu(_ x: UnsafePointer<Float>, into y: FloatPointer, _ count: Int) {
        var i = 0
        while i < count {
            store8(gelu8(load8(x + i)), y + i)
            i &+= 8
        }
    }

    /// y = GELU(x), and dy, the gradient of y, becomes that of x. `count` is a multiple of 8.
    static func backward(_ x: UnsafePointer<Float>, value y: FloatPointer, gradient dy: FloatPointer, _ count: Int) {
        var i = 0
        while i < count {
            let (value, slope) = geluAndSlope8(load8(x + i))
            store8(value, y + i)
            store8(load8(dy + i) * slope, dy + i)
            i &+= 8
        }
    }
}
