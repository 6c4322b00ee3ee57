import CARL
import CARLHeader

/// The tensors of a state, with names as C strings that live as long as this object.
final class TensorList {
    private let tensors: [StateTensor]
    private let names: [UnsafeMutablePointer<CChar>]

    init(_ tensors: [StateTensor]) {
        self.tensors = tensors
        names = tensors.map { tensor in
            let bytes = Array(tensor.name.utf8CString)
            let memory = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
            memory.update(from: bytes, count: bytes.count)
            return memory
        }
    }

    deinit { names.forEach { $0.deallocate() } }

    var count: Int { tensors.count }

    func describe(_ index: Int64, into out: UnsafeMutablePointer<carl_tensor_info>) throws {
        guard index >= 0, index < count else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "index: got \(index), the state has \(count) tensors")
        }
        let tensor = tensors[Int(index)]
        var info = carl_tensor_info()
        info.name = UnsafePointer(names[Int(index)])
        let shape = (tensor.shape + [1, 1, 1, 1]).map { Int64($0) }
        info.shape = (shape[0], shape[1], shape[2], shape[3])
        info.dimensions = Int32(tensor.shape.count)
        info.trained = tensor.trained ? 1 : 0
        info.count = Int64(tensor.count)
        out.pointee = info
    }
}
