import CARL
import CARLHeader

@c @implementation
public func carl_assignment_options_init(_ options: UnsafeMutablePointer<carl_assignment_options>?, _ size: Int)
    -> carl_status
{
    guarded {
        let options = try required(options, "options")
        let size = UInt64(bitPattern: Int64(size))
        try write(standardOptions, to: options, size: size, "options")
        UnsafeMutableRawPointer(options).storeBytes(of: size, as: UInt64.self)
    }
}

private var standardOptions: carl_assignment_options {
    carl_assignment_options(
        struct_size: UInt64(MemoryLayout<carl_assignment_options>.size), temperature: 1, prior_weight: 1,
        normalize_embedding: 1, normalize_prototypes: 1, stop_gradient: 1, symmetric: 1, partition_size: 0, seed: 0,
        prior_over_targets: 0, threads: 0)
}

private func assignmentOptions(_ options: carl_assignment_options, prototypes: Int) throws -> AssignmentOptions {
    guard options.temperature > 0, options.temperature.isFinite else {
        throw InterfaceError(
            CARL_INVALID_ARGUMENT, "temperature: got \(options.temperature), want a finite number above 0")
    }
    guard options.prior_weight >= 0, options.prior_weight.isFinite else {
        throw InterfaceError(
            CARL_INVALID_ARGUMENT, "prior_weight: got \(options.prior_weight), want a finite number, 0 or above")
    }
    var result = AssignmentOptions()
    result.temperature = options.temperature
    result.priorWeight = options.prior_weight
    result.normalizeEmbedding = try flag(options.normalize_embedding, "normalize_embedding")
    result.normalizePrototypes = try flag(options.normalize_prototypes, "normalize_prototypes")
    result.stopGradient = try flag(options.stop_gradient, "stop_gradient")
    result.symmetric = try flag(options.symmetric, "symmetric")
    result.priorOverTargets = try flag(options.prior_over_targets, "prior_over_targets")
    result.partitionSize = try size(options.partition_size, "partition_size", 0...prototypes)
    return result
}

@c @implementation
public func carl_assignment_loss(
    _ options: UnsafePointer<carl_assignment_options>?, _ embeddings: UnsafePointer<UnsafePointer<Float>?>?,
    _ views: Int,
    _ batch: Int64, _ dimension: Int64, _ prototypes: UnsafePointer<Float>?, _ prototype_count: Int64,
    _ targets: UnsafePointer<UnsafePointer<Float>?>?, _ target_count: Int, _ target_prototypes: UnsafePointer<Float>?,
    _ result: UnsafeMutablePointer<carl_assignment_result>?, _ grad_views: UnsafePointer<UnsafeMutablePointer<Float>?>?,
    _ grad_prototypes: UnsafeMutablePointer<Float>?
) -> carl_status {
    guarded {
        let given = try required(options, "options")
        let raw = try read(given, size: structSizeMember(given), "options", standard: standardOptions)
        let batch = try size(batch, "batch", 1...Int(Int32.max))
        let dimension = try size(dimension, "dimension", 1...(1 << 24))
        let count = try size(prototype_count, "prototype_count", 1...Int(Int32.max))
        let options = try assignmentOptions(raw, prototypes: count)
        let threads = try size(raw.threads, "threads", 0...1024)
        guard targets != nil || target_count == 0 else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT,
                "targets: got NULL, with target_count \(shown(target_count)); want pointers, or 0")
        }
        let targetCount = targets == nil ? 0 : try size(target_count, "target_count", 1...256)
        let views = try size(views, "views", (targetCount > 0 ? 1 : 2)...256)
        guard batch <= Int(Int32.max) / (views + targetCount) else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT,
                "batch: got \(batch) images in \(views + targetCount) views and targets, more than 2^31 - 1 rows")
        }
        guard batch <= (1 << 40) / (dimension * views), count <= (1 << 40) / dimension else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "the embeddings or prototypes have more than 2^40 values")
        }
        guard options.partitionSize <= (1 << 40) / (batch * (views + targetCount)) else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT,
                """
                partition_size: got \(options.partitionSize); with \(batch) images in \(views + targetCount) views \
                and targets a block has more than 2^40 logits
                """
            )
        }
        let embeddings = try required(embeddings, "embeddings")
        var inputs = ConsistentAssignment.Inputs(
            embeddings: try (0..<views).map { try required(embeddings[$0], "embeddings[\($0)]") }, batch: batch,
            dimension: dimension, prototypes: try required(prototypes, "prototypes"), prototypeCount: count)
        if let targets {
            inputs.targets = try (0..<targetCount).map { try required(targets[$0], "targets[\($0)]") }
            inputs.targetPrototypes = target_prototypes
        }
        guard ConsistentAssignment.hasPairs(views: views, targets: targetCount, options: options) else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT,
                "targets: \(views) view(s) and \(targetCount) target(s) make no pair of different views")
        }
        if options.partitionSize > 0 {
            inputs.partition = try RandomPartition(count: count, blockSize: options.partitionSize, seed: raw.seed)
        }
        if let grad_views {
            inputs.embeddingGradients = try (0..<views).map { try required(grad_views[$0], "grad_views[\($0)]") }
        }
        if let grad_prototypes {
            grad_prototypes.update(repeating: 0, count: count * dimension)
            inputs.prototypeGradient = grad_prototypes
        }
        let outcome = try IdleCompute.call(threads: threads) { try ConsistentAssignment(options, $0).evaluate(inputs) }
        guard outcome.loss.isFinite else {
            throw InterfaceError(
                CARL_NOT_FINITE,
                """
                the loss is \(outcome.loss): values that are not finite in the embeddings, targets or prototypes, or a \
                temperature too small for them (\(options.temperature))
                """)
        }
        result?.pointee = carl_assignment_result(
            loss: outcome.loss, consistency: outcome.consistency, prior: outcome.prior)
    }
}
