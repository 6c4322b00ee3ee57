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
    /// Tokens whose scores with a block of queries are done at a time going back: whole tiles of the micro-kernel.
    private static let tokensAtATime = 48

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
        /// Query rows of a block going back: whole panels, blocks of about one size.
        var gradientRows: Int {
            let most = max(32, min(128, mostScores / tokens))
            let blocks = (tokens + most - 1) / most
            return ((tokens + blocks - 1) / blocks + PackedGEMM.width - 1) / PackedGEMM.width * PackedGEMM.width
        }
        /// From a token's slopes of a block to those of the next: an odd number of cache lines, so that those of one
        /// query spread over the cache's sets.
        var gradientDistance: Int { (gradientRows / 16 | 1) * 16 }
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
            headWidth * padded + PackedMatrix.count(tokens, headWidth) + blockRows * (padded + 1 + headWidth))
        compute.parallel(heads * runs) { item, worker in
            let head = Head(joined, shape, item / runs)
            let keys = scratch[worker]
            let values = keys + headWidth * padded
            let scores = values + PackedMatrix.count(tokens, headWidth)
            let queries = scores + blockRows * padded
            let sums = queries + blockRows * headWidth
            let keyPanels = head.packTransposed(head.keys, tokens, head.stride, to: keys)
            let valuePanels = head.pack(head.values, tokens, head.stride, to: values)
            for block in Compute.share(blocks, item % runs, of: runs) {
                let first = block * blockRows
                let rows = min(blockRows, tokens - first)
                // Side by side they stay in the first level cache while panels of keys pass by.
                for row in 0..<rows {
                    let from = head.queries + (first + row) * head.stride
                    (queries + row * headWidth).update(from: from, count: headWidth)
                }
                PackedGEMM.multiply(
                    rows, padded, headWidth, .init(base: queries, rowStride: headWidth, depthStride: 1), keyPanels,
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
        let (tokens, blockRows, distance) = (shape.tokens, shape.gradientRows, shape.gradientDistance)
        let block = blockRows * headWidth
        let scratch = try compute.scratch(
            PackedMatrix.count(tokens, headWidth) + 4 * block + (tokens + tokensAtATime) * distance + 2 * blockRows)
        compute.parallel(shape.images * shape.heads) { item, worker in
            let head = Head(joined, shape, item)
            let keys = scratch[worker]
            let queries = keys + PackedMatrix.count(tokens, headWidth)
            let transposedQueries = queries + block
            let slopes = transposedQueries + 3 * block
            let weights = slopes + tokens * distance
            let logs = weights + tokensAtATime * distance
            let products = logs + blockRows
            let keyPanels = head.pack(head.keys, tokens, head.stride, to: keys)
            let target = dJoined + head.firstToken * head.stride + head.column
            for first in stride(from: 0, to: tokens, by: blockRows) {
                let rows = min(blockRows, tokens - first)
                let columns = (rows + PackedGEMM.width - 1) / PackedGEMM.width * PackedGEMM.width
                let at = (head.firstToken + first) * shape.width + head.column
                let dOut = gradient + at
                let ownQueries = head.queries + first * head.stride
                let queryPanels = head.pack(ownQueries, rows, head.stride, to: queries)
                let scorePanels = head.packTransposed(ownQueries, rows, head.stride, to: transposedQueries)
                let dOutPanels = head.pack(dOut, rows, shape.width, to: queries + 2 * block)
                let slopePanels = head.packTransposed(dOut, rows, shape.width, to: queries + 3 * block)
                for row in 0..<rows {
                    logs[row] = logSums[head.number * tokens + first + row]
                    products[row] = dot(dOut + row * shape.width, out + at + row * shape.width)
                }
                for row in rows..<columns { (logs[row], products[row]) = (.infinity, 0) }
                for token in stride(from: 0, to: tokens, by: tokensAtATime) {
                    let count = min(tokensAtATime, tokens - token)
                    let own = slopes + token * distance
                    PackedGEMM.multiply(
                        count, columns, headWidth,
                        .init(base: head.keys + token * head.stride, rowStride: head.stride, depthStride: 1),
                        scorePanels, weights, distance, accumulate: false)
                    PackedGEMM.multiply(
                        count, columns, headWidth,
                        .init(base: head.values + token * head.stride, rowStride: head.stride, depthStride: 1),
                        slopePanels, own, distance, accumulate: false)
                    for row in 0..<count {
                        differentiate(weights + row * distance, own + row * distance, columns, logs, products)
                    }
                    // dK += dS^T Q, dV += P^T dO
                    let result = target + token * head.stride
                    PackedGEMM.multiply(
                        count, headWidth, rows, .init(base: own, rowStride: distance, depthStride: 1), queryPanels,
                        result + shape.width, head.stride, accumulate: first > 0)
                    PackedGEMM.multiply(
                        count, headWidth, rows, .init(base: weights, rowStride: distance, depthStride: 1), dOutPanels,
                        result + 2 * shape.width, head.stride, accumulate: first > 0)
                }
                // dQ = dS K
                PackedGEMM.multiply(
                    rows, headWidth, tokens, .init(base: slopes, rowStride: 1, depthStride: distance), keyPanels,
                    target + first * head.stride, head.stride, accumulate: false)
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

        /// Rows (rows, 64), `stride` from one to the next, as the right side of a product over rows.
        func pack(_ source: UnsafePointer<Float>, _ rows: Int, _ stride: Int, to target: FloatPointer)
            -> PackedGEMM.Right
        {
            MatrixProduct.pack(.init(source, stride, transposed: false), 0, rows, 0, headWidth, 1, to: target)
            return .init(base: target, panelStride: rows * PackedGEMM.width, depthStride: PackedGEMM.width)
        }

        /// The same rows as the right side of a product whose columns they are; columns behind the last are 0.
        func packTransposed(_ source: UnsafePointer<Float>, _ rows: Int, _ stride: Int, to target: FloatPointer)
            -> PackedGEMM.Right
        {
            MatrixProduct.pack(.init(source, stride, transposed: true), 0, headWidth, 0, rows, 1, to: target)
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
            // Two chains, of which neither waits for the other.
            var (largest0, largest1) = (load8(values), load8(values + 8))
            var i = 16
            while i < padded {
                largest0 = max8(largest0, load8(values + i))
                largest1 = max8(largest1, load8(values + i + 8))
                i &+= 16
            }
            let largest = max8(largest0, largest1).max()
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

    /// Of a token, a row of scores, one of each query, becomes probabilities p; the gradients g of the probabilities
    /// become those of the unscaled scores, scale * p * (g - product).
    ///
    /// - Parameters:
    ///   - logs: log sum exp of each query's scores. products: sum of p g over its tokens.
    private static func differentiate(
        _ scores: FloatPointer, _ gradients: FloatPointer, _ count: Int, _ logs: FloatPointer, _ products: FloatPointer
    ) {
        var i = 0
        while i < count {
            let p = expNonpositive8(fma8(load8(scores + i), Float8(repeating: scale), -load8(logs + i)))
            store8(p, scores + i)
            store8((load8(gradients + i) - load8(products + i)) * (p * scale), gradients + i)
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
