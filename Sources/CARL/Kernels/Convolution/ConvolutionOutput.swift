/// What a convolution writes: pixels of float32, or pixels that are rounded to bfloat16 part by part, when the epilogue
/// has seen them.
struct ConvolutionOutput {
    private let values: StoredValues
    private let channels: Int

    init(_ values: FloatPointer, channels: Int) {
        self.values = StoredValues(values)
        self.channels = channels
    }

    init(_ y: Activation) {
        values = y.stored
        channels = y.channels
    }

    /// Values of memory that a part of `count` pixels needs.
    func scratch(_ count: Int) -> Int { values.isBFloat16 ? count * channels : 0 }

    /// Where the values of pixels `range` are to be written, or with `accumulate` added: pixel i at `i * channels`.
    /// They may lie in `scratch`.
    func pixels(_ range: Range<Int>, _ scratch: FloatPointer, accumulate: Bool) -> FloatPointer {
        guard values.isBFloat16 else { return values.float32 }
        let at = range.lowerBound * channels
        if accumulate { values.from(at).copy(range.count * channels, to: scratch) }
        return scratch - at
    }

    /// Pixels `range` have been written where `pixels` said.
    func finish(_ part: Int, _ range: Range<Int>, _ written: FloatPointer, _ epilogue: Epilogue?) {
        epilogue?(part, range, written)
        guard values.isBFloat16 else { return }
        let at = range.lowerBound * channels
        values.from(at).round(written + at, range.count * channels)
    }

    /// Writes part by part: `body` writes the pixels of a range where it is told.
    func write(
        _ parts: RowParts, _ compute: Compute,
        _ body: (_ part: Int, _ range: Range<Int>, _ written: FloatPointer) -> Void
    ) throws {
        let scratch = try compute.scratch(scratch(parts.size))
        compute.parallel(parts.count) { part, worker in
            let range = parts[part]
            let written = pixels(range, scratch[worker], accumulate: false)
            body(part, range, written)
            finish(part, range, written, nil)
        }
    }

    /// Lends memory for all of `rows` pixels, and the epilogue of a product that writes, or with `accumulate` adds,
    /// there.
    func whole(
        _ rows: Int, accumulate: Bool, _ compute: Compute, _ epilogue: Epilogue?,
        _ body: (_ target: FloatPointer, _ epilogue: Epilogue?) throws -> Void
    ) throws {
        guard values.isBFloat16 else { return try body(values.float32, epilogue) }
        let memory = try compute.workspace.takePassing(rows * channels)
        defer { compute.workspace.givePassing(memory) }
        if accumulate { values.copy(rows * channels, to: memory.base) }
        try body(memory.base) { part, range, written in finish(part, range, written, epilogue) }
    }

    /// Prefetches where pixels `range` go, and what lies beside them in `alongside`.
    func prefetch(_ range: Range<Int>, alongside: [StoredValues], _ prefetch: inout Prefetch) {
        for memory in [values] + alongside {
            memory.prefetch(range.lowerBound * channels..<range.upperBound * channels, &prefetch)
        }
    }
}
