import CMachine

/// As many Float32 as a register of the processor this build is for holds: sixteen with AVX-512, otherwise eight.
///
/// The kernels that spend a step's arithmetic are written on it: matrix products, Winograd transforms, and what passes
/// over activations on their way from one to the other.
#if CARL_AVX512
    typealias FloatVector = SIMD16<Float>
#else
    typealias FloatVector = Float8
#endif

@inline(__always)
func loadVector(_ pointer: UnsafePointer<Float>) -> FloatVector {
    UnsafeRawPointer(pointer).loadUnaligned(as: FloatVector.self)
}

@inline(__always)
func loadVector(_ pointer: FloatPointer) -> FloatVector {
    UnsafeRawPointer(pointer).loadUnaligned(as: FloatVector.self)
}

@inline(__always)
func storeVector(_ value: FloatVector, _ pointer: FloatPointer) {
    UnsafeMutableRawPointer(pointer).storeBytes(of: value, as: FloatVector.self)
}

/// The first `count` values at a pointer, and zeros behind them where a vector holds more. No others are read.
@inline(__always)
func loadVector(_ pointer: UnsafePointer<Float>, _ count: Int) -> FloatVector {
    count == FloatVector.scalarCount
        ? loadVector(pointer) : carl_load_first(pointer, Int32(truncatingIfNeeded: count))
}

@inline(__always)
func loadVector(_ pointer: FloatPointer, _ count: Int) -> FloatVector { loadVector(UnsafePointer(pointer), count) }

/// Stores the first `count` values of a vector. No others are written.
@inline(__always)
func storeVector(_ value: FloatVector, _ pointer: FloatPointer, _ count: Int) {
    if count == FloatVector.scalarCount {
        storeVector(value, pointer)
    } else {
        carl_store_first(pointer, value, Int32(truncatingIfNeeded: count))
    }
}

/// a * b + c in one rounding.
@inline(__always)
func fmaVector(_ a: FloatVector, _ b: FloatVector, _ c: FloatVector) -> FloatVector { c.addingProduct(a, b) }

/// The larger of two values, lane by lane; `a` where either is NaN.
@inline(__always)
func maxVector(_ a: FloatVector, _ b: FloatVector) -> FloatVector { a.replacing(with: b, where: b .> a) }

#if CARL_AVX512
    /// Non-temporal store of a vector, a whole cache line: the line is not brought to the caches. `pointer` is a
    /// multiple of 64 bytes.
    @inline(__always)
    func storeNonTemporal(_ value: FloatVector, _ pointer: FloatPointer) { carl_store_non_temporal(pointer, value) }

    /// To be called by a thread after its non-temporal stores, before other threads read.
    func storeFence() { carl_store_fence() }
#else
    // A vector is half a line: by non-temporal stores every line would be written twice.
    @inline(__always)
    func storeNonTemporal(_ value: FloatVector, _ pointer: FloatPointer) { storeVector(value, pointer) }

    func storeFence() {}
#endif
