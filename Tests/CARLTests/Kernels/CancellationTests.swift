import Foundation
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

    /// One image through a wide network: most of the time goes into its filters, which are kept.
    private static let wide = #"{"width": 0.5, "prototypes": 4, "view_size": 12, "projector": [8], "threads": 2}"#

    private func withImage<Result>(_ body: (SourceImage) throws -> Result) rethrows -> Result {
        let pixels: [UInt8] = (0..<432).map { (i: Int) -> UInt8 in UInt8(truncatingIfNeeded: i &* 37 &+ i / 7) }
        return try pixels.withUnsafeBufferPointer {
            try body(SourceImage(pixels: $0.baseAddress!, height: 12, width: 12, channels: 3, rowStride: 36))
        }
    }

    /// Cancels `call`, which prepares what `kept` holds, at many moments; `result` is then what it was before.
    private func cancelAtManyMoments(
        _ kept: PrepackedBuffers, _ call: () throws -> Void, result: () throws -> [Float]
    ) throws {
        let expected = try result()
        func forget() {
            // So that memory which is used again does not hold the right values by chance.
            for buffer in kept.buffers.values { buffer.base.update(repeating: .nan, count: buffer.count) }
            kept.clear()
        }
        forget()
        let before = monotonicSeconds()
        try call()
        let whole = monotonicSeconds() - before
        let moments = 60
        var cancelled = 0
        for moment in 0..<moments {
            forget()
            try withFlag { flag in
                // The first time for certain, whenever a busy machine lets the other thread run.
                if moment == 0 { flag.pointee = 1 }
                let end = monotonicSeconds() + whole * Double(moment) / Double(moments)
                nonisolated(unsafe) let flag = flag
                let thread = Thread {
                    while monotonicSeconds() < end {}
                    flag.pointee = 1
                }
                thread.start()
                defer { while !thread.isFinished { usleep(100) } }
                do { try Cancellation.with(flag) { try call() } } catch CARLError.cancelled { cancelled += 1 }
            }
            #expect(try result() == expected)
        }
        #expect(cancelled > 0)
    }

    /// What is derived from fixed weights and kept is not kept half done.
    @Test func aCancelledEmbeddingLeavesNoHalfFilledMemory() throws {
        let encoder = try Evaluator(copying: Trainer(Configuration(json: Self.wide)), teacher: false)
        let kept = try #require(encoder.compute.prepackedFilters)
        try withImage { image in
            func features() throws -> [Float] {
                var values = [Float](repeating: 0, count: try encoder.width(.features))
                try encoder.embed([image], size: 0, .features, into: &values)
                return values
            }
            try cancelAtManyMoments(kept, { _ = try features() }, result: features)
        }
    }

    @Test func aCancelledStepOfAFrozenEncoderLeavesNoHalfFilledMemory() throws {
        let encoder = try Evaluator(copying: Trainer(Configuration(json: Self.wide)), teacher: false)
        let classifier = try Classifier(
            JSONValue.parse(#"{"classes": 2, "freeze_encoder": true, "threads": 2}"#), encoder: encoder)
        let kept = try #require(classifier.evaluationCompute.prepackedFilters)
        try withImage { image in
            try cancelAtManyMoments(kept, { _ = try classifier.step([image], labels: [1]) }) {
                var values = [Float](repeating: 0, count: try classifier.width(.features))
                try classifier.embed([image], size: 0, .features, into: &values)
                return values
            }
        }
    }
}
