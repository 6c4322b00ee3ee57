import CBFloat16

/// How the values of an activation lie in memory.
enum Storage {
    case float32
    /// Rounded to bfloat16, two to the memory of a float32 value.
    case bfloat16
}

/// Values that lie side by side, read as float32 whatever they are stored as.
struct StoredValues {
    private let base: UnsafeMutableRawPointer
    let isBFloat16: Bool

    init(_ values: UnsafePointer<Float>) {
        base = UnsafeMutableRawPointer(mutating: values)
        isBFloat16 = false
    }

    init(_ base: UnsafeMutableRawPointer, _ storage: Storage) {
        self.base = base
        isBFloat16 = storage == .bfloat16
    }

    /// The values from the one of number `count` on.
    func from(_ count: Int) -> StoredValues {
        StoredValues(base + count &* (isBFloat16 ? 2 : 4), isBFloat16 ? .bfloat16 : .float32)
    }

    /// The memory, of float32 values only.
    var float32: FloatPointer {
        precondition(!isBFloat16)
        return base.assumingMemoryBound(to: Float.self)
    }

    /// The memory of bfloat16 values as words of two values.
    var pairs: UnsafePointer<Float>? {
        isBFloat16 ? UnsafePointer(base.assumingMemoryBound(to: Float.self)) : nil
    }

    /// As many values as a vector has, from number `at` on.
    @inline(__always)
    func vector(_ at: Int) -> FloatVector {
        isBFloat16
            ? carl_bfloat16_widened(base + 2 &* at)
            : loadVector(base.assumingMemoryBound(to: Float.self) + at)
    }

    /// The `count` values from number `at` on, and zeros behind them where a vector holds more.
    @inline(__always)
    func vector(_ at: Int, _ count: Int) -> FloatVector {
        if count == FloatVector.scalarCount { return vector(at) }
        if !isBFloat16 { return loadVector(base.assumingMemoryBound(to: Float.self) + at, count) }
        var values = FloatVector.zero
        for i in 0..<count { values[i] = self[at &+ i] }
        return values
    }

    @inline(__always)
    subscript(at: Int) -> Float {
        isBFloat16
            ? Float(bitPattern: UInt32(base.load(fromByteOffset: 2 &* at, as: UInt16.self)) &<< 16)
            : base.assumingMemoryBound(to: Float.self)[at]
    }

    /// Writes the first `count` values to `target` as float32.
    @inline(__always)
    func copy(_ count: Int, to target: FloatPointer) {
        let width = FloatVector.scalarCount
        if count < width {
            for i in 0..<count { target[i] = self[i] }
            return
        }
        if !isBFloat16 && count > 8 &* width {
            return target.update(from: base.assumingMemoryBound(to: Float.self), count: count)
        }
        // The last vector overlaps the one before: a call for a few values takes longer than they do.
        let last = vector(count &- width)
        var i = 0
        while i &+ width < count {
            storeVector(vector(i), target + i)
            i &+= width
        }
        storeVector(last, target + (count &- width))
    }

    /// Writes `count` values of `source`, an even number, rounded to bfloat16.
    func round(_ source: UnsafePointer<Float>, _ count: Int) {
        precondition(isBFloat16)
        BFloat16.pair(source, count, to: base.assumingMemoryBound(to: Float.self))
    }

    /// Prefetches the values of a range.
    func prefetch(_ range: Range<Int>, _ prefetch: inout Prefetch) {
        let size = isBFloat16 ? 2 : 4
        prefetch.add(
            (base + range.lowerBound &* size).assumingMemoryBound(to: Float.self), range.count &* size / 4)
    }
}

extension Compute {
    /// How the forward pass keeps feature maps of so many channels for the backward pass: where products round their
    /// operands to bfloat16, as such, which takes half the memory. Rows are whole vectors of every processor.
    func storage(channels: Int) -> Storage { products != .float32 && channels % 16 == 0 ? .bfloat16 : .float32 }
}
