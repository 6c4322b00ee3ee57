import Foundation
import Testing

@testable import CARL

/// GELU and its slope against Double's error function.
struct GaussianErrorTests {
    @Test func valueAndSlope() {
        var largest = (value: 0.0, slope: 0.0)
        for i in stride(from: -96_000, through: 96_000, by: 8) {
            let x =
                Float8(
                    Float(i), Float(i + 1), Float(i + 2), Float(i + 3), Float(i + 4), Float(i + 5), Float(i + 6),
                    Float(i + 7))
                / 8000
            let got = GaussianError.geluAndSlope8(x)
            for lane in 0..<8 {
                let exact = Double(x[lane])
                let phi = 0.5 * erfc(-exact / 2.0.squareRoot())
                let slope = phi + exact * exp(-exact * exact / 2) / (2 * Double.pi).squareRoot()
                largest.value = max(largest.value, abs(Double(got.value[lane]) - exact * phi) / max(1, abs(exact)))
                largest.slope = max(largest.slope, abs(Double(got.slope[lane]) - slope))
            }
        }
        #expect(largest.value < 2e-7)
        #expect(largest.slope < 4e-7)
    }

    @Test func farOut() {
        let x = Float8(-.infinity, -1e30, -40, -0.0, 0, 40, 1e30, .infinity)
        let (value, slope) = GaussianError.geluAndSlope8(x)
        #expect(value[1] == 0 && value[2] == 0 && value[3] == 0 && value[4] == 0)
        #expect(value[5] == 40 && value[6] == 1e30 && value[7] == .infinity)
        #expect(slope[1] == 0 && slope[6] == 1 && slope[4] == 0.5)
        #expect(GaussianError.gelu8(Float8(repeating: .nan))[0].isNaN)
    }
}
