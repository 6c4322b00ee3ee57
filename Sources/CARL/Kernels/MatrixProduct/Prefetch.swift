import CMachine

/// Software prefetch: memory that is about to be read or written is brought in a few cache lines at a time while the
/// processor multiplies, so that its load units and its arithmetic units work at once.
struct Prefetch {
    /// Some values side by side, and how many of their cache lines a step prefetches.
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
            Region(next: UnsafeRawPointer(values), lines: lines, linesPerStep: (lines + steps - 1) / steps), regions.0,
            regions.1,
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

/// A panel of `PackedGEMM` that the tiles of rows before it prefetch, each its share, a line at a time along the depth.
struct SpreadPrefetch {
    private let next: UnsafeRawPointer
    private let bytesPerStep: Int

    init(panel: UnsafePointer<Float>, tiles: Int) {
        self.init(UnsafeRawPointer(panel), bytesPerStep: PackedGEMM.width &* MemoryLayout<Float>.stride / tiles)
    }

    private init(_ next: UnsafeRawPointer, bytesPerStep: Int) { (self.next, self.bytesPerStep) = (next, bytesPerStep) }

    /// What is left for the next tile behind one of `depth`.
    func after(_ depth: Int) -> SpreadPrefetch {
        SpreadPrefetch(next + depth &* bytesPerStep, bytesPerStep: bytesPerStep)
    }

    /// For each k of a tile.
    @inline(__always)
    func step(_ k: Int) {
        for line in 0..<PackedGEMM.width / 16 { carl_prefetch(next + (k &* bytesPerStep &+ 64 &* line)) }
    }
}
