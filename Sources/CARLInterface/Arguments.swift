import CARL
import CARLHeader

// Turns C's structs into the library's types, with every check that keeps what follows from trapping.

func outputKind(_ output: carl_output) throws -> ModelOutput {
    guard let kind = ModelOutput(rawValue: output) else {
        throw InterfaceError(
            CARL_INVALID_ARGUMENT,
            "output: got \(output), want CARL_FEATURES (0), CARL_PROJECTION, CARL_PROBABILITIES or CARL_LOGITS (3)")
    }
    return kind
}

func floatImages(_ batch: carl_batch, _ name: String) throws -> FloatImages {
    FloatImages(
        try required(batch.values, name), batch: Int(batch.batch), height: Int(batch.height), width: Int(batch.width),
        channels: Int(batch.channels))
}

/// Checks `count` descriptions of images in the caller's memory; `sourceImage` then takes each as it is.
func checkImages(_ images: UnsafePointer<carl_image>?, _ count: Int) throws {
    let count = try size(count, "count", 0...(1 << 31))
    if count == 0 { return }
    let images = try required(images, "images")
    for i in 0..<count {
        if i & 0xf_ffff == 0 { try Cancellation.check() }
        let image = images[i]
        _ = try size(image.height, "images[\(i)].height", 1...SourceImage.longestSide)
        let width = try size(image.width, "images[\(i)].width", 1...SourceImage.longestSide)
        let channels = try size(image.channels, "images[\(i)].channels", 1...SourceImage.mostChannels)
        guard channels == Int(images[0].channels) else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT,
                "images[\(i)].channels: got \(channels), images[0] has \(images[0].channels); all must have the same")
        }
        guard image.reserved == 0 else {
            throw InterfaceError(CARL_INVALID_ARGUMENT, "images[\(i)].reserved: got \(image.reserved), want 0")
        }
        let stride = Int(image.row_stride)
        guard stride.magnitude >= UInt(width * channels), stride.magnitude <= SourceImage.longestStride else {
            throw InterfaceError(
                CARL_INVALID_ARGUMENT,
                """
                images[\(i)].row_stride: got \(stride), want width * channels = \(width * channels) to 2^40 bytes \
                (or its negative)
                """
            )
        }
        _ = try required(image.pixels, "images[\(i)].pixels")
    }
}

/// Image `number` of those that `checkImages` has accepted.
func sourceImage(_ images: UnsafePointer<carl_image>?, _ number: Int) throws -> SourceImage {
    let image = try required(images, "images")[number]
    return SourceImage(
        pixels: try required(image.pixels, "images[\(number)].pixels"), height: Int(image.height),
        width: Int(image.width),
        channels: Int(image.channels), rowStride: Int(image.row_stride))
}

/// Checks that the caller's memory for `count` rows of `width` values has exactly that size.
private func checkOutput(_ outCount: Int, _ count: Int, _ width: Int) throws {
    let (wanted, overflow) = count.multipliedReportingOverflow(by: width)
    guard !overflow, outCount == wanted else {
        throw InterfaceError(
            CARL_INVALID_ARGUMENT, "out_count: got \(shown(outCount)), want images * width = \(count) * \(width) floats"
        )
    }
}

func embed(
    _ model: some ImageEmbedding, _ images: UnsafePointer<carl_batch>?, _ output: carl_output,
    _ out: UnsafeMutablePointer<Float>?,
    _ outCount: Int
) throws {
    let batch = try floatImages(try required(images, "images").pointee, "images.values")
    let kind = try outputKind(output)
    guard batch.batch >= 1 else {
        throw InterfaceError(CARL_INVALID_ARGUMENT, "images.batch: got \(batch.batch), want at least 1")
    }
    try checkOutput(outCount, batch.batch, model.width(kind))
    try model.embed(batch, kind, into: try required(out, "out"))
}

func embed(
    _ model: some ImageEmbedding, _ images: UnsafePointer<carl_image>?, _ count: Int, _ imageSize: Int32,
    _ output: carl_output,
    _ out: UnsafeMutablePointer<Float>?, _ outCount: Int
) throws {
    try checkImages(images, count)
    let kind = try outputKind(output)
    let imageSize = try size(imageSize, "size", 0...4096)
    guard count > 0 else { throw InterfaceError(CARL_INVALID_ARGUMENT, "count: got 0, want at least 1") }
    try checkOutput(outCount, count, model.width(kind))
    try model.embed(count, size: imageSize, kind, into: try required(out, "out")) { try sourceImage(images, $0) }
}

/// Copies a string with its final 0, as carl_trainer_config describes.
func copy(_ text: String, _ buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int, _ needed: UnsafeMutablePointer<Int>?)
    throws
{
    let bytes = Array(text.utf8CString)
    needed?.pointee = bytes.count
    if capacity == 0 && buffer == nil && needed != nil { return }
    guard shown(capacity) >= bytes.count else {
        throw InterfaceError(
            CARL_INVALID_ARGUMENT, "capacity: got \(shown(capacity)), want at least \(bytes.count) bytes")
    }
    try required(buffer, "buffer").update(from: bytes, count: bytes.count)
}
