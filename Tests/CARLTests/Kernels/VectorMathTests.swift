import Testing

@testable import CARL

/// Distance of a Float32 result from the exact value, in units in the last place of the exact value.
private func ulps(_ value: Float, from exact: Double) -> Double {
    let unit = Double(max(Float(exact).magnitude, .leastNormalMagnitude).ulp)
    return (Double(value) - exact).magnitude / unit
}

/// Largest error over every `step`-th number from `low` to `high`, which have the same sign; and where it is.
private func largestError(
    _ low: Float, _ high: Float, step: UInt32, of function: (Float8) -> Float8, exactly reference: (Double) -> Double
) -> (ulps: Double, at: Float) {
    var worst = (ulps: 0.0, at: Float.nan)
    var pattern = min(low.bitPattern, high.bitPattern)
    let last = max(low.bitPattern, high.bitPattern)
    while pattern <= last {
        let x = Float8(
            bitPatterns: Int32x8(truncatingIfNeeded: SIMD8<UInt32>(0, 1, 2, 3, 4, 5, 6, 7) &* step &+ pattern))
        let y = function(x)
        for lane in 0..<8 where x[lane].bitPattern <= last {
            let error = ulps(y[lane], from: reference(Double(x[lane])))
            if !(error <= worst.ulps) { worst = (error, x[lane]) }
        }
        pattern += 8 * step
    }
    return worst
}

private func lanes(_ values: [Float], _ function: (Float8) -> Float8) -> [Float] {
    values.map { value in
        // the lane must not matter
        let results = function(Float8(repeating: value))
        for lane in 1..<8 { #expect(results[lane].bitPattern == results[0].bitPattern) }
        return results[0]
    }
}

@Suite struct VectorMathTests {
    @Test func exponentialIsAsExactAsItSays() {
        // steps are odd, so that all low bits occur
        for (low, high, step): (Float, Float, UInt32) in [
            (0x1p-30, 88.7228, 997), (-0x1p-30, -87.3365, 997), (0.3, 0.4, 3), (-0.4, -0.3, 3), (80, 88.7228, 7),
        ] {
            let worst = largestError(low, high, step: step, of: exp8, exactly: exponential)
            #expect(worst.ulps < 1.3, "\(worst) in \(low) ... \(high)")
        }
    }

    @Test func exponentialOfNonpositiveValuesIsTheSame() {
        for i in stride(from: UInt32(0), through: Float(200).bitPattern, by: 9973) {
            let x = Float8(repeating: -Float(bitPattern: i))
            #expect(expNonpositive8(x)[0].bitPattern == exp8(x)[0].bitPattern, "\(x[0])")
        }
        let special: [Float] = [0, -0.0, -.infinity, -87.336_54, Float(-87.336_54).nextDown, 1e-6, 0.5, 88]
        #expect(lanes(special, expNonpositive8) == lanes(special, exp8))
        #expect(lanes([.nan, -.nan], expNonpositive8).allSatisfy { $0.isNaN })
    }

    @Test func logarithmIsAsExactAsItSays() {
        for (low, high, step): (Float, Float, UInt32) in [
            (.leastNormalMagnitude, .greatestFiniteMagnitude, 1999), (0.5, 2, 31), (0.99, 1.01, 1), (0.706, 0.708, 1),
            (1.413, 1.415, 1),
        ] {
            let worst = largestError(low, high, step: step, of: log8, exactly: logarithm)
            #expect(worst.ulps < 0.85, "\(worst) in \(low) ... \(high)")
        }
    }

    @Test func exponentialOfSpecialValues() {
        let infinity = Float.infinity
        #expect(
            lanes(
                [
                    0, -0.0, infinity, -infinity, 88.8, -87.4, .greatestFiniteMagnitude, -.greatestFiniteMagnitude,
                    .leastNonzeroMagnitude, -.leastNonzeroMagnitude,
                ], exp8)
                == [1, 1, infinity, 0, infinity, 0, infinity, 0, 1, 1])
        #expect(lanes([.nan, -.nan, .signalingNaN], exp8).allSatisfy { $0.isNaN })
        // both ends of the range of normal results
        let (top, bottom): (Float, Float) = (88.722_83, -87.336_54)
        #expect(lanes([top, bottom], exp8).allSatisfy { $0.isFinite && $0.isNormal })
        #expect(lanes([top.nextUp.nextUp, bottom.nextDown.nextDown], exp8) == [infinity, 0])
    }

    @Test func logarithmOfSpecialValues() {
        let infinity = Float.infinity
        #expect(lanes([1, 0, -0.0, infinity], log8) == [0, -infinity, -infinity, infinity])
        #expect(lanes([-1, -infinity, -.leastNonzeroMagnitude, .nan, -.nan], log8).allSatisfy { $0.isNaN })
        let smallest = lanes([.leastNormalMagnitude], log8)[0]
        #expect(abs(smallest - -87.336_55) < 1e-5)
        #expect(lanes([.leastNonzeroMagnitude, .leastNormalMagnitude.nextDown], log8) == [smallest, smallest])
    }

    @Test func loadsStoresAndSelections() {
        let memory = (0..<17).map { Float($0) }
        memory.withUnsafeBufferPointer { values in
            for offset in 0..<9 {
                #expect(load8(values.baseAddress! + offset) == Float8(0, 1, 2, 3, 4, 5, 6, 7) + Float(offset))
            }
        }
        var target = [Float](repeating: -1, count: 10)
        target.withUnsafeMutableBufferPointer { store8(Float8(repeating: 3), $0.baseAddress! + 1) }
        #expect(target == [-1, 3, 3, 3, 3, 3, 3, 3, 3, -1])
        #expect(max8(Float8(0, 1, -2, 3, 4, 5, 6, 7), Float8(repeating: 2.5)) == Float8(2.5, 2.5, 2.5, 3, 4, 5, 6, 7))
        // one rounding: the square of 1 + 2^-12 loses its last bit when it is rounded before the sum
        let x = Float8(repeating: 1 + 0x1p-12)
        #expect(fma8(x, x, Float8(repeating: -1)) == Float8(repeating: 0x1p-11 + 0x1p-24))
    }
}
