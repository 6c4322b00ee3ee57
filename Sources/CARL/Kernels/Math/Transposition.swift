/// Eight lanes of Float32 as four pairs.
private typealias Pairs = SIMD4<UInt64>

/// Transposes 8 rows of 8 values; strides are in values. The two blocks must not overlap.
///
/// Two rows are interleaved by shifts and masks of pairs, which compile to one blend each, and pairs are then gathered from four rows. (Written as
/// lane by lane constructions of eight values, all stages melt into one another and cost twice as much.)
@inline(__always)
func transpose8(_ source: FloatPointer, _ stride: Int, _ target: FloatPointer, _ targetStride: Int) {
    let (even0, odd0) = interleave(source, stride)
    let (even1, odd1) = interleave(source + 2 &* stride, stride)
    let (even2, odd2) = interleave(source + 4 &* stride, stride)
    let (even3, odd3) = interleave(source + 6 &* stride, stride)
    for i in 0..<4 {
        let even = Pairs(even0[i], even1[i], even2[i], even3[i])
        let odd = Pairs(odd0[i], odd1[i], odd2[i], odd3[i])
        let row = target + 2 &* i &* targetStride
        UnsafeMutableRawPointer(row).storeBytes(of: even, as: Pairs.self)
        UnsafeMutableRawPointer(row + targetStride).storeBytes(of: odd, as: Pairs.self)
    }
}

/// Of two rows of eight values, the pairs from even columns and from odd columns.
@inline(__always)
private func interleave(_ row: FloatPointer, _ stride: Int) -> (even: Pairs, odd: Pairs) {
    let low = Pairs(repeating: 0xffff_ffff)
    let shift = Pairs(repeating: 32)
    let a = UnsafeRawPointer(row).loadUnaligned(as: Pairs.self)
    let b = UnsafeRawPointer(row + stride).loadUnaligned(as: Pairs.self)
    return ((a & low) | (b &<< shift), (a &>> shift) | (b & ~low))
}

/// Writes eight pixels of three channels from three planes: 25 values from `target` on, of which the last is not a pixel's (whatever is written
/// behind overwrites it).
@inline(__always)
func interleave8(_ r: Float8, _ g: Float8, _ b: Float8, _ target: FloatPointer) {
    let low = Pairs(repeating: 0xffff_ffff)
    let shift = Pairs(repeating: 32)
    let (red, green, blue) = (unsafeBitCast(r, to: Pairs.self), unsafeBitCast(g, to: Pairs.self), unsafeBitCast(b, to: Pairs.self))
    let even = (red & low) | (green &<< shift)
    let odd = (red &>> shift) | (green & ~low)
    let oddBlue = blue &>> shift
    for i in 0..<4 {
        // Four lanes for each pixel, of which the fourth is overwritten by the next.
        let pixel = target + 6 &* i
        UnsafeMutableRawPointer(pixel).storeBytes(of: SIMD2(even[i], blue[i]), as: SIMD2<UInt64>.self)
        UnsafeMutableRawPointer(pixel + 3).storeBytes(of: SIMD2(odd[i], oddBlue[i]), as: SIMD2<UInt64>.self)
    }
}
