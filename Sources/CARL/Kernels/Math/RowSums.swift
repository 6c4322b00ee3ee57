/// Sums over rows that are kept for each part of them and added in order, so that they do not depend on threads.
struct RowSums {
    /// Rows of a part.
    static let rowsPerPart = 96

    let parts: RowParts
    /// Of each part.
    let values: Int
    let memory: FloatBuffer

    /// The parts of `count` rows.
    static func parts(_ count: Int) -> RowParts { RowParts(count, size: rowsPerPart, groups: 1) }

    /// Takes memory for the sums of `values` values, 0. `add` gives it back.
    init(_ rows: Int, values: Int, rowsPerPart: Int = rowsPerPart, _ compute: Compute) throws {
        parts = RowParts(rows, size: rowsPerPart, groups: 1)
        self.values = values
        memory = try compute.workspace.take(parts.count * values)
        memory.base.update(repeating: 0, count: parts.count * values)
    }

    /// Those of a part.
    subscript(part: Int) -> FloatPointer { memory.base + part * values }

    /// Adds the sums of all parts to `result`, if there is one, and gives the memory back.
    func add(to result: FloatPointer?, _ compute: Compute) {
        defer { compute.workspace.give(self.memory) }
        guard let result else { return }
        let (parts, values, memory) = (parts.count, values, memory.base)
        compute.parallelRanges(values, grain: 256) { _, range in
            for part in 0..<parts { for i in range { result[i] += memory[part &* values &+ i] } }
        }
    }

    /// Calls `body` with each part's rows and sums, then adds them all to `result`.
    func add(
        to result: FloatPointer, _ compute: Compute, _ body: (_ rows: Range<Int>, _ sums: FloatPointer) -> Void
    ) {
        compute.parallel(parts.count) { part, _ in body(parts[part], self[part]) }
        add(to: result, compute)
    }

    /// Adds the columns of x (rows, C), C a multiple of 8, to `sums`.
    static func columns(_ x: UnsafePointer<Float>, _ rows: Int, _ channels: Int, into sums: FloatPointer) {
        for row in 0..<rows {
            let from = x + row &* channels
            var c = 0
            while c < channels {
                store8(load8(sums + c) + load8(from + c), sums + c)
                c &+= 8
            }
        }
    }
}
