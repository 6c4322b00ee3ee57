/// The shape of one 2-D convolution over a batch: x (B, H, W, IC) -> y (B, OH, OW, OC), square kernel, zero padding.
///
/// Weights are a row-major matrix (kernel * kernel * IC, OC), the kernel's row slowest: element
/// ((ky * kernel + kx) * IC + ic, oc) is torch's weight[oc, ic, ky, kx].
struct ConvolutionShape: Hashable {
    let batch: Int
    let height: Int
    let width: Int
    let inChannels: Int
    let outChannels: Int
    let kernel: Int
    let stride: Int
    let padding: Int

    var outHeight: Int { (height + 2 * padding - kernel) / stride + 1 }
    var outWidth: Int { (width + 2 * padding - kernel) / stride + 1 }
    var inRows: Int { batch * height * width }
    var outRows: Int { batch * outHeight * outWidth }
    /// Values a kernel window covers: kernel * kernel * IC.
    var patch: Int { kernel * kernel * inChannels }
    var weightCount: Int { patch * outChannels }
    /// Multiplications and additions of the direct method.
    var operations: Double { 2 * Double(outRows) * Double(patch) * Double(outChannels) }
}

/// Called by a convolution for each contiguous range of rows of its result as soon as these rows are final and still in
/// cache. `part` numbers the ranges from 0; the ranges are disjoint, cover all rows, and depend on the shape alone, so
/// that sums kept per part and added in order do not depend on threads. Calls for different parts run in parallel.
typealias RowsDone = (_ part: Int, _ rows: Range<Int>) -> Void
