import CARL
import CARLHeader

// What the calls for trainers and for classifiers have in common.

/// What is trained behind a handle: its named tensors, what it was configured with, and a file it can be saved to.
protocol Trainable: AnyObject {
    var tensors: [StateTensor] { get }
    var notes: JSONValue { get }
    var configurationJSON: JSONValue { get }
    func readTensor(_ name: String, into target: FloatPointer, count: Int) throws
    func writeTensor(_ name: String, from source: UnsafePointer<Float>, count: Int) throws
    func readGradient(_ name: String, into target: FloatPointer, count: Int) throws
    func save(to path: String, notes: JSONValue?) throws
}

extension Trainer: Trainable {
    var configurationJSON: JSONValue { configuration.json }
}

extension Classifier: Trainable {
    var configurationJSON: JSONValue { configuration.json }
}

/// One of them with the names it lends to C.
final class TrainableObject<Value: Trainable> {
    let value: Value
    let tensors: TensorList

    init(_ value: Value) {
        self.value = value
        tensors = TensorList(value.tensors)
    }

    func describe(_ index: Int64, _ out: UnsafeMutablePointer<carl_tensor_info>?) throws {
        try tensors.describe(index, into: try required(out, "out"))
    }

    func read(_ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Float>?, _ count: Int) throws {
        try value.readTensor(
            try text(name, "name"), into: try required(out, "out"), count: try size(count, "count", 0...Int.max))
    }

    func write(_ name: UnsafePointer<CChar>?, _ values: UnsafePointer<Float>?, _ count: Int) throws {
        try value.writeTensor(
            try text(name, "name"), from: try required(values, "values"), count: try size(count, "count", 0...Int.max))
    }

    func readGradient(_ name: UnsafePointer<CChar>?, _ out: UnsafeMutablePointer<Float>?, _ count: Int) throws {
        try value.readGradient(
            try text(name, "name"), into: try required(out, "out"), count: try size(count, "count", 0...Int.max))
    }

    func save(_ path: UnsafePointer<CChar>?, _ notesJSON: UnsafePointer<CChar>?) throws {
        let notes = try optionalJSON(notesJSON, "notes_json")
        if let notes, notes.object == nil {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "notes_json must be a JSON object, got \(notes.kind)")
        }
        try value.save(to: try text(path, "path"), notes: notes)
    }
}
