/// The best of many (similarity, index) pairs, kept as 64-bit keys whose order as numbers is the order of the neighbours:
/// larger similarity first, smaller index first among equals. No two keys are equal, so the result depends on no order of work.
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
    /// Hoare's quickselect with the middle of three as pivot. - Complexity: O(count) on average; a partition that does not shrink
    /// for long ends in a sort, so the worst case is O(count log count).
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
            let a = keys[low]
            let b = keys[low &+ (high &- low) / 2]
            let c = keys[high]
            let pivot = max(min(a, b), min(max(a, b), c))
            var i = low
            var j = high
            while i <= j {
                while keys[i] > pivot { i &+= 1 }
                while keys[j] < pivot { j &-= 1 }
                if i <= j {
                    let swapped = keys[i]
                    keys[i] = keys[j]
                    keys[j] = swapped
                    i &+= 1
                    j &-= 1
                }
            }
            if wanted <= j {
                high = j
            } else if wanted >= i {
                low = i
            } else {
                return
            }
        }
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
