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

/// The larger of two values, lane by lane; `a` where either is NaN. (Swift's `pointwiseMax` goes lane by lane.)
@inline(__always)
func max8(_ a: Float8, _ b: Float8) -> Float8 { a.replacing(with: b, where: b .> a) }

/// The smaller of two values, lane by lane; `a` where either is NaN.
@inline(__always)
func min8(_ a: Float8, _ b: Float8) -> Float8 { a.replacing(with: b, where: b .< a) }

/// 1.5 * 2^23: added to a number of magnitude below 2^22, it leaves the nearest whole number in the low bits of the
/// sum.
private let wholeNumberShift: Float = 0x1.8p23

/// e^x for eight values: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial of degree 7 in r, scaled by 2^n.
///
/// The largest error is 1.26 ulp (all Float32 were tried). Results below 2^-126 are 0, above the largest Float
/// infinity. NaN gives NaN. The method is that of Cephes' expf (Moshier).
@inline(__always)
func exp8(_ x: Float8) -> Float8 {
    // Clamped so that the exponent arithmetic stays in range; the two ends are put right below.
    let clamped = min8(max8(x, Float8(repeating: -88)), Float8(repeating: 89))
    // Rounding and conversion by an addition: Swift's own go lane by lane through checks for what no integer can hold.
    let shifted = fma8(clamped, Float8(repeating: 1.442_695_04), Float8(repeating: wholeNumberShift))
    let n = shifted - wholeNumberShift
    let whole = shifted.signedBitPatterns &- Int32x8(repeating: Int32(wholeNumberShift.bitPattern))
    let p = expReduced8(clamped, n)
    // 2^n in two factors: n can be 128, whose single factor would already be infinite
    let half = whole &>> Int32x8(repeating: 1)
    let low = Float8(bitPatterns: (half &+ Int32x8(repeating: 127)) &<< Int32x8(repeating: 23))
    let high = Float8(bitPatterns: ((whole &- half) &+ Int32x8(repeating: 127)) &<< Int32x8(repeating: 23))
    var result = p * low * high
    result.replace(with: 0, where: x .< -87.336_54)
    result.replace(with: Float.infinity, where: x .> 88.722_84)
    result.replace(with: x, where: x .!= x)
    return result
}

/// `exp8` for values up to 0, as of softmax and GELU, in half the instructions. Bit for bit the same; up to 88 too.
@inline(__always)
func expNonpositive8(_ x: Float8) -> Float8 {
    let least: Float = -87.336_54
    let clamped = max8(x, Float8(repeating: least))
    let shifted = fma8(clamped, Float8(repeating: 1.442_695_04), Float8(repeating: wholeNumberShift))
    let n = shifted - wholeNumberShift
    let p = expReduced8(clamped, n)
    // The low bits of `shifted` hold n, which is added to the exponent of p.
    let scaled = Float8(bitPatterns: p.signedBitPatterns &+ (shifted.signedBitPatterns &<< Int32x8(repeating: 23)))
    return scaled.replacing(with: 0, where: x .< least)
}

/// e^(x - n ln 2) for n the whole number nearest to x / ln 2.
@inline(__always)
private func expReduced8(_ x: Float8, _ n: Float8) -> Float8 {
    // ln 2 in two parts, so that n times the first is exact
    var r = fma8(n, Float8(repeating: -0.693_359_375), x)
    r = fma8(n, Float8(repeating: 2.121_944_4e-4), r)
    var p = Float8(repeating: 1.987_569_15e-4)
    p = fma8(p, r, Float8(repeating: 1.398_199_95e-3))
    p = fma8(p, r, Float8(repeating: 8.333_452e-3))
    p = fma8(p, r, Float8(repeating: 4.166_579_6e-2))
    p = fma8(p, r, Float8(repeating: 1.666_666_6e-1))
    p = fma8(p, r, Float8(repeating: 0.5))
    return fma8(p, r * r, r + 1)
}

/// Natural logarithm of eight values: x = m 2^e with m in [sqrt(1/2), sqrt(2)), a polynomial in m - 1.
///
/// The largest error is 0.83 ulp for normal numbers (every third Float32 was tried). 0 gives -infinity, negative
/// numbers and NaN give NaN, infinity gives infinity; subnormal numbers count as the smallest normal number. The method
/// is that of Cephes' logf (Moshier).
@inline(__always)
func log8(_ x: Float8) -> Float8 {
    let bits = max8(x, Float8(repeating: .leastNormalMagnitude)).signedBitPatterns
    // The biased exponent in the low bits of 2^23 makes 2^23 plus the exponent: a conversion without leaving the
    // vector.
    let raised = Float8(bitPatterns: (bits &>> Int32x8(repeating: 23)) | Int32x8(repeating: 0x4b00_0000))
    var exponent = raised - (0x1p23 + 126)
    var m = Float8(bitPatterns: bits & Int32x8(repeating: 0x007f_ffff) | Int32x8(repeating: 0x3f00_0000))
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
    var signedBitPatterns: SIMD8<Int32> { unsafeBitCast(self, to: SIMD8<Int32>.self) }

    @inline(__always)
    var bitPatterns: SIMD8<UInt32> { unsafeBitCast(self, to: SIMD8<UInt32>.self) }
}
