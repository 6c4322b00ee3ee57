import CARL
import CARLHeader

private func specifications(_ json: UnsafePointer<CChar>?, channels: Int) throws -> [ViewSpec] {
    try ViewSpec.list(JSONValue.parse(try text(json, "spec_json")), channels: channels)
}

@c @implementation
public func carl_make_views(
    _ images: UnsafePointer<carl_image>?, _ count: Int, _ spec_json: UnsafePointer<CChar>?, _ seed: UInt64,
    _ epoch: UInt64,
    _ indices: UnsafePointer<UInt64>?, _ threads: Int32, _ out: UnsafePointer<UnsafeMutablePointer<Float>?>?,
    _ out_counts: UnsafePointer<Int>?, _ out_views: Int
) -> carl_status {
    guarded {
        try checkImages(images, count)
        guard count > 0, let channels = images.map({ Int($0[0].channels) }) else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "count: got 0 images, want at least 1")
        }
        let views = ViewSpec.views(try specifications(spec_json, channels: channels))
        guard views.count <= 256 else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT, "spec_json: makes \(views.count) views, at most 256 are possible")
        }
        guard out_views == views.count else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT, "out_views: got \(shown(out_views)), the specification makes \(views.count)")
        }
        let out = try required(out, "out")
        let outCounts = try required(out_counts, "out_counts")
        var targets: [FloatPointer] = []
        for (i, spec) in views.enumerated() {
            let shape = "\(count) * \(spec.size) * \(spec.size) * \(channels)"
            let (wanted, overflow) = count.multipliedReportingOverflow(by: spec.size * spec.size * channels)
            guard !overflow, outCounts[i] == wanted else {
                throw InterfaceError(
                    CARL_INVALID_ARGUMENT,
                    "out_counts[\(i)]: got \(shown(outCounts[i])), want \(shape)\(overflow ? "" : " = \(wanted)")")
            }
            targets.append(try required(out[i], "out[\(i)]"))
        }
        // Each thread has memory of its own, so no more of them than there is work for.
        let asked = try size(threads, "threads", 0...1024)
        let compute = try Compute(threads: min(asked == 0 ? ThreadCount.available : asked, count * views.count))
        try compute.call {
            try SourceImage.collect(count) {
                try sourceImage(images, $0)
            } _: {
                try ViewMaker.make($0, views: views, seed: seed, epoch: epoch, indices: indices, into: targets, compute)
            }
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
        let all = ViewSpec.views(specs).map { Int32($0.size) }
        try required(views, "views").pointee = all.count
        guard let sizes else { return }
        guard shown(capacity) >= all.count else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT, "capacity: got \(shown(capacity)), the specification makes \(all.count) views")
        }
        sizes.update(from: all, count: all.count)
    }
}
