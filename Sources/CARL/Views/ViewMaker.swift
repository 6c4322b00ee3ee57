/// Makes views: images of bytes in, normalised Float32 NHWC batches out, pairs of image and view shared among the
/// threads.
public enum ViewMaker {
    /// Augmented views of all images: view v of all images is written to `out[v]`, (B, size, size, C).
    ///
    /// - Parameters:
    ///   - views: one specification a view (`ViewSpec.views` repeats each by its count).
    ///   - epoch: below 2^24.
    ///   - indices: the images' numbers in their data set, below 2^40 (nil: `firstIndex` and those that follow); a view
    ///     depends on (seed, epoch, number, place in `views`) alone.
    ///   - out: as many pointers as views.
    ///   - crops: gets where each view was cut out, (V, B).
    /// - Throws: `CARLError.invalidArgument` for images that cannot be, or that differ in channels, and for numbers out
    ///   of range; `CARLError.configuration` for a specification with a value out of range.
    public static func make(
        _ images: UnsafeBufferPointer<SourceImage>, views: [ViewSpec], seed: UInt64, epoch: UInt64,
        indices: UnsafePointer<UInt64>?,
        firstIndex: UInt64 = 0, into out: [FloatPointer], crops: UnsafeMutablePointer<CropBox>? = nil,
        _ compute: Compute
    ) throws {
        guard let first = images.first, !views.isEmpty else { return }
        try check(images)
        try checkPlaces(epoch, indices, images.count)
        guard out.count == views.count else {
            throw CARLError.invalidArgument("out: got \(out.count) pointers, want one for each of \(views.count) views")
        }
        let channels = first.channels
        // A specification made in Swift may leave the normalisation to the channels. Repeated ones are alike.
        var recipes: [Recipe] = []
        for (place, view) in views.enumerated() {
            if place > 0, view == views[place - 1] {
                recipes.append(recipes[place - 1])
            } else {
                recipes.append(
                    Recipe(try view.resolved(channels: channels, path: "views[\(place)]."), channels: channels))
            }
        }
        let scratch = try compute.scratch(
            views.reduce(0) { max($0, scratchCount(images, $1.size, blurRadius: $1.blurRadius)) })
        // Views of an image one after the other, while it is in the cache.
        compute.parallel(try CheckedSize.product(images.count, views.count, of: "views")) { item, worker in
            let (i, lane) = item.quotientAndRemainder(dividingBy: views.count)
            let (image, recipe) = (images[i], recipes[lane])
            let streams = ViewStreams(
                seed: seed, epoch: epoch, image: indices.map { $0[i] } ?? firstIndex &+ UInt64(i), view: lane)
            let parameters = ViewParameters(recipe.ranges, height: image.height, width: image.width, streams)
            crops?[lane * images.count + i] = parameters.box(imageHeight: image.height, imageWidth: image.width)
            make(image, parameters, recipe, out[lane] + i * (recipe.size * recipe.size * channels), scratch[worker])
        }
    }

    /// A specification and what is made of it once for all images. A class: views are made by many threads, which would
    /// otherwise each copy the specification for every view.
    final class Recipe: Sendable {
        let ranges: ViewRanges
        let size: Int
        let blurRadius: Int
        let interpolation: ViewSpec.Interpolation
        let output: NormalizedRows

        init(_ spec: ViewSpec, channels: Int) {
            ranges = ViewRanges(spec)
            (size, blurRadius, interpolation) = (spec.size, spec.blurRadius, spec.interpolation)
            output = NormalizedRows(mean: spec.mean, std: spec.std, channels: channels)
        }
    }

    /// The same on an array.
    public static func make(
        _ images: [SourceImage], views: [ViewSpec], seed: UInt64, epoch: UInt64, indices: UnsafePointer<UInt64>?,
        into out: [FloatPointer],
        _ compute: Compute
    ) throws {
        try images.withUnsafeBufferPointer {
            try make($0, views: views, seed: seed, epoch: epoch, indices: indices, into: out, compute)
        }
    }

    /// Views for evaluation: the shorter side resized to `size / crop` pixels, rounded down (antialiased), centre crop,
    /// normalised. `out` is (B, size, size, C).
    ///
    /// - Parameters:
    ///   - size: 1 ... 4096. crop: 0.05 ... 1, as "evaluation_crop".
    ///   - mean, std: one number, or one a channel.
    /// - Throws: `CARLError.invalidArgument` for these out of range, and for images that cannot be or differ in
    ///   channels.
    public static func evaluation(
        _ images: UnsafeBufferPointer<SourceImage>, size: Int, crop: Double = 1,
        interpolation: ViewSpec.Interpolation = .bilinear, mean: [Float], std: [Float], into out: FloatPointer,
        _ compute: Compute
    ) throws {
        guard let first = images.first else { return }
        try check(images)
        let channels = first.channels
        guard (1...ViewSpec.largestSize).contains(size) else {
            throw CARLError.invalidArgument("size: got \(size), want 1 to \(ViewSpec.largestSize)")
        }
        guard (0.05...1).contains(crop) else {
            throw CARLError.invalidArgument("crop: got \(crop), want 0.05 to 1")
        }
        for (name, values, good) in [
            ("mean", mean, mean.allSatisfy(\.isFinite)), ("std", std, std.allSatisfy { $0 > 0 }),
        ]
        where !good || (values.count != 1 && values.count != channels) {
            throw CARLError.invalidArgument(
                "\(name): got \(values), want one number or one for each of \(channels) channels, of std above 0")
        }
        let output = NormalizedRows(mean: mean, std: std, channels: channels)
        let scratch = try compute.scratch(scratchCount(images, size, blurRadius: 0))
        let resized = max(size, Int(Double(size) / crop))
        compute.parallel(images.count) { i, worker in
            let image = images[i]
            let shorter = min(image.height, image.width)
            let planes = Planes(scratch[worker], size: size, channels: channels)
            // The other side in proportion, as torchvision truncates it; the crop is taken while resizing.
            let resampling = Resampling(
                image, (0, 0, image.width, image.height), size: size,
                fullHeight: max(resized, resized * image.height / shorter),
                fullWidth: max(resized, resized * image.width / shorter), interpolation, mirrored: false,
                scratch: planes.base + Planes.count(size: size, channels: channels))
            let target = out + i * size * size * channels
            for y in stride(from: 0, to: size, by: Planes.rowGroup) {
                if Cancellation.isRequested { return }
                resampling.makeRows(y, planes)
                output.write(
                    planes.group(y), pitch: planes.pitch, planeStride: planes.planeStride,
                    rows: min(Planes.rowGroup, size - y),
                    width: size, target + y * size * channels)
            }
        }
    }

    /// The same on an array.
    public static func evaluation(
        _ images: [SourceImage], size: Int, crop: Double = 1, interpolation: ViewSpec.Interpolation = .bilinear,
        mean: [Float], std: [Float], into out: FloatPointer, _ compute: Compute
    ) throws {
        try images.withUnsafeBufferPointer {
            try evaluation(
                $0, size: size, crop: crop, interpolation: interpolation, mean: mean, std: std, into: out, compute)
        }
    }

    /// One view with given parameters.
    ///
    /// A group of rows is resized and goes through all operations while it is in the first-level cache. Contrast needs
    /// the mean of what comes before it, and blur needs rows above and below, so each of them ends one pass over the
    /// view and begins another.
    static func make(
        _ image: SourceImage, _ parameters: ViewParameters, _ recipe: Recipe, _ out: FloatPointer,
        _ scratch: FloatPointer
    ) {
        let size = recipe.size
        let channels = image.channels
        let planes = Planes(scratch, size: size, channels: channels)
        let memory = Memory(planes, size: size, blurRadius: recipe.blurRadius)
        let resampling = Resampling(
            image, (parameters.left, parameters.top, parameters.width, parameters.height), size: size, fullHeight: size,
            fullWidth: size,
            recipe.interpolation, mirrored: parameters.flip, scratch: memory.resampling)
        let contrast = parameters.jitter.firstIndex { $0.operation == .contrast } ?? parameters.jitter.endIndex
        let (before, after) = (parameters.jitter[..<contrast], parameters.jitter[contrast...])
        let gray = parameters.gray && channels == 3
        // Where all channels are the same one plane stands for them.
        let (distinct, planeStride) = gray ? (1, 0) : (channels, planes.planeStride)
        let blur = parameters.blur.map {
            GaussianBlur(sigma: $0, size: size, radius: recipe.blurRadius, scratch: memory.blur)
        }
        let blurs = (blur?.radius ?? 0) > 0

        func complete(_ y: Int) {
            let rows = planes.group(y)
            ColorOperations.apply(after, rows, planes, means: memory.means)
            if gray { ColorOperations.gray(rows, planes) }
            if !blurs { finish(y, rows, planeStride) }
        }
        func finish(_ y: Int, _ rows: FloatPointer, _ planeStride: Int) {
            for operation in parameters.pixelOperations {
                for c in 0..<distinct { operation.apply(rows + c * planeStride, planes.groupCount) }
            }
            recipe.output.write(
                rows, pitch: planes.pitch, planeStride: planeStride, rows: min(Planes.rowGroup, size - y), width: size,
                out + y * size * channels)
        }

        if !after.isEmpty { for c in 0..<channels { memory.sums[c] = 0 } }
        for y in stride(from: 0, to: size, by: Planes.rowGroup) {
            if Cancellation.isRequested { return }
            resampling.makeRows(y, planes)
            ColorOperations.apply(before, planes.group(y), planes, means: memory.means)
            if after.isEmpty { complete(y) } else { ColorOperations.addSums(planes.group(y), planes, memory.sums) }
        }
        if !after.isEmpty {
            ColorOperations.means(memory.sums, planes, memory.means)
            for y in stride(from: 0, to: size, by: Planes.rowGroup) where !Cancellation.isRequested { complete(y) }
        }
        if let blur, blurs {
            for y in stride(from: 0, to: size, by: Planes.rowGroup) {
                if Cancellation.isRequested { return }
                for c in 0..<distinct {
                    for row in 0..<min(Planes.rowGroup, size - y) {
                        blur.makeRow(
                            y + row, planes.base + c * planeStride, planes,
                            memory.blurred + (c * planes.groupCount + row * planes.pitch))
                    }
                }
                finish(y, memory.blurred, gray ? 0 : planes.groupCount)
            }
        }
    }

    /// Where a worker keeps what lies between, behind the planes.
    private struct Memory {
        /// Sums and means of each channel, for contrast.
        let sums: UnsafeMutablePointer<Double>
        let means: FloatPointer
        let blur: FloatPointer
        /// A blurred group of rows of each plane.
        let blurred: FloatPointer
        let resampling: FloatPointer

        init(_ planes: Planes, size: Int, blurRadius: Int) {
            let channels = planes.channels
            // Planes are whole vectors, so what follows is aligned for Double.
            let behind = planes.base + Planes.count(size: size, channels: channels)
            sums = UnsafeMutableRawPointer(behind).bindMemory(to: Double.self, capacity: channels)
            means = behind + 2 * channels
            blurred = means + channels
            blur = blurred + channels * planes.groupCount
            resampling = blur + GaussianBlur.scratchCount(size: size, radius: blurRadius)
        }
    }

    private static func scratchCount(_ images: UnsafeBufferPointer<SourceImage>, _ size: Int, blurRadius: Int) -> Int {
        let height = images.reduce(1) { max($0, $1.height) }
        let width = images.reduce(1) { max($0, $1.width) }
        let channels = images.first?.channels ?? 1
        return Planes.count(size: size, channels: channels) + 3 * channels + channels * Planes.rowGroup
            * Planes.padded(size)
            + GaussianBlur.scratchCount(size: size, radius: blurRadius)
            + Resampling.scratchCount(height: height, width: width, channels: channels, size: size)
    }

    /// Others would be drawn as those of a smaller epoch or number: see `RandomStream`.
    private static func checkPlaces(_ epoch: UInt64, _ indices: UnsafePointer<UInt64>?, _ count: Int) throws {
        guard epoch < 1 << 24 else {
            throw CARLError.invalidArgument("epoch: got \(epoch), want 0 to \((1 << 24) - 1)")
        }
        guard let indices else { return }
        for i in 0..<count where indices[i] >= 1 << 40 {
            throw CARLError.invalidArgument("indices[\(i)]: got \(indices[i]), want 0 to \((1 << 40) - 1)")
        }
    }

    private static func check(_ images: UnsafeBufferPointer<SourceImage>) throws {
        for (i, image) in images.enumerated() {
            try image.check(i)
            if image.channels == images[0].channels { continue }
            throw CARLError.invalidArgument(
                """
                images[\(i)]: got \(image.channels) channels, images[0] has \(images[0].channels); all must have the \
                same
                """
            )
        }
    }
}
