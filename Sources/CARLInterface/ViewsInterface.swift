import CARL
import CARLHeader

private func specifications(_ json: UnsafePointer<CChar>?, channels: Int) throws -> [ViewSpec] {
    try ViewSpec.list(JSONValue.parse(try text(json, "spec_json")), channels: channels)
}

@c @implementation
public func carl_make_views(
    _ images: UnsafePointer<carl_image>?, _ count: Int, _ spec_json: UnsafePointer<CChar>?, _ seed: UInt64, _ epoch: UInt64,
    _ indices: UnsafePointer<UInt64>?, _ threads: Int32, _ out: UnsafePointer<UnsafeMutablePointer<Float>?>?,
    _ out_counts: UnsafePointer<Int>?, _ out_views: Int
) -> carl_status {
    guarded {
        let sources = try sourceImages(images, count)
        guard let channels = sources.first?.channels else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "count: got 0 images, want at least 1")
        }
        guard epoch < 1 << 24 else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "epoch: got \(epoch), want 0 to \((1 << 24) - 1)")
        }
        let specs = try specifications(spec_json, channels: channels)
        let views = specs.flatMap { spec in (0..<spec.count).map { _ in spec } }
        guard out_views == views.count else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "out_views: got \(out_views), the specification makes \(views.count)")
        }
        let out = try required(out, "out")
        let outCounts = try required(out_counts, "out_counts")
        for (i, spec) in views.enumerated() {
            let wanted = sources.count * spec.size * spec.size * channels
            guard outCounts[i] == wanted else {
                throw InterfaceError(
                    CARL_INVALID_ARGUMENT,
                    "out_counts[\(i)]: got \(outCounts[i]), want \(sources.count) * \(spec.size) * \(spec.size) * \(channels) = \(wanted)")
            }
        }
        let compute = Compute(threads: try size(threads, "threads", 0...1024))
        for (i, spec) in views.enumerated() {
            try ViewMaker.make(
                sources, spec: spec, seed: seed, epoch: epoch, indices: indices, lane: i, into: try required(out[i], "out[\(i)]"),
                compute)
        }
    }
}

@c @implementation
public func carl_views_describe(
    _ spec_json: UnsafePointer<CChar>?, _ channels: Int32, _ sizes: UnsafeMutablePointer<Int32>?, _ capacity: Int,
    _ views: UnsafeMutablePointer<Int>?
) -> carl_status {
    guarded {
        let specs = try specifications(spec_json, channels: try size(channels, "channels", 1...1024))
        let all = specs.flatMap { spec in (0..<spec.count).map { _ in Int32(spec.size) } }
        try required(views, "views").pointee = all.count
        guard let sizes else { return }
        guard capacity >= all.count else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "capacity: got \(capacity), the specification makes \(all.count) views")
        }
        sizes.update(from: all, count: all.count)
    }
}
