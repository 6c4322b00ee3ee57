/// x = (f - mean) / deviation for each feature, with fixed numbers; mean 0 and deviation 1 until `fit`.
struct FeatureStandardization {
    static let meanName = "classifier.feature_mean"
    static let deviationName = "classifier.feature_deviation"

    let features: Int
    let mean: Int
    let deviation: Int

    init(_ layout: inout ParameterLayout, _ features: Int) {
        self.features = features
        mean = layout.addStatistic(Self.meanName, features, initial: 0)
        deviation = layout.addStatistic(Self.deviationName, features, initial: 1, lowest: .leastNormalMagnitude)
    }

    /// Standardises features (B, F) in place.
    func apply(_ f: Activation, _ memory: ModelMemory, _ compute: Compute) throws {
        let factors = try compute.workspace.take(2 * features)
        defer { compute.workspace.give(factors) }
        let (a, b) = (factors.base, factors.base + features)
        for c in 0..<features {
            a[c] = 1 / memory.statistics[deviation + c]
            b[c] = -memory.statistics[mean + c] * a[c]
        }
        ColumnKernels.affine(
            f.stored, f.rows, features, a, b, skip: nil, skipScale: nil, skipShift: nil, relu: false, f.base)
    }

    /// Turns the gradient of x into that of f, in place.
    func backward(_ dx: Activation, _ memory: ModelMemory, _ compute: Compute) throws {
        for row in 0..<dx.rows {
            for c in 0..<features { dx.base[row &* features &+ c] /= memory.statistics[deviation + c] }
        }
    }

    /// A deviation is at least this share of the root mean square of all.
    private static let least = 0.1

    /// Takes mean and population standard deviation of features f (rows, F), rows at least 1; 1 where a feature is
    /// constant but for rounding. A feature that hardly varies on whole images may on crops, and would be blown up by
    /// its own deviation: it is divided by a tenth of the features' root mean square deviation.
    func fit(_ f: UnsafePointer<Float>, rows: Int, _ memory: ModelMemory) {
        for c in 0..<features {
            var sum = 0.0
            for row in 0..<rows { sum += Double(f[row &* features &+ c]) }
            let center = sum / Double(rows)
            var squares = 0.0
            for row in 0..<rows {
                let difference = Double(f[row &* features &+ c]) - center
                squares += difference * difference
            }
            let spread = (squares / Double(rows)).squareRoot()
            memory.statistics[mean + c] = Float(center)
            memory.statistics[deviation + c] = spread > 1e-6 * abs(center) && spread > 1e-30 ? Float(spread) : 0
        }
        let spreads = memory.statistics + deviation
        let varying = (0..<features).count { spreads[$0] > 0 }
        let squares = (0..<features).reduce(0.0) { $0 + Double(spreads[$1]) * Double(spreads[$1]) }
        let floor = varying == 0 ? 0 : Float(Self.least * (squares / Double(varying)).squareRoot())
        for c in 0..<features { spreads[c] = spreads[c] > 0 ? max(spreads[c], floor) : 1 }
    }
}
