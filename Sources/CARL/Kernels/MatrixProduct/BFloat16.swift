import CBFloat16

/// Float32 values rounded to bfloat16 (the upper half of a float32), two to a word of 32 bits as the dot product reads
/// them: the value of the lower depth in the lower half.
///
/// To nearest, ties to even; NaN stays NaN and infinity infinity. Subnormal values become zero of their sign, as for
/// the processor's own conversion: the dot product would take them for zero.
enum BFloat16 {
    #if CARL_AVX512
        typealias Words = SIMD16<UInt32>
    #else
        typealias Words = SIMD8<UInt32>
    #endif
    private static let lanes = Words.scalarCount
    private static let upper: UInt32 = 0xffff_0000

    /// The bits of float32 values that are bfloat16 values: the lower half is 0.
    @inline(__always)
    private static func rounded(_ values: FloatVector) -> Words {
        let bits = unsafeBitCast(values, to: Words.self)
        let even = (bits &>> Words(repeating: 16)) & Words(repeating: 1)
        var result = (bits &+ even &+ Words(repeating: 0x7fff)) & Words(repeating: upper)
        let exponent = bits & Words(repeating: 0x7f80_0000)
        result.replace(with: bits & Words(repeating: 0x8000_0000), where: exponent .== Words(repeating: 0))
        // What rounds by addition only where it is a number.
        result.replace(
            with: (bits | Words(repeating: 0x0040_0000)) & Words(repeating: upper), where: values .!= values)
        return result
    }

    /// The same of one value.
    @inline(__always)
    static func rounded(_ value: Float) -> UInt32 {
        let bits = value.bitPattern
        if bits & 0x7f80_0000 == 0 { return bits & 0x8000_0000 }
        if value != value { return (bits | 0x0040_0000) & upper }
        return (bits &+ 0x7fff &+ (bits &>> 16 & 1)) & upper
    }

    @inline(__always)
    private static func word(_ low: Float, _ high: Float) -> Float {
        Float(bitPattern: rounded(low) &>> 16 | rounded(high))
    }

    /// Words of `count` values side by side; an odd one's partner is 0.
    ///
    /// Words are kept where float32 values are: `target` has `count` / 2 of them, rounded up.
    static func pair(_ source: UnsafePointer<Float>, _ count: Int, to target: FloatPointer) {
        #if CARL_AVX512
            if Precision.hasBFloat16 {
                return carl_bfloat16_pair(
                    source, count, UnsafeMutableRawPointer(target).assumingMemoryBound(to: UInt32.self))
            }
        #endif
        pairPortably(source, count, to: target)
    }

    /// The same without the processor's own conversion.
    static func pairPortably(_ source: UnsafePointer<Float>, _ count: Int, to target: FloatPointer) {
        var i = 0
        while i &+ 2 &* lanes <= count {
            let (first, second) = (loadVector(source + i), loadVector(source + i + lanes))
            let low = rounded(FloatVector(lowHalf: first.evenHalf, highHalf: second.evenHalf))
            let high = rounded(FloatVector(lowHalf: first.oddHalf, highHalf: second.oddHalf))
            let words = low &>> Words(repeating: 16) | high
            UnsafeMutableRawPointer(target + i / 2).storeBytes(of: words, as: Words.self)
            i &+= 2 &* lanes
        }
        while i < count {
            target[i / 2] = word(source[i], i &+ 1 < count ? source[i &+ 1] : 0)
            i &+= 2
        }
    }

    /// Words of two rows of `count` values: of a value of `low` and the one of `high` beside it, nil for zeros.
    /// `target` may be `low`.
    static func pair(
        _ low: UnsafePointer<Float>, _ high: UnsafePointer<Float>?, _ count: Int, to target: FloatPointer
    ) {
        #if CARL_AVX512
            if Precision.hasBFloat16 {
                return carl_bfloat16_pair_rows(
                    low, high, count, UnsafeMutableRawPointer(target).assumingMemoryBound(to: UInt32.self))
            }
        #endif
        pairPortably(low, high, count, to: target)
    }

    /// The same without the processor's own conversion.
    static func pairPortably(
        _ low: UnsafePointer<Float>, _ high: UnsafePointer<Float>?, _ count: Int, to target: FloatPointer
    ) {
        var i = 0
        while i &+ lanes <= count {
            let first = rounded(loadVector(low + i)) &>> Words(repeating: 16)
            let words = high.map { first | rounded(loadVector($0 + i)) } ?? first
            UnsafeMutableRawPointer(target + i).storeBytes(of: words, as: Words.self)
            i &+= lanes
        }
        while i < count {
            target[i] = word(low[i], high?[i] ?? 0)
            i &+= 1
        }
    }

    /// Rows of `columns` values become rows of as many words, half as many rows: 0 and 1, 2 and 3, and so on. `target`
    /// may be `source`.
    static func pairRows(_ source: UnsafePointer<Float>, _ rows: Int, _ columns: Int, to target: FloatPointer) {
        var row = 0
        while row < rows {
            let low = source + row &* columns
            pair(low, row &+ 1 < rows ? low + columns : nil, columns, to: target + row / 2 &* columns)
            row &+= 2
        }
    }
}
