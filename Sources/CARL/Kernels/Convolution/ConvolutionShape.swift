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
    /// The batch is this many equal runs of images (views), whose BatchNorm statistics are taken apart.
    var groups = 1

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
