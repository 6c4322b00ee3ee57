import CMemoryHints

/// As many Float32 as a register of the processor this build is for holds: sixteen with AVX-512, otherwise eight.
///
/// The kernels that spend a step's arithmetic, matrix products and Winograd transforms, are written on it; passes that wait for memory
/// stay on `Float8`.
#if CARL_AVX512
typealias FloatLane = SIMD16<Float>
#else
typealias FloatLane = Float8
#endif

@inline(__always)
func loadLane(_ pointer: UnsafePointer<Float>) -> FloatLane { UnsafeRawPointer(pointer).loadUnaligned(as: FloatLane.self) }

@inline(__always)
func loadLane(_ pointer: FloatPointer) -> FloatLane { UnsafeRawPointer(pointer).loadUnaligned(as: FloatLane.self) }

@inline(__always)
func storeLane(_ value: FloatLane, _ pointer: FloatPointer) {
    UnsafeMutableRawPointer(pointer).storeBytes(of: value, as: FloatLane.self)
}

/// a * b + c in one rounding.
@inline(__always)
func fmaLane(_ a: FloatLane, _ b: FloatLane, _ c: FloatLane) -> FloatLane { c.addingProduct(a, b) }

#if CARL_AVX512
    /// Stores a lane, a whole cache line, without bringing the line to the caches. `pointer` is a multiple of 64 bytes.
    @inline(__always)
    func storePastCaches(_ value: FloatLane, _ pointer: FloatPointer) { carl_store_past_caches(pointer, value) }

    /// To be called by a thread that has stored past the caches, before other threads read.
    func finishStores() { carl_finish_stores() }
#else
    // A lane is half a line: stored past the caches, every line would be written twice.
    @inline(__always)
    func storePastCaches(_ value: FloatLane, _ pointer: FloatPointer) { storeLane(value, pointer) }

    func finishStores() {}
#endif
