/// How fast this machine multiplies and adds at best: what speeds are measured against.
public enum PeakRate {
    /// Floating-point operations a second of all `compute`'s threads together, from fused multiply-adds on registers alone: the best of
    /// some tries of about ten milliseconds each.
    public static func measure(_ compute: Compute) -> Double {
        let rounds = 1 << 20
        var best = 0.0
        var checks = [Float](repeating: 0, count: compute.threads)
        checks.withUnsafeMutableBufferPointer { checks in
            let sums = checks.baseAddress!
            for _ in 0..<8 {
                let start = monotonicSeconds()
                compute.parallel(compute.threads) { item, _ in sums[item] = chains(rounds) }
                let seconds = monotonicSeconds() - start
                // Ten chains, two operations each.
                let operations = Double(rounds) * Double(10 * FloatLane.scalarCount * 2)
                best = max(best, Double(compute.threads) * operations / seconds)
            }
        }
        return checks.allSatisfy { $0.isFinite } ? best : 0
    }

    /// Ten independent chains: enough for two units of four or five cycles each.
    @inline(never)
    private static func chains(_ rounds: Int) -> Float {
        let factor = FloatLane(repeating: 0.999_999)
        let step = FloatLane(repeating: 1e-6)
        var a = FloatLane(repeating: 1), b = a + 1, c = a + 2, d = a + 3, e = a + 4
        var f = a + 5, g = a + 6, h = a + 7, i = a + 8, j = a + 9
        for _ in 0..<rounds {
            a = fmaLane(a, factor, step)
            b = fmaLane(b, factor, step)
            c = fmaLane(c, factor, step)
            d = fmaLane(d, factor, step)
            e = fmaLane(e, factor, step)
            f = fmaLane(f, factor, step)
            g = fmaLane(g, factor, step)
            h = fmaLane(h, factor, step)
            i = fmaLane(i, factor, step)
            j = fmaLane(j, factor, step)
        }
        return (a + b + c + d + e + f + g + h + i + j).sum()
    }
}
