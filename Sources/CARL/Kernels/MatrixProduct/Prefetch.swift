import CMemoryHints

/// Memory that is about to be read or written, asked for a few cache lines at a time while the processor multiplies: its units for memory
/// and for arithmetic then work at once, where passes over memory and products in turn would let one of them wait.
struct Prefetch {
    /// Some values side by side, and how many cache lines of them are asked for in a step.
    private struct Region {
        var next = UnsafeRawPointer(bitPattern: 64)!
        var lines = 0
        var linesPerStep = 0

        @inline(__always)
        mutating func step() {
            let count = min(linesPerStep, lines)
            lines &-= count
            for _ in 0..<count {
                carl_prefetch(next)
                next += 64
            }
        }
    }

    private let steps: Int
    private var regions = (Region(), Region(), Region(), Region(), Region())

    /// Nothing yet. What is added is spread evenly over `steps` calls of `step`.
    init(steps: Int = 1) { self.steps = max(steps, 1) }

    /// Adds `count` values; at most five times.
    mutating func add(_ values: UnsafePointer<Float>, _ count: Int) {
        let lines = (count + 15) / 16
        regions = (
            Region(next: UnsafeRawPointer(values), lines: lines, linesPerStep: (lines + steps - 1) / steps), regions.0, regions.1,
            regions.2, regions.3
        )
    }

    @inline(__always)
    mutating func step() {
        regions.0.step()
        regions.1.step()
        regions.2.step()
        regions.3.step()
        regions.4.step()
    }
}
