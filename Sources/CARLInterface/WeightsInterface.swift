import CARL
import CARLHeader

@c @implementation
public func carl_weights_describe(
    _ path: UnsafePointer<CChar>?, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int,
    _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    guarded {
        let weights = try PretrainedWeights(path: try text(path, "path"))
        try copy(weights.description.serialized(), buffer, capacity, needed)
    }
}

@c @implementation
public func carl_encoder_from_weights(
    _ path: UnsafePointer<CChar>?, _ overrides_json: UnsafePointer<CChar>?, _ threads: Int32,
    _ out: UnsafeMutablePointer<OpaquePointer?>?
) -> carl_status {
    guarded {
        let out = try required(out, "out")
        out.pointee = nil
        let threads = try size(threads, "threads", 0...1024)
        let evaluator = try Evaluator(
            weights: try text(path, "path"), overrides: try optionalJSON(overrides_json, "overrides_json"),
            threads: threads)
        out.pointee = Handles.add(EncoderObject(evaluator))
    }
}

@c @implementation
public func carl_trainer_load_weights(_ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> carl_status {
    guarded {
        try Handles.use(trainer, as: TrainableObject<Trainer>.self, "trainer") {
            try $0.value.loadWeights(from: try text(path, "path"))
        }
    }
}
