/// A batch of feature maps: NHWC, contiguous, float32 but where `storage` says otherwise. Vectors are maps of height
/// and width 1.
///
/// Shape legend used throughout: B images, H x W pixels, C channels; rows = B * H * W, so that the memory is also a
/// row-major matrix (rows, C), which is what a 1x1 convolution, a linear layer and BatchNorm see.
struct Activation {
    let buffer: FloatBuffer
    let batch: Int
    let height: Int
    let width: Int
    let channels: Int
    /// The batch is this many equal runs of images (views), whose BatchNorm statistics are taken apart.
    var groups = 1
    var storage = Storage.float32

    /// Of float32 values only.
    var base: FloatPointer { stored.float32 }
    var stored: StoredValues { StoredValues(UnsafeMutableRawPointer(buffer.base), storage) }
    var rows: Int { batch * height * width }
    var count: Int { rows * channels }
}

extension Workspace {
    /// An activation with undefined content.
    ///
    /// - Throws: `CARLError.outOfMemory` when there is no memory of this size, or no number for it; see also `take`.
    func takeActivation(
        _ batch: Int, _ height: Int, _ width: Int, _ channels: Int, groups: Int = 1, storage: Storage = .float32
    ) throws -> Activation {
        let count = try CheckedSize.product(
            batch, height, width, channels, of: "an activation (batch, height, width, channels)")
        return Activation(
            buffer: try take(storage == .bfloat16 ? (count + 1) / 2 : count),
            batch: batch, height: height, width: width, channels: channels, groups: groups, storage: storage)
    }

    /// Of the same shape.
    func takeActivation(like other: Activation, storage: Storage = .float32) throws -> Activation {
        try takeActivation(
            other.batch, other.height, other.width, other.channels, groups: other.groups, storage: storage)
    }

    func give(_ activation: Activation) { give(activation.buffer) }
}
