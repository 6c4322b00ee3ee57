import CARL
import CARLHeader

/// Sizes of the two matrices, checked so that their products fit.
private func shape(_ n: Int64, _ m: Int64, _ dimension: Int64) throws -> (n: Int, m: Int, dimension: Int) {
    let dimension = try size(dimension, "dimension", 1...(1 << 24))
    let n = try size(n, "n", 1...(1 << 40) / dimension)
    return (n, try size(m, "m", 1...(1 << 40) / dimension), dimension)
}

@c @implementation
public func carl_nearest_neighbours(
    _ references: UnsafePointer<Float>?, _ n: Int64, _ queries: UnsafePointer<Float>?, _ m: Int64, _ dimension: Int64,
    _ k: Int64, _ threads: Int32, _ neighbours: UnsafeMutablePointer<Int64>?, _ similarities: UnsafeMutablePointer<Float>?
) -> carl_status {
    guarded {
        let shape = try shape(n, m, dimension)
        let k = try size(k, "k", 1...shape.n)
        let compute = Compute(threads: try size(threads, "threads", 0...1024))
        try MatrixProduct.withSingleThread {
            try NearestNeighbours.search(
                references: try required(references, "references"), n: shape.n, queries: try required(queries, "queries"),
                m: shape.m, dimension: shape.dimension, k: k, neighbours: neighbours, similarities: similarities, compute: compute)
        }
    }
}

@c @implementation
public func carl_knn_classify(
    _ references: UnsafePointer<Float>?, _ labels: UnsafePointer<Int64>?, _ n: Int64, _ queries: UnsafePointer<Float>?,
    _ m: Int64, _ dimension: Int64, _ classes: Int64, _ k: Int64, _ temperature: Double, _ threads: Int32,
    _ predicted: UnsafeMutablePointer<Int64>?
) -> carl_status {
    guarded {
        let shape = try shape(n, m, dimension)
        let k = try size(k, "k", 1...shape.n)
        let classes = try size(classes, "classes", 1...(1 << 24))
        let compute = Compute(threads: try size(threads, "threads", 0...1024))
        try MatrixProduct.withSingleThread {
            try NearestNeighbours.classify(
                references: try required(references, "references"), labels: try required(labels, "labels"), n: shape.n,
                queries: try required(queries, "queries"), m: shape.m, dimension: shape.dimension, classes: classes, k: k,
                temperature: temperature, predicted: try required(predicted, "predicted"), compute: compute)
        }
    }
}
