/// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2,
/// 3", SC 2011).
///
/// A stream is named by a seed and three numbers; its n-th value depends on those alone, never on threads or on what
/// was drawn elsewhere. That is what makes views, partitions and initial weights reproducible and resumable.
public struct RandomStream {
    private let key: (UInt32, UInt32)
    private var counter: SIMD4<UInt32>
    private var block = SIMD4<UInt32>.zero
    private var used = 4
    private var spareNormal: Float?

    /// What a stream is for; two purposes never share numbers.
    public enum Purpose: UInt32, Sendable {
        /// The numbers are part of what a seed means: a new purpose takes a new one.
        case initialWeights = 1, views = 2, partition = 3, order = 4, stochasticDepth = 5
    }

    /// - Parameters:
    ///   - major: for example the epoch (24 bits are used).
    ///   - minor: for example the index of an image (40 bits are used).
    ///   - lane: for example the index of a view (16 bits are used).
    public init(seed: UInt64, purpose: Purpose, major: UInt64 = 0, minor: UInt64 = 0, lane: UInt64 = 0) {
        key = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        counter = SIMD4(
            0,
            UInt32(truncatingIfNeeded: minor),
            UInt32(truncatingIfNeeded: major & 0xff_ffff) << 8 | UInt32(truncatingIfNeeded: (minor >> 32) & 0xff),
            purpose.rawValue << 16 | UInt32(truncatingIfNeeded: lane & 0xffff))
    }

    /// 32 uniform random bits.
    @inline(__always)
    public mutating func next() -> UInt32 {
        if used == 4 {
            block = Self.philox(counter, key)
            counter[0] &+= 1
            used = 0
        }
        defer { used &+= 1 }
        return block[used]
    }

    /// Uniform in [0, 1), with 24 random bits.
    @inline(__always)
    public mutating func uniform() -> Float { Float(next() >> 8) * 0x1p-24 }

    /// Uniform in [low, high); `low` when the two are equal.
    public mutating func uniform(_ low: Float, _ high: Float) -> Float { low + (high - low) * uniform() }

    /// Uniform in `0 ..< bound`, without bias (Lemire's method). `bound` must be positive.
    public mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0 && bound <= Int(UInt32.max))
        let bound = UInt32(bound)
        var product = UInt64(next()) &* UInt64(bound)
        if UInt32(truncatingIfNeeded: product) < bound {
            let threshold = (0 &- bound) % bound
            while UInt32(truncatingIfNeeded: product) < threshold { product = UInt64(next()) &* UInt64(bound) }
        }
        return Int(product >> 32)
    }

    /// Normal with mean 0 and variance 1 (Box and Muller).
    public mutating func normal() -> Float {
        if let spare = spareNormal {
            spareNormal = nil
            return spare
        }
        let radius = (-2 * logarithm(1 - Double(uniform()))).squareRoot()
        let angle = 2 * Double.pi * Double(uniform())
        spareNormal = Float(radius * sine(angle))
        return Float(radius * cosine(angle))
    }

    /// Puts values in a random order (Fisher and Yates).
    ///
    /// - Throws: `CARLError.cancelled`, with many values.
    mutating func shuffle(_ values: UnsafeMutableBufferPointer<Int32>) throws {
        for i in stride(from: values.count - 1, to: 0, by: -1) {
            if i & 0xf_ffff == 0xf_ffff { try Cancellation.check() }
            values.swapAt(i, below(i + 1))
        }
    }

    /// A random order of `0 ..< count`, for few numbers, at most 2^31 - 1; of none when `count` is below 1.
    public mutating func permutation(_ count: Int) -> [Int32] {
        var order = (0..<Int32(max(count, 0))).map { $0 }
        for i in stride(from: order.count - 1, to: 0, by: -1) { order.swapAt(i, below(i + 1)) }
        return order
    }

    /// The ten rounds of Philox4x32.
    @inline(__always)
    static func philox(_ counter: SIMD4<UInt32>, _ key: (UInt32, UInt32)) -> SIMD4<UInt32> {
        var c = counter
        var k = key
        for _ in 0..<10 {
            let p0 = UInt64(0xD251_1F53) &* UInt64(c[0])
            let p1 = UInt64(0xCD9E_8D57) &* UInt64(c[2])
            c = SIMD4(
                UInt32(truncatingIfNeeded: p1 >> 32) ^ c[1] ^ k.0, UInt32(truncatingIfNeeded: p1),
                UInt32(truncatingIfNeeded: p0 >> 32) ^ c[3] ^ k.1, UInt32(truncatingIfNeeded: p0))
            k.0 &+= 0x9E37_79B9
            k.1 &+= 0xBB67_AE85
        }
        return c
    }
}
