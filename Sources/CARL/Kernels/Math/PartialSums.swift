/// A sum over many rows into one result, each worker into memory of its own, added in order at the end.
///
/// The split follows the number of threads alone: for a given number, results are bit-identical from run to run.
enum PartialSums {
    /// Calls `body(partial, worker, range)` once per worker with ranges that cover `0 ..< items`; `body` adds its share
    /// to `partial`, which has `count` values. The partial sums end up added to `result`.
    static func add(
        to result: FloatPointer, _ count: Int, over items: Int, _ compute: Compute,
        _ body: (_ partial: FloatPointer, _ worker: Int, _ range: Range<Int>) -> Void
    ) throws {
        if compute.threads == 1 || items < 2 {
            body(result, 0, 0..<items)
            return
        }
        let extra = min(compute.threads, items) - 1
        let memory = try compute.workspace.takePassing(extra * count)
        defer { compute.workspace.givePassing(memory) }
        compute.parallelRanges(items) { worker, range in
            let partial = worker == 0 ? result : memory.base + (worker - 1) * count
            if worker > 0 { partial.update(repeating: 0, count: count) }
            body(partial, worker, range)
        }
        compute.parallelRanges(count, grain: 1 << 14) { _, range in
            for worker in 0..<extra {
                let partial = memory.base + worker * count
                for i in range { result[i] += partial[i] }
            }
        }
    }
}
