/// Products of packed unit rows: 6 queries with 16 references at a time, the whole sum in registers.
///
/// A panel holds `width` rows, their values side by side for each column: (dimension, width). Every product is the same chain of
/// fused multiply-adds over the columns in order, wherever the two rows stand in their panels: equal rows have equal products.
/// A general product would store and search a tile of results; this kernel hands out only those above a query's threshold.
enum SimilarityTile {
    /// Queries in a panel. 6 x 16 sums fill 12 of the 16 AVX2 registers, and leave room for two loads and a broadcast.
    static let queries = 6
    /// References in a panel.
    static let references = 16

    /// Computes the 6 x 16 products of two panels, and whether any is above the limit of its query. Only then they are stored, row
    /// by query, to `products`.
    @inline(never)
    static func multiply(
        _ queries: UnsafePointer<Float>, _ references: UnsafePointer<Float>, _ dimension: Int, limits: UnsafePointer<Float>,
        _ products: FloatPointer
    ) -> Bool {
        var a0 = Float8.zero, a1 = Float8.zero
        var b0 = Float8.zero, b1 = Float8.zero
        var c0 = Float8.zero, c1 = Float8.zero
        var d0 = Float8.zero, d1 = Float8.zero
        var e0 = Float8.zero, e1 = Float8.zero
        var f0 = Float8.zero, f1 = Float8.zero
        var query = queries
        var reference = references
        let end = queries + 6 &* dimension
        while query < end {
            let low = load8(reference)
            let high = load8(reference + 8)
            var value = Float8(repeating: query[0])
            a0 = fma8(value, low, a0)
            a1 = fma8(value, high, a1)
            value = Float8(repeating: query[1])
            b0 = fma8(value, low, b0)
            b1 = fma8(value, high, b1)
            value = Float8(repeating: query[2])
            c0 = fma8(value, low, c0)
            c1 = fma8(value, high, c1)
            value = Float8(repeating: query[3])
            d0 = fma8(value, low, d0)
            d1 = fma8(value, high, d1)
            value = Float8(repeating: query[4])
            e0 = fma8(value, low, e0)
            e1 = fma8(value, high, e1)
            value = Float8(repeating: query[5])
            f0 = fma8(value, low, f0)
            f1 = fma8(value, high, f1)
            query += 6
            reference += 16
        }
        let above =
            (max8(a0, a1) .> limits[0]) .| (max8(b0, b1) .> limits[1]) .| (max8(c0, c1) .> limits[2])
            .| (max8(d0, d1) .> limits[3]) .| (max8(e0, e1) .> limits[4]) .| (max8(f0, f1) .> limits[5])
        if !any(above) { return false }
        store8(a0, products)
        store8(a1, products + 8)
        store8(b0, products + 16)
        store8(b1, products + 24)
        store8(c0, products + 32)
        store8(c1, products + 40)
        store8(d0, products + 48)
        store8(d1, products + 56)
        store8(e0, products + 64)
        store8(e1, products + 72)
        store8(f0, products + 80)
        store8(f1, products + 88)
        return true
    }
}
