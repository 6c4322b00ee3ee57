/// The best of many (similarity, index) pairs, kept as 64-bit keys whose order as numbers is the order of the
/// neighbours: larger similarity first, smaller index first among equals. No two keys are equal, so the result depends
/// on no order of work.
enum CandidateSelection {
    typealias Key = UInt64

    /// - Parameter similarity: not NaN, and not -0, which would rank below +0.
    @inline(__always)
    static func key(_ similarity: Float, _ index: Int) -> Key {
        let bits = similarity.bitPattern
        // negative numbers rank in reverse order of their bits
        let rank = bits ^ (bits >> 31 == 0 ? 0x8000_0000 : 0xffff_ffff)
        return UInt64(rank) << 32 | UInt64(~UInt32(truncatingIfNeeded: index))
    }

    @inline(__always)
    static func similarity(_ key: Key) -> Float {
        let rank = UInt32(truncatingIfNeeded: key >> 32)
        return Float(bitPattern: rank ^ (rank >> 31 == 0 ? 0xffff_ffff : 0x8000_0000))
    }

    @inline(__always)
    static func index(_ key: Key) -> Int { Int(~UInt32(truncatingIfNeeded: key)) }

    /// Moves the `k` largest keys to the front, the smallest of them to place `k - 1`; 0 < k <= count.
    ///
    /// Quickselect with the middle of three as pivot and a partition without branches: the comparisons are
    /// unpredictable.
    /// - Complexity: O(count) on average; rounds that do not shrink for long end in a sort, so the worst case is
    ///   O(count log count).
    static func selectLargest(_ keys: UnsafeMutablePointer<Key>, _ count: Int, _ k: Int) {
        let wanted = k &- 1
        var low = 0
        var high = count &- 1
        var rounds = 0
        while high > low {
            if high &- low < 16 {
                insertionSort(keys + low, high &- low &+ 1)
                return
            }
            rounds &+= 1
            if rounds > 64 {
                sortDescending(keys + low, high &- low &+ 1)
                return
            }
            moveMedianToEnd(keys, low, high)
            let pivot = keys[high]
            var boundary = low  // keys before it are larger than the pivot
            var i = low
            while i < high {
                let key = keys[i]
                keys[i] = keys[boundary]
                keys[boundary] = key
                boundary &+= key > pivot ? 1 : 0
                i &+= 1
            }
            keys[high] = keys[boundary]
            keys[boundary] = pivot
            if wanted == boundary { return }
            if wanted < boundary { high = boundary &- 1 } else { low = boundary &+ 1 }
        }
    }

    /// Puts the middle one of the first, middle and last key last.
    @inline(__always)
    private static func moveMedianToEnd(_ keys: UnsafeMutablePointer<Key>, _ low: Int, _ high: Int) {
        let middle = low &+ (high &- low) / 2
        let (a, b, c) = (keys[low], keys[middle], keys[high])
        let median = max(min(a, b), min(max(a, b), c))
        let place = median == a ? low : median == b ? middle : high
        keys[high] = median
        keys[place] = c
    }

    static func sortDescending(_ keys: UnsafeMutablePointer<Key>, _ count: Int) {
        var keys = UnsafeMutableBufferPointer(start: keys, count: count)
        keys.sort(by: >)
    }

    @inline(__always)
    private static func insertionSort(_ keys: UnsafeMutablePointer<Key>, _ count: Int) {
        var i = 1
        while i < count {
            let key = keys[i]
            var j = i
            while j > 0, keys[j &- 1] < key {
                keys[j] = keys[j &- 1]
                j &-= 1
            }
            keys[j] = key
            i &+= 1
        }
    }
}
