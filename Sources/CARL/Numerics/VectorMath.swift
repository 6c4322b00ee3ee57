/// Eight lanes of Float32, one AVX2 register (two NEON registers).
typealias Float8 = SIMD8<Float>
typealias Int32x8 = SIMD8<Int32>

/// Unaligned load of eight values.
@inline(__always)
func load8(_ pointer: UnsafePointer<Float>) -> Float8 { UnsafeRawPointer(pointer).loadUnaligned(as: Float8.self) }

@inline(__always)
func load8(_ pointer: FloatPointer) -> Float8 { UnsafeRawPointer(pointer).loadUnaligned(as: Float8.self) }

/// Unaligned store of eight values.
@inline(__always)
func store8(_ value: Float8, _ pointer: FloatPointer) {
    UnsafeMutableRawPointer(pointer).storeBytes(of: value, as: Float8.self)
}

/// a * b + c in one rounding.
@inline(__always)
func fma8(_ a: Float8, _ b: Float8, _ c: Float8) -> Float8 { c.addingProduct(a, b) }

@inline(__always)
func max8(_ a: Float8, _ b: Float8) -> Float8 { a.replacing(with: b, where: b .> a) }

/// e^x for eight values: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial of degree 6 in r, scaled by 2^n.
///
/// Error below 2 ulp for results that are normal numbers; results below 2^-126 are 0, above the largest Float infinity.
/// NaN gives NaN.
@inline(__always)
func exp8(_ x: Float8) -> Float8 {
    // Clamped so that the exponent arithmetic stays in range; the two ends are put right below.
    let clamped = x.clamped(lowerBound: Float8(repeating: -88), upperBound: Float8(repeating: 89))
    let n = (clamped * 1.442_695_04).rounded(.toNearestOrEven)
    // ln 2 in two parts, so that n times the first is exact
    var r = fma8(n, Float8(repeating: -0.693_359_375), clamped)
    r = fma8(n, Float8(repeating: 2.121_944_4e-4), r)
    var p = Float8(repeating: 1.987_569_15e-4)
    p = fma8(p, r, Float8(repeating: 1.398_199_95e-3))
    p = fma8(p, r, Float8(repeating: 8.333_452e-3))
    p = fma8(p, r, Float8(repeating: 4.166_579_6e-2))
    p = fma8(p, r, Float8(repeating: 1.666_666_6e-1))
    p = fma8(p, r, Float8(repeating: 0.5))
    p = fma8(p, r * r, r + 1)
    // 2^n in two factors: n can be 128, whose single factor would already be infinite
    let whole = SIMD8<Int32>(n)
    let half = whole &>> Int32x8(repeating: 1)
    let low = Float8(bitPatterns: (half &+ Int32x8(repeating: 127)) &<< Int32x8(repeating: 23))
    let high = Float8(bitPatterns: ((whole &- half) &+ Int32x8(repeating: 127)) &<< Int32x8(repeating: 23))
    var result = p * low * high
    result.replace(with: 0, where: x .< -87.336_54)
    result.replace(with: Float.infinity, where: x .> 88.722_84)
    result.replace(with: x, where: x .!= x)
    return result
}

/// Natural logarithm of eight values: x = m 2^e with m in [sqrt(1/2), sqrt(2)), a polynomial in m - 1.
///
/// Error below 2 ulp for normal numbers. 0 gives -infinity, negative numbers and NaN give NaN, infinity gives infinity;
/// subnormal numbers count as the smallest normal number.
@inline(__always)
func log8(_ x: Float8) -> Float8 {
    let smallest = Float8(repeating: .leastNormalMagnitude)
    let bits = max8(x, smallest).bitPatterns
    var exponent = Float8(SIMD8<Int32>(truncatingIfNeeded: bits &>> 23) &- 126)
    var m = Float8(bitPatterns: SIMD8<Int32>(truncatingIfNeeded: bits & 0x007f_ffff | 0x3f00_0000))
    let small = m .< 0.707_106_78
    exponent = exponent.replacing(with: exponent - 1, where: small)
    m = m.replacing(with: m + m, where: small) - 1
    let z = m * m
    var p = Float8(repeating: 7.037_683_6e-2)
    p = fma8(p, m, Float8(repeating: -1.151_461e-1))
    p = fma8(p, m, Float8(repeating: 1.167_699_87e-1))
    p = fma8(p, m, Float8(repeating: -1.242_014_08e-1))
    p = fma8(p, m, Float8(repeating: 1.424_932_3e-1))
    p = fma8(p, m, Float8(repeating: -1.666_805_77e-1))
    p = fma8(p, m, Float8(repeating: 2.000_071_48e-1))
    p = fma8(p, m, Float8(repeating: -2.499_999_4e-1))
    p = fma8(p, m, Float8(repeating: 3.333_333_1e-1))
    p = p * m * z
    p = fma8(exponent, Float8(repeating: -2.121_944_4e-4), p)
    p = fma8(z, Float8(repeating: -0.5), p)
    var result = m + p
    result = fma8(exponent, Float8(repeating: 0.693_359_375), result)
    result.replace(with: -Float.infinity, where: x .== 0)
    result.replace(with: Float.nan, where: x .< 0)
    result.replace(with: x, where: (x .== .infinity) .| (x .!= x))
    return result
}

extension SIMD8<Float> {
    @inline(__always)
    init(bitPatterns: SIMD8<Int32>) { self = unsafeBitCast(bitPatterns, to: Self.self) }

    @inline(__always)
    var bitPatterns: SIMD8<UInt32> { unsafeBitCast(self, to: SIMD8<UInt32>.self) }
}
