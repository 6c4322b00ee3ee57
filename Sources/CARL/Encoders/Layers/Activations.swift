/// Elementwise nonlinearities on vectors of the projection head.
public enum ActivationFunction: String, SettingChoice {
    /// max(x, 0).
    case relu
    /// x * Phi(x) with the exact normal distribution function (Hendrycks and Gimpel, arXiv 1606.08415), torch's
    /// default.
    case gelu

    func value(_ x: Float) -> Float {
        switch self {
        case .relu: return max(x, 0)
        case .gelu: return Float(0.5 * Double(x) * (1 + errorFunction(Double(x) * 0.5.squareRoot())))
        }
    }

    /// The derivative at x.
    func slope(_ x: Float) -> Float {
        switch self {
        case .relu: return x > 0 ? 1 : 0
        case .gelu:
            let x = Double(x)
            let density = exponential(-0.5 * x * x) * 0.398_942_280_401_432_7
            return Float(0.5 * (1 + errorFunction(x * 0.5.squareRoot())) + x * density)
        }
    }

    func forward(_ x: Activation, into y: Activation, _ compute: Compute) {
        compute.parallelRanges(x.count, grain: 1 << 12) { _, range in for i in range { y.base[i] = value(x.base[i]) } }
    }

    /// dy becomes the gradient of x, where x is forward's input.
    func backward(_ x: Activation, _ dy: Activation, _ compute: Compute) {
        compute.parallelRanges(x.count, grain: 1 << 12) { _, range in for i in range { dy.base[i] *= slope(x.base[i]) }
        }
    }
}
