// Trains CARL on images drawn here, embeds them, and shows that images of one kind end up close together.
import CARL

let side = 16
let kinds = 4
let count = 64

// Images of four kinds: stripes across, stripes down, a disc, noise; each at a place and brightness of its own.
var random = RandomStream(seed: 1, purpose: .order)
var pixels = [UInt8](repeating: 0, count: count * side * side)
for image in 0..<count {
    let phase = random.below(4)
    let bright = Float(random.uniform(150, 255))
    for y in 0..<side {
        for x in 0..<side {
            let on: Bool
            switch image % kinds {
            case 0: on = (y + phase) % 4 < 2
            case 1: on = (x + phase) % 4 < 2
            case 2: on = (x - 6 - phase) * (x - 6 - phase) + (y - 8) * (y - 8) < 20
            default: on = random.uniform() < 0.5
            }
            pixels[(image * side + y) * side + x] = UInt8(on ? bright : 20)
        }
    }
}

var views = ViewSpec()
(views.size, views.scale, views.count) = (side, [0.5, 1], 2)
var configuration = Configuration()
(configuration.width, configuration.inChannels, configuration.projector) = (0.25, 1, [64, 32])
(configuration.prototypes, configuration.learningRate) = (16, 0.03)
configuration.views = .specifications([views])
let trainer = try Trainer(configuration)
try pixels.withUnsafeBufferPointer { buffer in
    let images = (0..<count).map {
        SourceImage(
            pixels: buffer.baseAddress! + $0 * side * side, height: side, width: side, channels: 1, rowStride: side)
    }
    for step in 1...20 {
        let metrics = try trainer.step(images)
        if step % 5 == 0 {
            print("step \(step): loss \(metrics.loss), effective prototypes \(metrics["effective_prototypes"] ?? 0)")
        }
    }

    let evaluator = trainer.evaluator
    let width = try evaluator.width(.features)
    let features = try evaluator.embed(images)  // row by row

    var neighbours = [Int64](repeating: 0, count: count * 2)
    try NearestNeighbours.search(
        references: features, n: count, queries: features, m: count, dimension: width, k: 2, neighbours: &neighbours,
        similarities: nil, compute: trainer.compute)
    // The nearest of all is the image itself.
    let alike = (0..<count).filter { Int(neighbours[2 * $0 + 1]) % kinds == $0 % kinds }.count
    print("features of \(width) values; the nearest other image is of the same kind for \(alike) of \(count)")
}
