/// Makes views: images of bytes in, normalised Float32 NHWC batches out, images shared among the threads.
public enum ViewMaker {
    /// Augmented views of all images, written to `out` (B, size, size, C).
    ///
    /// - Parameters:
    ///   - indices: the images' numbers in their data set (nil: 0, 1, ...); a view depends on (seed, epoch, number, lane) alone.
    ///   - lane: which view of the image this is.
    /// - Throws: `CARLError.invalidArgument` when images differ in channels.
    public static func make(
        _ images: [SourceImage], spec: ViewSpec, seed: UInt64, epoch: UInt64, indices: UnsafePointer<UInt64>?, lane: Int,
        into out: FloatPointer, _ compute: Compute
    ) throws {
        guard let first = images.first else { return }
        try check(images)
        let channels = first.channels
        let pixels = spec.size * spec.size * channels
        let factors = normalization(spec.mean, spec.std, channels)
        let scratch = try compute.scratch(scratchCount(images, spec.size, spec.interpolation))
        compute.parallel(images.count) { i, worker in
            let image = images[i]
            var random = RandomStream(
                seed: seed, purpose: .views, major: epoch, minor: indices.map { $0[i] } ?? UInt64(i), lane: UInt64(lane))
            let parameters = ViewParameters(spec, height: image.height, width: image.width, random: &random)
            make(image, parameters, spec, factors, out + i * pixels, scratch[worker])
        }
    }

    /// Views for evaluation: the shorter side resized to `size` (antialiased bilinear), centre crop, normalised. `out` is (B, size, size, C).
    public static func evaluation(
        _ images: [SourceImage], size: Int, mean: [Float], std: [Float], into out: FloatPointer, _ compute: Compute
    ) throws {
        guard let first = images.first else { return }
        try check(images)
        let channels = first.channels
        let factors = normalization(mean, std, channels)
        let scratch = try compute.scratch(scratchCount(images, size, .bilinear))
        compute.parallel(images.count) { i, worker in
            let image = images[i]
            let shorter = min(image.height, image.width)
            // The other side in proportion, as torchvision truncates it; the crop is taken while resizing.
            let fullHeight = max(size, size * image.height / shorter)
            let fullWidth = max(size, size * image.width / shorter)
            let memory = Scratch(scratch[worker], image, size, .bilinear)
            resize(
                image, left: 0, top: 0, width: image.width, height: image.height, size: size, fullHeight: fullHeight,
                fullWidth: fullWidth, .bilinear, flip: false, memory)
            interleave(memory.planes, size * size, channels, factors, out + i * size * size * channels)
        }
    }

    /// One view with given parameters.
    static func make(
        _ image: SourceImage, _ parameters: ViewParameters, _ spec: ViewSpec, _ factors: [(Float, Float)], _ out: FloatPointer,
        _ scratch: FloatPointer
    ) {
        let size = spec.size
        let channels = image.channels
        let count = size * size
        let values = channels * ColorOperations.padded(count)
        let memory = Scratch(scratch, image, size, spec.interpolation)
        let planes = memory.planes
        resize(
            image, left: parameters.left, top: parameters.top, width: parameters.width, height: parameters.height, size: size,
            fullHeight: size, fullWidth: size, spec.interpolation, flip: parameters.flip, memory)
        for (operation, amount) in parameters.jitter {
            switch operation {
            case .brightness: ColorOperations.brightness(planes, values, amount)
            case .contrast: ColorOperations.contrast(planes, channels: channels, count, amount)
            case .saturation: if channels == 3 { ColorOperations.saturation(planes, count, amount) }
            case .hue: if channels == 3 { ColorOperations.hue(planes, count, amount) }
            }
        }
        if parameters.gray && channels == 3 { ColorOperations.saturation(planes, count, 0) }
        if let sigma = parameters.blur {
            for c in 0..<channels {
                GaussianBlur.blur(
                    planes + c * ColorOperations.padded(count), size: size, sigma: sigma, scratch: memory.blur)
            }
        }
        if parameters.solarize { ColorOperations.solarize(planes, values) }
        interleave(planes, count, channels, factors, out)
    }

    /// Where a worker keeps what lies between: resized rows, planes (padded to whole vectors), axes, blur.
    private struct Scratch {
        let rows: FloatPointer
        let planes: FloatPointer
        let blur: FloatPointer
        let vertical: FloatPointer
        let horizontal: FloatPointer

        init(_ base: FloatPointer, _ image: SourceImage, _ size: Int, _ interpolation: ViewSpec.Interpolation) {
            planes = base
            blur = planes + image.channels * ColorOperations.padded(size * size)
            vertical = blur + GaussianBlur.scratchCount(size: size)
            horizontal = vertical + axisCount(image.height, size, interpolation)
            rows = horizontal + axisCount(image.width, size, interpolation)
        }
    }

    /// Memory for an axis of at most `inputs` inputs: a smaller crop takes less, for taps grow with the inputs.
    private static func axisCount(_ inputs: Int, _ size: Int, _ interpolation: ViewSpec.Interpolation) -> Int {
        size * (4 * ((inputs + size - 1) / size) + 9)
    }

    private static func scratchCount(_ images: [SourceImage], _ size: Int, _ interpolation: ViewSpec.Interpolation) -> Int {
        let height = images.reduce(1) { max($0, $1.height) }
        let width = images.reduce(1) { max($0, $1.width) }
        let channels = images.first?.channels ?? 1
        return channels * ColorOperations.padded(size * size) + GaussianBlur.scratchCount(size: size)
            + axisCount(height, size, interpolation) + axisCount(width, size, interpolation) + size * width * channels
    }

    private static func resize(
        _ image: SourceImage, left: Int, top: Int, width: Int, height: Int, size: Int, fullHeight: Int, fullWidth: Int,
        _ interpolation: ViewSpec.Interpolation, flip: Bool, _ memory: Scratch
    ) {
        let vertical = ResamplingAxis(
            interpolation, inputs: height, fullOutputs: fullHeight, offset: (fullHeight - size) / 2, outputs: size,
            scratch: memory.vertical)
        let horizontal = ResamplingAxis(
            interpolation, inputs: width, fullOutputs: fullWidth, offset: (fullWidth - size) / 2, outputs: size,
            scratch: memory.horizontal)
        Resampling.resize(
            image.pixels + top * image.rowStride + left * image.channels, rowStride: image.rowStride, width: width,
            channels: image.channels, vertical: vertical, horizontal: horizontal, flip: flip, rows: memory.rows,
            planes: memory.planes)
    }

    /// Factors (a, b) of v * a + b, which scales bytes to 0 ... 1 and normalises, for each channel.
    static func normalization(_ mean: [Float], _ std: [Float], _ channels: Int) -> [(Float, Float)] {
        (0..<channels).map { c in
            let m = mean[mean.count == 1 ? 0 : c]
            let s = std[std.count == 1 ? 0 : c]
            return (1 / (255 * s), -m / s)
        }
    }

    private static func interleave(
        _ planes: FloatPointer, _ count: Int, _ channels: Int, _ factors: [(Float, Float)], _ out: FloatPointer
    ) {
        let size = ColorOperations.padded(count)
        for c in 0..<channels {
            let (a, b) = factors[c]
            let plane = planes + c * size
            var target = out + c
            for i in 0..<count {
                target.pointee = plane[i] * a + b
                target += channels
            }
        }
    }

    private static func check(_ images: [SourceImage]) throws {
        for (i, image) in images.enumerated() where image.channels != images[0].channels {
            throw CARLError.invalidArgument(
                "images[\(i)]: got \(image.channels) channels, images[0] has \(images[0].channels); all must have the same")
        }
    }
}
