/// What a model gives for an image is a number or an error: weights that are finite, each by itself, can still lead to infinities.
enum FiniteOutput {
    /// - Parameter first: number of the first row's image.
    /// - Throws: `CARLError.notFinite` that names the first image whose values (rows, width) are not all finite.
    static func check(_ values: UnsafePointer<Float>, rows: Int, width: Int, first: Int) throws {
        for row in 0..<rows {
            guard FiniteValues.all(values + row * width, width) else {
                throw CARLError.notFinite(
                    "the model's output for image \(first + row) is not finite: its weights or running statistics are too large, as after a run that diverged")
            }
        }
    }
}
