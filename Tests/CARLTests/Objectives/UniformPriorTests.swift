import Foundation
import Testing

@testable import CARL

@Suite struct UniformPriorTests {
    /// By a fine grid over the spike's probability, from the definitions.
    static func sufficient(_ k: Double) -> Double {
        var largest = 0.0
        for i in 1..<20_000 {
            let a = 1 / k + (1 - 1 / k) * Double(i) / 20_000
            let rest = (1 - a) / (k - 1)
            let shannon = -a * log(a) - (1 - a) * log(rest)
            let collision = -log(a * a + (k - 1) * rest * rest)
            if log(k) - shannon > 1e-7 { largest = max(largest, (log(k) - collision) / (log(k) - shannon)) }
        }
        return largest
    }

    @Test(arguments: [2, 3, 10, 100, 300, 1000, 65_536]) func sufficientWeightIsTheLargestRatio(_ k: Int) {
        let expected = Self.sufficient(Double(k))
        #expect(abs(UniformPrior.sufficientWeight(k, detached: false) - expected) < 0.01 * expected)
        #expect(abs(UniformPrior.sufficientWeight(k) - expected / 2) < 0.01 * expected)
    }

    @Test func onePrototypeNeedsNoPrior() { #expect(UniformPrior.sufficientWeight(1) == 0) }
}
