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
