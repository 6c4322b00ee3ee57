import Testing

@testable import CARL

@Suite(.serialized) struct CancellationTests {
    private func withFlag<Result>(_ body: (UnsafeMutablePointer<Int32>) throws -> Result) rethrows -> Result {
        let flag = UnsafeMutablePointer<Int32>.allocate(capacity: 1)
        flag.initialize(to: 0)
        defer { flag.deallocate() }
        return try body(flag)
    }

    @Test(arguments: [1, 3]) func loopsLeaveOutWhatHasNotBegun(threads: Int) throws {
        let compute = try Compute(threads: threads)
        withFlag { flag in
            Cancellation.with(flag) {
                let done = ThreadPoolTests.Counter()
                compute.parallel(1000) { item, _ in
                    done.add()
                    if item == 5 { flag.pointee = 1 }
                }
                #expect(done.value >= 1 && done.value < 1000)
                compute.parallelRanges(100) { _, _ in Issue.record("a loop began after the call was cancelled") }
                compute.parallelAhead(100) { _, _, _ in Issue.record("a loop began after the call was cancelled") }
                compute.parallelPhases([4, 4]) { _, _, _ in Issue.record("a loop began after the call was cancelled") }
                #expect(throws: CARLError.self) { try compute.workspace.take(4) }
                #expect(throws: CARLError.self) { try compute.call {} }
                Cancellation.shielded { #expect(!Cancellation.isRequested) }
                #expect(Cancellation.isRequested)
                // What was left out stays so, whatever becomes of the flag.
                flag.pointee = 0
                #expect(Cancellation.isRequested)
                #expect(throws: CARLError.self) { try Cancellation.check() }
            }
            // Outside of the call the flag is nobody's.
            #expect(!Cancellation.isRequested)
        }
    }

    /// A step that was taken is reported, whatever comes after: the flag is a value that the optimizer changes from 0.
    @Test func aCancellationAfterTheStepIsNotOfTheStep() throws {
        let trainer = try Trainer(
            Configuration(
                json: #"{"width": 0.125, "prototypes": 10, "view_size": 12, "projector": [16, 8], "threads": 1}"#))
        let pixels: [UInt8] = (0..<2592).map { (i: Int) -> UInt8 in UInt8(truncatingIfNeeded: i &* 37 &+ i / 7) }
        try pixels.withUnsafeBufferPointer { (pixels: UnsafeBufferPointer<UInt8>) throws -> Void in
            let images: [SourceImage] = (0..<6).map { (i: Int) -> SourceImage in
                SourceImage(pixels: pixels.baseAddress! + i * 432, height: 12, width: 12, channels: 3, rowStride: 36)
            }
            let moment = try #require(trainer.training.firstMoment)
            let flag = UnsafeRawPointer(moment.base).assumingMemoryBound(to: Int32.self)
            let metrics = try Cancellation.with(flag) { try trainer.step(images) }
            #expect(flag.pointee != 0)
            #expect(metrics.step == 1 && trainer.stepCount == 1)
        }
    }

    /// A trainer whose step was cancelled at any moment is as before, and its next step is what it would have been.
    ///
    /// The flag is a value that the step itself changes from 0: a running mean in the forward pass, a gradient in the
    /// backward pass.
    @Test(arguments: [1, 2]) func aCancelledStepChangesNothing(threads: Int) throws {
        let json =
            #"{"width": 0.125, "prototypes": 10, "partition_size": 4, "view_size": 12, "projector": [16, 8], "teacher_momentum": 0.9, "threads": \#(threads)}"#
        let configuration = try Configuration(json: json)
        let reference = try Trainer(configuration)
        let pixels: [UInt8] = (0..<2592).map { (i: Int) -> UInt8 in UInt8(truncatingIfNeeded: i &* 37 &+ i / 7) }
        try pixels.withUnsafeBufferPointer { (pixels: UnsafeBufferPointer<UInt8>) throws -> Void in
            let images: [SourceImage] = (0..<6).map { (i: Int) -> SourceImage in
                SourceImage(pixels: pixels.baseAddress! + i * 432, height: 12, width: 12, channels: 3, rowStride: 36)
            }
            let initial = (Array(reference.training.parameters.values), Array(reference.training.statistics.values))
            _ = try reference.step(images)
            let layout = reference.model.layout
            let means = layout.statistics.filter { $0.name.hasSuffix("running_mean") }
            var moments: [(isStatistic: Bool, offset: Int)] = []
            for slot in means { moments.append((true, slot.offset)) }
            for slot in layout.parameters { moments.append((false, slot.offset)) }
            var cancelled = 0
            for moment in moments {
                let trainer = try Trainer(configuration)
                let memory = moment.isStatistic ? trainer.training.statistics : trainer.training.gradients!
                let flag = UnsafeRawPointer(memory.base + moment.offset).assumingMemoryBound(to: Int32.self)
                do {
                    _ = try Cancellation.with(flag) { try trainer.step(images) }
                    // The value stayed 0, or changed when the step could no longer be cancelled.
                } catch CARLError.cancelled {
                    cancelled += 1
                    #expect(Array(trainer.training.parameters.values) == initial.0)
                    #expect(Array(trainer.training.statistics.values) == initial.1)
                    #expect(trainer.counters == TrainingCounters())
                    _ = try trainer.step(images)
                }
                #expect(Array(trainer.training.parameters.values) == Array(reference.training.parameters.values))
                #expect(Array(trainer.training.statistics.values) == Array(reference.training.statistics.values))
                #expect(trainer.counters == reference.counters)
            }
            #expect(cancelled > means.count)
        }
    }

    private static let wide = #"{"width": 0.5, "prototypes": 4, "view_size": 12, "projector": [8], "threads": 2}"#

    private func withImage<Result>(_ body: (SourceImage) throws -> Result) rethrows -> Result {
        let pixels: [UInt8] = (0..<432).map { (i: Int) -> UInt8 in UInt8(truncatingIfNeeded: i &* 37 &+ i / 7) }
        return try pixels.withUnsafeBufferPointer {
            try body(SourceImage(pixels: $0.baseAddress!, height: 12, width: 12, channels: 3, rowStride: 36))
        }
    }

    /// Cancels the call that takes its buffer number `last`, before that is filled.
    private final class CancellingBuffers: PrepackedBuffers {
        var last = Int.max
        var flag: UnsafeMutablePointer<Int32>?
        private var taken = 0

        override func memory(
            _ source: UnsafePointer<Float>, _ count: Int, _ format: ProductFormat, isArranged: Bool
        ) throws -> (buffer: FloatBuffer, filled: Bool) {
            let (buffer, filled) = try super.memory(source, count, format, isArranged: isArranged)
            if !filled {
                // What is there may be the right values of before.
                buffer.base.update(repeating: .nan, count: buffer.count)
                taken += 1
                if taken == last { flag?.pointee = 1 }
            }
            return (buffer, filled)
        }
    }

    /// Cancels `call` at each buffer that it takes for what is kept; `result` is then what it was before.
    private func cancelAtEveryBuffer(
        of compute: Compute, _ call: () throws -> Void, result: () throws -> [Float]
    ) throws {
        let expected = try result()
        var cancelled = 0
        for last in 1...200 {
            let buffers = CancellingBuffers()
            compute.prepackedFilters = buffers
            let ended = try withFlag { flag in
                (buffers.last, buffers.flag) = (last, flag)
                defer { buffers.flag = nil }
                do {
                    try Cancellation.with(flag) { try call() }
                    return true
                } catch CARLError.cancelled { return false }
            }
            #expect(try result() == expected)
            if ended { break }
            cancelled += 1
        }
        #expect(cancelled > 15)
    }

    /// What is derived from fixed weights and kept is not kept half done.
    @Test func aCancelledEmbeddingLeavesNoHalfFilledMemory() throws {
        let encoder = try Evaluator(copying: Trainer(Configuration(json: Self.wide)), teacher: false)
        try withImage { image in
            func features() throws -> [Float] {
                var values = [Float](repeating: 0, count: try encoder.width(.features))
                try encoder.embed([image], size: 0, .features, into: &values)
                return values
            }
            try cancelAtEveryBuffer(of: encoder.compute, { _ = try features() }, result: features)
        }
    }

    @Test func aCancelledStepOfAFrozenEncoderLeavesNoHalfFilledMemory() throws {
        let encoder = try Evaluator(copying: Trainer(Configuration(json: Self.wide)), teacher: false)
        let classifier = try Classifier(
            JSONValue.parse(#"{"classes": 2, "freeze_encoder": true, "threads": 2}"#), encoder: encoder)
        try withImage { image in
            try cancelAtEveryBuffer(
                of: classifier.evaluationCompute, { _ = try classifier.step([image], labels: [1]) }
            ) {
                var values = [Float](repeating: 0, count: try classifier.width(.features))
                try classifier.embed([image], size: 0, .features, into: &values)
                return values
            }
        }
    }
}
