/// An operation on the values of a view, each by itself, after colour and blur.
///
/// A new one is a file beside this with its draw and its arithmetic, a key in `ViewSpec`, and in ViewParameters.swift a
/// stream and its place in the order.
protocol PixelOperation: Sendable {
    /// Changes `count` values, 0 ... 255, of one channel.
    func apply(_ values: FloatPointer, _ count: Int)
}

/// Inverts values of 128 and above (torchvision's RandomSolarize).
struct Solarize: PixelOperation {
    init() {}

    /// Draws whether a view is solarized.
    init?(probability: Float, _ random: inout RandomStream) {
        guard random.uniform() < probability else { return nil }
    }

    func apply(_ values: FloatPointer, _ count: Int) {
        for i in 0..<count {
            let v = values[i]
            values[i] = v >= 128 ? 255 - v : v
        }
    }
}
