/// Products of sizes that a caller or a file decides. Swift's `*` ends the process on overflow, so every product that is not known to fit
/// goes through here.
enum CheckedSize {
    /// The largest number of values an allocation may be asked for: bytes of eight-byte values still fit in an Int.
    static let most = Int.max / 16

    /// The product of `factors`, none negative.
    ///
    /// - Parameter what: names the values that there are so many of, for the message.
    /// - Throws: `CARLError.outOfMemory` when it is more than `most`.
    static func product(_ factors: Int..., of what: @autoclosure () -> String) throws -> Int {
        var result = 1
        for factor in factors {
            let (product, overflow) = result.multipliedReportingOverflow(by: factor)
            guard !overflow, factor >= 0, product <= most else {
                throw CARLError.outOfMemory("no memory for \(what()) with \(factors.map(String.init).joined(separator: " x ")) values")
            }
            result = product
        }
        return result
    }
}
