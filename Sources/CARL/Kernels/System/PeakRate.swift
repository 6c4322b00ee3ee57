/// How fast this machine multiplies and adds at best: what speeds are measured against.
public enum PeakRate {
    /// Floating-point operations a second of all `compute`'s workers together, from fused multiply-adds on registers
    /// alone: the best of some tries of about ten milliseconds each.
    ///
    /// - Throws: `CARLError.cancelled`.
    public static func measure(_ compute: Compute) throws -> Double {
        let rounds = 1 << 20
        var best = 0.0
        var checks = [Float](repeating: 0, count: compute.workers)
        try checks.withUnsafeMutableBufferPointer { checks in
            let sums = checks.baseAddress!
            for _ in 0..<8 {
                let start = monotonicSeconds()
                compute.parallel(compute.workers) { item, _ in sums[item] = chains(rounds) }
                try Cancellation.check()
                let seconds = monotonicSeconds() - start
                // Ten chains, two operations each.
                let operations = Double(rounds) * Double(10 * FloatVector.scalarCount * 2)
                best = max(best, Double(compute.workers) * operations / seconds)
            }
        }
        return checks.allSatisfy { $0.isFinite } ? best : 0
    }

    /// Ten independent chains: enough for two units of four or five cycles each.
    @inline(never)
    private static func chains(_ rounds: Int) -> Float {
        let factor = FloatVector(repeating: 0.999_999)
        let step = FloatVector(repeating: 1e-6)
        var a = FloatVector(repeating: 1), b = a + 1, c = a + 2, d = a + 3, e = a + 4
        var f = a + 5, g = a + 6, h = a + 7, i = a + 8, j = a + 9
        for _ in 0..<rounds {
            a = fmaVector(a, factor, step)
            b = fmaVector(b, factor, step)
            c = fmaVector(c, factor, step)
            d = fmaVector(d, factor, step)
            e = fmaVector(e, factor, step)
            f = fmaVector(f, factor, step)
            g = fmaVector(g, factor, step)
            h = fmaVector(h, factor, step)
            i = fmaVector(i, factor, step)
            j = fmaVector(j, factor, step)
        }
        return (a + b + c + d + e + f + g + h + i + j).sum()
    }
}
