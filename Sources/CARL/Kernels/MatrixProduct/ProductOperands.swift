/// How the operands of `PackedGEMM` lie in memory.
extension PackedGEMM {
    /// How an operand lies in memory: distances in values.
    struct Left {
        let base: UnsafePointer<Float>
        /// From a row of A to the next one.
        let rowStride: Int
        /// From a value of a row to the next one.
        let depthStride: Int
        /// From the first row of a tile to that of the next one.
        let tileStride: Int
        /// Its values are words already, as those of a `Right` that is not float32.
        let isPaired: Bool

        init(base: UnsafePointer<Float>, rowStride: Int, depthStride: Int, isPaired: Bool = false) {
            self.base = base
            self.rowStride = rowStride
            self.depthStride = depthStride
            self.isPaired = isPaired
            tileStride = PackedGEMM.rows &* rowStride
        }

        /// Packed as the micro-kernel reads it: (tiles, depth, `rows`).
        init(tiles base: UnsafePointer<Float>, depth: Int, isPaired: Bool = false) {
            self.base = base
            self.isPaired = isPaired
            rowStride = 1
            depthStride = PackedGEMM.rows
            tileStride = PackedGEMM.rows &* depth
        }

        /// Rows of a tile lie side by side, and the tiles one behind the other.
        var isPacked: Bool { tileStride != PackedGEMM.rows &* rowStride }

        /// The same from a row on, unless it is packed.
        func from(row: Int) -> Left {
            Left(base: base + row &* rowStride, rowStride: rowStride, depthStride: depthStride, isPaired: isPaired)
        }
    }

    /// B as panels of `width` columns. Values behind the last column of B are read, and must be there, but count for
    /// nothing.
    struct Right {
        let base: UnsafePointer<Float>
        /// From a panel's values to those of the next one.
        let panelStride: Int
        /// From a panel's values of a row to those of the next row.
        let depthStride: Int
        /// The panels are too many to stay in the second level cache: the next one is prefetched while rows of A pass
        /// by the one before.
        var isFar = false
        /// Other than float32: its values are words of two bfloat16 values, neighbours along the depth (see
        /// `BFloat16`).
        var format = ProductFormat.float32

        /// The same from a column on, a multiple of `width`.
        func from(column: Int) -> Right {
            Right(
                base: base + column / PackedGEMM.width &* panelStride, panelStride: panelStride,
                depthStride: depthStride, isFar: isFar, format: format)
        }

        /// The same from a depth on; an even one where values are paired.
        func from(depth: Int) -> Right { from(word: depth / format.depthPerWord) }

        func from(word: Int) -> Right {
            Right(
                base: base + word &* depthStride, panelStride: panelStride, depthStride: depthStride, isFar: isFar,
                format: format)
        }
    }
}
