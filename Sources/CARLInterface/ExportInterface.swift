import CARL
import CARLHeader

private func exportedPart(_ part: carl_part) throws -> ExportedPart {
    guard let part = ExportedPart(rawValue: part) else {
        throw InterfaceError(
            CARL_INVALID_ARGUMENT, "part: got \(part), want CARL_PART_ENCODER (0) or CARL_PART_MODEL (1)")
    }
    return part
}

@c @implementation
public func carl_trainer_export(
    _ trainer: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ part: carl_part, _ teacher: Int32
) -> carl_status {
    guarded {
        try Handles.use(trainer, as: TrainableObject<Trainer>.self, "trainer") {
            let (path, part) = (try text(path, "path"), try exportedPart(part))
            try $0.value.export(part, teacher: try size(teacher, "teacher", 0...1) == 1, to: path)
        }
    }
}

@c @implementation
public func carl_encoder_export(_ encoder: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ part: carl_part)
    -> carl_status
{
    guarded {
        try Handles.use(encoder, as: EncoderObject.self, "encoder") {
            let (path, part) = (try text(path, "path"), try exportedPart(part))
            try $0.evaluator.export(part, to: path)
        }
    }
}

@c @implementation
public func carl_classifier_export(_ classifier: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ part: carl_part)
    -> carl_status
{
    guarded {
        try Handles.use(classifier, as: TrainableObject<Classifier>.self, "classifier") {
            let (path, part) = (try text(path, "path"), try exportedPart(part))
            try $0.value.export(part, to: path)
        }
    }
}
