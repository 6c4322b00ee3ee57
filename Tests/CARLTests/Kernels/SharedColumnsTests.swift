import Synchronization
import Testing

@testable import CARL

/// Products shared by columns: the bits of a product by one thread, the epilogue once for each part of rows, behind it.
@Suite struct SharedColumnsTests {
    struct Case: CustomTestStringConvertible {
        let rows, columns, depth, part, threads: Int
        var testDescription: String { "\(rows)x\(columns)x\(depth), parts of \(part), \(threads) threads" }
    }

    @Test(
        arguments: [
            Case(rows: 1, columns: 33, depth: 7, part: 64, threads: 2),
            Case(rows: 16, columns: 512, depth: 300, part: 64, threads: 2),
            Case(rows: 49, columns: 130, depth: 257, part: 20, threads: 3),
            Case(rows: 300, columns: 48, depth: 100, part: 128, threads: 2),
            Case(rows: 784, columns: 40, depth: 64, part: 128, threads: 4),
        ], [(false, Precision.float32), (true, .float32), (false, .emulatedBF16), (true, .emulatedBF16)])
    func bits(_ c: Case, _ kind: (prepares: Bool, precision: Precision)) throws {
        let prepares = kind.prepares
        let compute = try Compute(threads: c.threads, precision: kind.precision)
        var random = RandomStream(seed: 3, purpose: .order)
        func values(_ count: Int) -> [Float] {
            (0..<count).map { _ in Float(random.next() >> 8) * 0x1p-24 - 0.5 }
        }
        let (a, weights) = (values(c.rows * c.depth), values(c.depth * c.columns))
        var left = prepares ? [Float](repeating: .nan, count: a.count) : a
        var wanted = [Float](repeating: 0.5, count: c.rows * c.columns)
        var found = wanted
        let parts = RowParts(c.rows, size: c.part, groups: 1)
        let called = Mutex([Int](repeating: 0, count: parts.count))
        try PackedMatrix.with(weights, rows: c.rows, depth: c.depth, columns: c.columns, forward: true, compute) {
            right in
            try left.withUnsafeMutableBufferPointer { left in
                let operand = PackedGEMM.Left(
                    base: UnsafePointer(left.baseAddress!), rowStride: c.depth, depthStride: 1)
                try found.withUnsafeMutableBufferPointer { found in
                    let (target, source) = (found.baseAddress!, left.baseAddress!)
                    try SharedColumns.multiply(
                        parts, columns: c.columns, depth: c.depth, operand, right, target, accumulate: true, compute,
                        prepare: prepares
                            ? { rows in
                                for i in rows.lowerBound * c.depth..<rows.upperBound * c.depth { source[i] = a[i] }
                            } : nil,
                        epilogue: { part, rows, values in
                            #expect(values == target)
                            #expect(rows == parts[part])
                            called.withLock { $0[part] += 1 }
                            for i in rows.lowerBound * c.columns..<rows.upperBound * c.columns { target[i] *= 2 }
                        })
                }
                PackedGEMM.multiply(
                    c.rows, c.columns, c.depth, operand, right, &wanted, c.columns, accumulate: true)
            }
        }
        #expect(called.withLock { $0 } == [Int](repeating: 1, count: parts.count))
        #expect(found == wanted.map { 2 * $0 })
    }

    @Test func paysForFewPartsOfSomeWork() throws {
        let (one, two) = (try Compute(threads: 1), try Compute(threads: 2))
        let few = RowParts(49, size: 64, groups: 1)
        #expect(SharedColumns.pays(few, columns: 512, depth: 512, prepared: true, two))
        #expect(!SharedColumns.pays(few, columns: 512, depth: 512, prepared: true, one))
        #expect(!SharedColumns.pays(few, columns: 16, depth: 4096, prepared: true, two))
        #expect(!SharedColumns.pays(few, columns: 64, depth: 64, prepared: true, two))
        let many = RowParts(1 << 14, size: 128, groups: 1)
        #expect(!SharedColumns.pays(many, columns: 512, depth: 512, prepared: false, two))
        let wide = RowParts(784, size: 64, groups: 1)
        #expect(SharedColumns.pays(wide, columns: 512, depth: 256, prepared: true, two))
        #expect(!SharedColumns.pays(wide, columns: 512, depth: 1152, prepared: true, two))
    }

    /// Layers of one image: the same bits by one thread and by several.
    @Test(arguments: [(49, 3, 2), (8, 1, 1), (14, 1, 2), (14, 5, 2)], [Precision.float32, .emulatedBF16])
    func layersDoNotDependOnThreads(_ layer: (Int, Int, Int), _ precision: Precision) throws {
        let (side, kernel, stride) = layer
        let channels = 96
        let shape = ConvolutionShape(
            batch: 1, height: side, width: side, inChannels: channels, outChannels: 80, kernel: kernel, stride: stride,
            padding: kernel / 2, groups: 1)
        var random = RandomStream(seed: 5, purpose: .order)
        let x = (0..<shape.inRows * channels).map { _ in Float(random.next() >> 8) * 0x1p-24 - 0.5 }
        let w = (0..<shape.weightCount).map { _ in Float(random.next() >> 8) * 0x1p-24 - 0.5 }
        let results = try [1, 2, 3].map { threads in
            let compute = try Compute(threads: threads, precision: precision)
            var y = [Float](repeating: 0, count: shape.outRows * shape.outChannels)
            try y.withUnsafeMutableBufferPointer { y in
                let output = ConvolutionOutput(y.baseAddress!, channels: shape.outChannels)
                if kernel == 1 && stride == 1 {
                    try PointwiseConvolution.forward(
                        .init(x, channels: channels), w, output, shape, compute, epilogue: nil)
                } else {
                    try Im2colConvolution.forward(StoredValues(x), w, output, shape, compute, epilogue: nil)
                }
            }
            return y
        }
        #expect(results[0] == results[1] && results[0] == results[2])
        #expect(results[0].contains { $0 != 0 })
    }
}
