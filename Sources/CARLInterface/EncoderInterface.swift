import CARL
import CARLHeader

/// An evaluator behind a handle.
final class EncoderObject {
    let evaluator: Evaluator
    init(_ evaluator: Evaluator) { self.evaluator = evaluator }
}

private func withEncoder(_ handle: OpaquePointer?, _ body: (Evaluator) throws -> Void) -> carl_status {
    guarded { try Handles.use(handle, as: EncoderObject.self, "encoder") { try body($0.evaluator) } }
}

@c @implementation
public func carl_encoder_load(
    _ path: UnsafePointer<CChar>?, _ threads: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>?
)
    -> carl_status
{
    carl_encoder_load_with(path, nil, threads, out)
}

@c @implementation
public func carl_encoder_load_with(
    _ path: UnsafePointer<CChar>?, _ overrides_json: UnsafePointer<CChar>?, _ threads: Int32,
    _ out: UnsafeMutablePointer<OpaquePointer?>?
)
    -> carl_status
{
    guarded {
        let out = try required(out, "out")
        out.pointee = nil
        let threads = try size(threads, "threads", 0...1024)
        let evaluator = try Evaluator(
            path: try text(path, "path"), overrides: try optionalJSON(overrides_json, "overrides_json"),
            threads: threads)
        out.pointee = Handles.add(EncoderObject(evaluator))
    }
}

@c @implementation
public func carl_encoder_from_trainer(
    _ trainer: OpaquePointer?, _ teacher: Int32, _ out: UnsafeMutablePointer<OpaquePointer?>?
)
    -> carl_status
{
    guarded {
        let out = try required(out, "out")
        out.pointee = nil
        let teacher = try flag(teacher, "teacher")
        let evaluator = try Handles.use(trainer, as: TrainableObject<Trainer>.self, "trainer") {
            try Evaluator(copying: $0.value, teacher: teacher)
        }
        out.pointee = Handles.add(EncoderObject(evaluator))
    }
}

@c @implementation
public func carl_encoder_free(_ encoder: OpaquePointer?) -> carl_status {
    guarded(always: true) { try Handles.remove(encoder, as: EncoderObject.self, "encoder") }
}

@c @implementation
public func carl_encoder_output_width(
    _ encoder: OpaquePointer?, _ output: carl_output, _ width: UnsafeMutablePointer<Int64>?
)
    -> carl_status
{
    withEncoder(encoder) { try required(width, "width").pointee = Int64(try $0.width(try outputKind(output))) }
}

@c @implementation
public func carl_encoder_embed(
    _ encoder: OpaquePointer?, _ images: UnsafePointer<carl_batch>?, _ output: carl_output,
    _ out: UnsafeMutablePointer<Float>?,
    _ out_count: Int
) -> carl_status {
    withEncoder(encoder) { try embed($0, images, output, out, out_count) }
}

@c @implementation
public func carl_encoder_embed_images(
    _ encoder: OpaquePointer?, _ images: UnsafePointer<carl_image>?, _ count: Int, _ size: Int32, _ output: carl_output,
    _ out: UnsafeMutablePointer<Float>?, _ out_count: Int
) -> carl_status {
    withEncoder(encoder) { try embed($0, images, count, size, output, out, out_count) }
}
