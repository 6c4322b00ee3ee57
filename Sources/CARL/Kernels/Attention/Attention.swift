/// Softmax attention of many heads over the tokens of each image, forward and backward, in blocks of query rows: the
/// scores of a block and head exist in cache, never those of all heads (as in Dao et al., arXiv 2205.14135).
///
/// Forward keeps log sum exp of each row; backward computes the probabilities again from it.
enum Attention {
    /// Values of a head's query, key and value.
    static let headWidth = 64
    /// Queries are multiplied by 1 / sqrt(64).
    private static let scale: Float = 0.125
    /// Scores of a block: 192 KiB.
    private static let mostScores = 48 << 10

    struct Shape {
        let images: Int
        let tokens: Int
        let heads: Int

        /// D, values of a token.
        var width: Int { heads * headWidth }
        /// Values of the queries, keys and values of a token, one behind the other.
        var joined: Int { 3 * width }
        /// Tokens rounded up to whole panels of a packed product.
        var paddedTokens: Int { (tokens + PackedGEMM.width - 1) / PackedGEMM.width * PackedGEMM.width }
        /// Query rows of a block, whole tiles of the micro-kernel.
        var blockRows: Int { min(96, max(24, mostScores / paddedTokens / 24 * 24)) }
        /// Multiplications and additions of a forward pass.
        var operations: Double { 4 * Double(images) * Double(tokens) * Double(tokens) * Double(width) }
    }

    /// - Parameters:
    ///   - joined: (images, tokens, 3, heads, 64): queries, keys, values.
    ///   - out: (images, tokens, heads, 64).
    ///   - logSums: (images, heads, tokens), log sum exp of the scores of each query; nil where no backward follows.
    static func forward(
        _ joined: UnsafePointer<Float>, _ shape: Shape, into out: FloatPointer, logSums: FloatPointer?,
        _ compute: Compute
    ) throws {
        let (tokens, padded, blockRows) = (shape.tokens, shape.paddedTokens, shape.blockRows)
        let heads = shape.images * shape.heads
        // Few heads are cut into runs of blocks, so that all threads have work.
        let blocks = (tokens + blockRows - 1) / blockRows
        let runs = heads >= 4 * compute.workers ? 1 : min(blocks, max(1, 4 * compute.workers / heads))
        let scratch = try compute.scratch(
            headWidth * padded + PackedMatrix.count(tokens, headWidth) + blockRows * (padded + 1))
        compute.parallel(heads * runs) { item, worker in
            let head = Head(joined, shape, item / runs)
            let keys = scratch[worker]
            let values = keys + headWidth * padded
            let scores = values + PackedMatrix.count(tokens, headWidth)
            let sums = scores + blockRows * padded
            let keyPanels = head.packTransposed(head.keys, head.stride, to: keys)
            let valuePanels = head.pack(head.values, to: values)
            for block in Compute.share(blocks, item % runs, of: runs) {
                let first = block * blockRows
                let rows = min(blockRows, tokens - first)
                PackedGEMM.multiply(
                    rows, padded, headWidth,
                    .init(base: head.queries + first * head.stride, rowStride: head.stride, depthStride: 1), keyPanels,
                    scores, padded, accumulate: false)
                let target = out + (head.firstToken + first) * shape.width + head.column
                softmax(scores, rows, tokens, padded, sums, logSums.map { $0 + head.number * tokens + first })
                PackedGEMM.multiply(
                    rows, headWidth, tokens, .init(base: scores, rowStride: padded, depthStride: 1), valuePanels,
                    target, shape.width, accumulate: false)
                for row in 0..<rows { multiply(target + row * shape.width, headWidth, by: 1 / sums[row]) }
            }
        }
    }

    /// From the gradient of `out` to that of `joined`, which is written.
    static func backward(
        _ joined: UnsafePointer<Float>, out: UnsafePointer<Float>, logSums: UnsafePointer<Float>,
        gradient: UnsafePointer<Float>, _ shape: Shape, into dJoined: FloatPointer, _ compute: Compute
    ) throws {
        let (tokens, padded, blockRows) = (shape.tokens, shape.paddedTokens, shape.blockRows)
        let packed = PackedMatrix.count(tokens, headWidth)
        let scratch = try compute.scratch(2 * headWidth * padded + packed + 2 * blockRows * padded)
        compute.parallel(shape.images * shape.heads) { item, worker in
            let head = Head(joined, shape, item)
            let transposedKeys = scratch[worker]
            let transposedValues = transposedKeys + headWidth * padded
            let keys = transposedValues + headWidth * padded
            let weights = keys + packed
            let slopes = weights + blockRows * padded
            let scorePanels = head.packTransposed(head.keys, head.stride, to: transposedKeys)
            let slopePanels = head.packTransposed(head.values, head.stride, to: transposedValues)
            let keyPanels = head.pack(head.keys, to: keys)
            let stride = head.stride
            let target = dJoined + head.firstToken * stride + head.column
            for first in Swift.stride(from: 0, to: tokens, by: blockRows) {
                let rows = min(blockRows, tokens - first)
                let queries = head.queries + first * stride
                let at = (head.firstToken + first) * shape.width + head.column
                let dOut = gradient + at
                PackedGEMM.multiply(
                    rows, padded, headWidth, .init(base: queries, rowStride: stride, depthStride: 1), scorePanels,
                    weights, padded, accumulate: false)
                PackedGEMM.multiply(
                    rows, padded, headWidth, .init(base: dOut, rowStride: shape.width, depthStride: 1), slopePanels,
                    slopes, padded, accumulate: false)
                for row in 0..<rows {
                    differentiate(
                        weights + row * padded, slopes + row * padded, tokens, padded,
                        logSum: logSums[head.number * tokens + first + row],
                        product: dot(dOut + row * shape.width, out + at + row * shape.width))
                }
                // dQ = dS K, dK += dS^T Q, dV += P^T dO
                PackedGEMM.multiply(
                    rows, headWidth, tokens, .init(base: slopes, rowStride: padded, depthStride: 1), keyPanels,
                    target + first * stride, stride, accumulate: false)
                PackedGEMM.multiply(
                    tokens, headWidth, rows, .init(base: slopes, rowStride: 1, depthStride: padded),
                    .init(base: queries, panelStride: PackedGEMM.width, depthStride: stride), target + shape.width,
                    stride, accumulate: first > 0)
                PackedGEMM.multiply(
                    tokens, headWidth, rows, .init(base: weights, rowStride: 1, depthStride: padded),
                    .init(base: dOut, panelStride: PackedGEMM.width, depthStride: shape.width),
                    target + 2 * shape.width, stride, accumulate: first > 0)
            }
        }
    }

    /// A head of an image, and where its operands lie.
    private struct Head {
        /// image * heads + head.
        let number: Int
        let tokens: Int
        /// Row of the image's first token.
        let firstToken: Int
        /// First value of the head in a token's row.
        let column: Int
        /// From a token's queries to those of the next.
        let stride: Int
        let queries: UnsafePointer<Float>
        let keys: UnsafePointer<Float>
        let values: UnsafePointer<Float>

        init(_ joined: UnsafePointer<Float>, _ shape: Shape, _ number: Int) {
            self.number = number
            tokens = shape.tokens
            firstToken = number / shape.heads * tokens
            column = number % shape.heads * headWidth
            stride = shape.joined
            queries = joined + firstToken * stride + column
            keys = queries + shape.width
            values = keys + shape.width
        }

        /// Rows (tokens, 64) as the right side of a product over tokens.
        func pack(_ source: UnsafePointer<Float>, to target: FloatPointer) -> PackedGEMM.Right {
            MatrixProduct.pack(.init(source, stride, transposed: false), 0, tokens, 0, headWidth, 1, to: target)
            return .init(base: target, panelStride: tokens * PackedGEMM.width, depthStride: PackedGEMM.width)
        }

        /// The same rows as the right side of a product whose columns are tokens; columns behind the last are 0.
        func packTransposed(_ source: UnsafePointer<Float>, _ stride: Int, to target: FloatPointer) -> PackedGEMM.Right
        {
            MatrixProduct.pack(.init(source, stride, transposed: true), 0, headWidth, 0, tokens, 1, to: target)
            return .init(base: target, panelStride: headWidth * PackedGEMM.width, depthStride: PackedGEMM.width)
        }
    }

    /// Scores become exp(scale * (score - the row's largest)), 0 behind the last token. `sums` gets the sum of each
    /// row.
    private static func softmax(
        _ scores: FloatPointer, _ rows: Int, _ tokens: Int, _ padded: Int, _ sums: FloatPointer,
        _ logSums: FloatPointer?
    ) {
        for row in 0..<rows {
            let values = scores + row * padded
            for i in tokens..<padded { values[i] = -.infinity }
            var largest8 = load8(values)
            var i = 8
            while i < padded {
                largest8 = max8(largest8, load8(values + i))
                i &+= 8
            }
            let largest = largest8.max()
            var sum8 = Float8.zero
            i = 0
            while i < padded {
                let value = expNonpositive8((load8(values + i) - largest) * scale)
                store8(value, values + i)
                sum8 += value
                i &+= 8
            }
            let sum = sum8.sum()
            sums[row] = sum
            if let logSums { logSums[row] = largest * scale + Float(logarithm(Double(sum))) }
        }
    }

    /// Scores become probabilities p; the gradients g of the probabilities become those of the unscaled scores,
    /// scale * p * (g - sum of p g), 0 behind the last token.
    private static func differentiate(
        _ scores: FloatPointer, _ gradients: FloatPointer, _ tokens: Int, _ padded: Int, logSum: Float, product: Float
    ) {
        for i in tokens..<padded { scores[i] = -.infinity }
        var i = 0
        while i < padded {
            let p = expNonpositive8(fma8(load8(scores + i), Float8(repeating: scale), Float8(repeating: -logSum)))
            store8(p, scores + i)
            store8((load8(gradients + i) - product) * p * scale, gradients + i)
            i &+= 8
        }
    }

    private static func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>) -> Float {
        var sum = Float8.zero
        for i in Swift.stride(from: 0, to: headWidth, by: 8) { sum = fma8(load8(a + i), load8(b + i), sum) }
        return sum.sum()
    }

    private static func multiply(_ values: FloatPointer, _ count: Int, by factor: Float) {
        for i in Swift.stride(from: 0, to: count, by: 8) { store8(load8(values + i) * factor, values + i) }
    }
}
