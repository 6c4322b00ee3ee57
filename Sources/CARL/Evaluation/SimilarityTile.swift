/// Products of packed unit rows: 6 queries with 16 references at a time, with AVX-512 8 with 32, the whole sum in
/// registers.
///
/// A panel holds `width` rows, their values side by side for each column: (dimension, width). Every product is the same
/// chain of fused multiply-adds over the columns in order, wherever the two rows stand in their panels: equal rows have
/// equal products. A general product would store and search a tile of results; this kernel hands out only those above a
/// query's threshold.
enum SimilarityTile {
    /// Queries in a panel.
    static let queries = MicroKernel.rows
    /// References in a panel.
    static let references = MicroKernel.columns

    /// Computes the products of two panels, and whether any is above the limit of its query. Only then they are stored,
    /// row by query, to `products`.
    @inline(never)
    static func multiply(
        _ queries: UnsafePointer<Float>, _ panel: UnsafePointer<Float>, _ dimension: Int, limits: UnsafePointer<Float>,
        _ products: FloatPointer
    ) -> Bool {
        let sums = MicroKernel(
            dimension, queries, rowStride: 1, rowCount: Self.queries, aStep: Self.queries, panel, bStep: references)
        var above = FloatVector.zero .> 0
        sums.forEachRow { query, left, right in
            above .|= left.replacing(with: right, where: right .> left) .> limits[query]
        }
        if !any(above) { return false }
        sums.forEachRow { query, left, right in
            storeVector(left, products + references &* query)
            storeVector(right, products + (references &* query &+ FloatVector.scalarCount))
        }
        return true
    }
}
