/// Rows cut into parts of at most `size`, none of which crosses from one of `groups` equal runs of rows to the next: by
/// the shape alone, so that sums kept per part and added in order do not depend on threads.
struct RowParts {
    let rows: Int
    let size: Int
    let numbers: PartNumbers

    init(_ rows: Int, size: Int, groups: Int) {
        self.rows = rows
        self.size = size
        numbers = PartNumbers(groups: groups, perGroup: (rows / groups + size - 1) / size)
    }

    var count: Int { numbers.count }

    subscript(part: Int) -> Range<Int> {
        let end = (numbers.group(part) + 1) * (rows / numbers.groups)
        let start = end - rows / numbers.groups + part % numbers.perGroup * size
        return start..<min(end, start + size)
    }
}

/// Parts of rows are numbered from 0, group by group, as many in each.
struct PartNumbers {
    let groups: Int
    let perGroup: Int
    var count: Int { groups * perGroup }

    func group(_ part: Int) -> Int { part / perGroup }

    /// Of a group.
    func parts(_ group: Int) -> Range<Int> { group * perGroup..<(group + 1) * perGroup }
}

/// The epilogue of a convolution, called for each contiguous range of rows of its result as soon as these rows are
/// final and still in cache. The ranges are disjoint, cover all rows, none crosses from a group to the next, and depend
/// on the shape alone, so that sums kept per part and added in order do not depend on threads. Calls for different
/// parts run in parallel. Row i lies at i * channels of `values`.
typealias Epilogue = (_ part: Int, _ rows: Range<Int>, _ values: FloatPointer) -> Void
