/// A sum of exponentials, exp(top) * sum, in float64.
struct ExponentialSum {
    var top = -Double.infinity
    var sum = 0.0

    /// Adds another sum. Returns whether that has the larger top.
    @discardableResult
    mutating func add(_ other: ExponentialSum) -> Bool {
        if other.top > top {
            sum = sum * exponential(top - other.top) + other.sum
            top = other.top
            return true
        }
        sum += other.sum * exponential(other.top - top)
        return false
    }
}

/// Statistics of rows and links over the tiles seen so far.
final class RunningStatistics {
    private let problem: AssignmentProblem
    private let slices: WorkspaceSlices
    private let rows: UnsafeMutablePointer<ExponentialSum>
    private let peaks: UnsafeMutablePointer<Int32>
    /// sum exp(s_a + s_b) of each link and image.
    private let dots: UnsafeMutablePointer<ExponentialSum>
    private var dotCount: Int { problem.pairs.links.count * problem.batch }

    init(_ problem: AssignmentProblem, _ workspace: Workspace) throws {
        self.problem = problem
        let links = problem.pairs.links.count * problem.batch
        slices = try WorkspaceSlices([problem.rows, 4 * problem.rows, 4 * links], workspace)
        peaks = UnsafeMutableRawPointer(slices[0]).bindMemory(to: Int32.self, capacity: problem.rows)
        rows = UnsafeMutableRawPointer(slices[1]).bindMemory(to: ExponentialSum.self, capacity: problem.rows)
        dots = UnsafeMutableRawPointer(slices[2]).bindMemory(to: ExponentialSum.self, capacity: links)
        peaks.initialize(repeating: 0, count: problem.rows)
        rows.initialize(repeating: ExponentialSum(), count: problem.rows)
        dots.initialize(repeating: ExponentialSum(), count: links)
    }

    func release(_ workspace: Workspace) { slices.give(to: workspace) }

    /// Takes a tile into account whose first prototype is `offset`.
    func add(_ tile: AssignmentStatistics, offset: Int) {
        for row in 0..<problem.rows {
            if rows[row].add(ExponentialSum(top: Double(tile.top[row]), sum: Double(tile.sum[row]))) {
                peaks[row] = Int32(truncatingIfNeeded: offset) &+ tile.peak[row]
            }
        }
        let batch = problem.batch
        for (index, link) in problem.pairs.links.enumerated() {
            for image in 0..<batch {
                let place = index * batch + image
                let tops = Double(tile.top[link.a * batch + image]) + Double(tile.top[link.b * batch + image])
                dots[place].add(ExponentialSum(top: tops + Double(tile.dotTop[place]), sum: Double(tile.dotSum[place])))
            }
        }
    }

    /// Takes the tiles of another, which come later, into account.
    func add(_ other: RunningStatistics) {
        for row in 0..<problem.rows where rows[row].add(other.rows[row]) { peaks[row] = other.peaks[row] }
        for place in 0..<dotCount { dots[place].add(other.dots[place]) }
    }

    func write(to known: AssignmentStatistics) {
        let batch = problem.batch
        for row in 0..<problem.rows {
            known.top[row] = Float(rows[row].top)
            known.sum[row] = Float(rows[row].sum)
            known.peak[row] = peaks[row]
        }
        for (index, link) in problem.pairs.links.enumerated() {
            for image in 0..<batch {
                let place = index * batch + image
                let top = dots[place].top - rows[link.a * batch + image].top - rows[link.b * batch + image].top
                let dot = dots[place].sum * exponential(top)
                let apart = dot < Double(AssignmentStatistics.smallestDot)
                known.dotTop[place] = apart ? Float(top) : 0
                known.dotSum[place] = Float(apart ? dots[place].sum : dot)
            }
        }
    }
}
