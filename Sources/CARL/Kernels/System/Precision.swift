import CBFloat16

/// What the operands of products are rounded to: matrix products of linear layers, and of convolutions that are
/// computed as one. Sums are float32 with each.
public enum Precision: String, CaseIterable, Sendable {
    /// Operands as they are.
    case float32
    /// bfloat16 by the processor's dot product (AVX512_BF16): an error where it has none.
    case bf16
    /// `bf16` where the processor has the instruction, else `float32`.
    case auto
    /// The roundings of `bf16` by float32 instructions, on every processor: slower than `float32`.
    case emulatedBF16 = "bf16-emulated"

    /// Whether this build has the kernel and the processor the instruction.
    static let hasBFloat16: Bool = {
        #if CARL_AVX512
            return carl_cpu_has_bfloat16() != 0
        #else
            return false
        #endif
    }()

    /// Anything but `auto`.
    var resolved: Precision { self == .auto ? (Self.hasBFloat16 ? .bf16 : .float32) : self }

    /// The operands that a computation's products may have.
    ///
    /// - Throws: `CARLError.configuration` when the processor cannot do it.
    func products(hasBFloat16: Bool = Precision.hasBFloat16) throws -> ProductFormat {
        switch self {
        case .float32: return .float32
        case .auto: return hasBFloat16 ? .bfloat16 : .float32
        case .emulatedBF16: return .emulatedBFloat16
        case .bf16:
            guard hasBFloat16 else {
                throw CARLError.configuration(
                    """
                    \"precision\": got \"bf16\", but this processor has no bfloat16 dot product (AVX512_BF16); want \
                    \"float32\", \"auto\" (bf16 only where there is one) or \"bf16-emulated\" (the same roundings, \
                    slowly)
                    """)
            }
            return .bfloat16
        }
    }
}
