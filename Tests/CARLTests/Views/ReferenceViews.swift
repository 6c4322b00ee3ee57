import Foundation

@testable import CARL

/// Views as their definitions read, in Float64, with every loop written out: what the kernels are tested against.
enum ReferenceViews {
    /// Height, width, channels and values in 0 ... 255.
    struct Image {
        var height: Int
        var width: Int
        var channels: Int
        var values: [Double]

        subscript(y: Int, x: Int, c: Int) -> Double {
            get { values[(y * width + x) * channels + c] }
            set { values[(y * width + x) * channels + c] = newValue }
        }

        init(_ height: Int, _ width: Int, _ channels: Int, _ value: (Int, Int, Int) -> Double = { _, _, _ in 0 }) {
            (self.height, self.width, self.channels) = (height, width, channels)
            values = []
            for y in 0..<height { for x in 0..<width { for c in 0..<channels { values.append(value(y, x, c)) } } }
        }

        func map(_ change: (Double) -> Double) -> Image { Image(height, width, channels) { change(self[$0, $1, $2]) } }
    }

    /// The view of `image` with given parameters, before it is normalised.
    static func view(
        _ image: Image, _ p: ViewParameters, size: Int, bicubic: Bool, blurRadius: Int
    ) -> Image {
        let crop = Image(p.height, p.width, image.channels) { image[p.top + $0, p.left + $1, $2] }
        var view = resize(crop, height: size, width: size, bicubic: bicubic)
        if p.flip { view = Image(size, size, view.channels) { [view] y, x, c in view[y, size - 1 - x, c] } }
        for (operation, amount) in p.jitter { view = jitter(view, operation, Double(amount)) }
        if p.gray && view.channels == 3 { view = Image(size, size, 3) { [view] y, x, _ in luma(view, y, x) } }
        if let sigma = p.blur { view = blur(view, Double(sigma), radius: min(blurRadius, size - 1)) }
        if p.solarize { view = view.map { $0 >= 128 ? 255 - $0 : $0 } }
        return view
    }

    /// Pillow's resize: a filter stretched by the factor of reduction, its weights made to sum to 1 over the inputs there are.
    static func resize(_ image: Image, height: Int, width: Int, bicubic: Bool) -> Image {
        let rows = weights(image.height, height, bicubic)
        let columns = weights(image.width, width, bicubic)
        return Image(height, width, image.channels) { y, x, c in
            var sum = 0.0
            for (v, row) in rows[y].enumerated() where row != 0 {
                for (u, column) in columns[x].enumerated() where column != 0 { sum += row * column * image[v, u, c] }
            }
            return min(max(sum, 0), 255)
        }
    }

    /// One weight an input for each output.
    private static func weights(_ inputs: Int, _ outputs: Int, _ bicubic: Bool) -> [[Double]] {
        let scale = Double(inputs) / Double(outputs)
        let stretch = max(scale, 1)
        let support = (bicubic ? 2 : 1) * stretch
        return (0..<outputs).map { output in
            let center = (Double(output) + 0.5) * scale
            let range = max(0, Int(center - support + 0.5))..<min(inputs, Int(center + support + 0.5))
            var row = (0..<inputs).map { input -> Double in
                guard range.contains(input) else { return 0 }
                let x = abs((Double(input) + 0.5 - center) / stretch)
                if !bicubic { return max(0, 1 - x) }
                return x < 1 ? 1.5 * x * x * x - 2.5 * x * x + 1 : x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0
            }
            let sum = row.reduce(0, +)
            row = row.map { $0 / sum }
            return row
        }
    }

    private static func luma(_ image: Image, _ y: Int, _ x: Int) -> Double {
        0.299 * image[y, x, 0] + 0.587 * image[y, x, 1] + 0.114 * image[y, x, 2]
    }

    private static func jitter(_ image: Image, _ operation: ColorOperations.Operation, _ amount: Double) -> Image {
        let (height, width, channels) = (image.height, image.width, image.channels)
        func clamped(_ v: Double) -> Double { min(max(v, 0), 255) }
        switch operation {
        case .brightness: return image.map { clamped($0 * amount) }
        case .contrast:
            let count = Double(height * width)
            let means = (0..<channels).map { c -> Double in
                var sum = 0.0
                for y in 0..<height { for x in 0..<width { sum += channels == 3 ? luma(image, y, x) : image[y, x, c] } }
                return sum / count
            }
            return Image(height, width, channels) { clamped(amount * image[$0, $1, $2] + (1 - amount) * means[$2]) }
        case .saturation:
            guard channels == 3 else { return image }
            return Image(height, width, 3) { clamped(amount * image[$0, $1, $2] + (1 - amount) * luma(image, $0, $1)) }
        case .hue:
            guard channels == 3 else { return image }
            var result = image
            for y in 0..<height {
                for x in 0..<width {
                    let turned = turnHue(image[y, x, 0], image[y, x, 1], image[y, x, 2], amount)
                    (result[y, x, 0], result[y, x, 1], result[y, x, 2]) = turned
                }
            }
            return result
        }
    }

    /// To HSV and back, sextant by sextant.
    private static func turnHue(_ r: Double, _ g: Double, _ b: Double, _ shift: Double) -> (Double, Double, Double) {
        let (top, low) = (max(r, g, b), min(r, g, b))
        if top == low { return (r, g, b) }
        let delta = top - low
        var h = top == r ? (g - b) / delta : top == g ? 2 + (b - r) / delta : 4 + (r - g) / delta
        h = (h / 6 + shift).truncatingRemainder(dividingBy: 1)
        if h < 0 { h += 1 }
        let (sextant, f) = (Int(h * 6) % 6, h * 6 - floor(h * 6))
        let (p, q, t) = (low, top - delta * f, top - delta * (1 - f))
        return [(top, t, p), (q, top, p), (p, top, t), (p, q, top), (t, p, top), (top, p, q)][sextant]
    }

    /// The whole two-dimensional kernel, edges reflected without repeating the outermost pixel.
    private static func blur(_ image: Image, _ sigma: Double, radius: Int) -> Image {
        func reflect(_ i: Int, _ n: Int) -> Int { i < 0 ? -i : i >= n ? 2 * n - 2 - i : i }
        let kernel = (-radius...radius).map { exp(-0.5 * Double($0 * $0) / (sigma * sigma)) }
        let sum = kernel.reduce(0, +)
        return Image(image.height, image.width, image.channels) { y, x, c in
            var value = 0.0
            for v in -radius...radius {
                for u in -radius...radius {
                    value += kernel[v + radius] * kernel[u + radius] * image[reflect(y + v, image.height), reflect(x + u, image.width), c]
                }
            }
            return value / (sum * sum)
        }
    }
}

extension ViewParameters {
    /// Whether values of 128 and above are inverted.
    var solarize: Bool {
        get { pixelOperations.contains { $0 is Solarize } }
        set { pixelOperations = newValue ? [Solarize()] : [] }
    }
}
