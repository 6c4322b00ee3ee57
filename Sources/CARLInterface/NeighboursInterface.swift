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
    _ k: Int64, _ threads: Int32, _ neighbours: UnsafeMutablePointer<Int64>?,
    _ similarities: UnsafeMutablePointer<Float>?
) -> carl_status {
    guarded {
        let shape = try shape(n, m, dimension)
        let k = try size(k, "k", 1...shape.n)
        try IdleCompute.call(threads: try size(threads, "threads", 0...1024)) { compute in
            try NearestNeighbours.search(
                references: try required(references, "references"), n: shape.n,
                queries: try required(queries, "queries"),
                m: shape.m, dimension: shape.dimension, k: k, neighbours: neighbours, similarities: similarities,
                compute: compute)
        }
    }
}

/// Classifies with each of some numbers of neighbours, which `ks` reads once the number of references is known.
private func classify(
    _ references: UnsafePointer<Float>?, _ labels: UnsafePointer<Int64>?, _ n: Int64, _ queries: UnsafePointer<Float>?,
    _ m: Int64, _ dimension: Int64, _ classes: Int64, _ temperature: Double, _ threads: Int32,
    _ predicted: UnsafeMutablePointer<Int64>?, ks: (_ references: Int) throws -> [Int]
) throws {
    let shape = try shape(n, m, dimension)
    let ks = try ks(shape.n)
    let classes = try size(classes, "classes", 1...(1 << 24))
    try IdleCompute.call(threads: try size(threads, "threads", 0...1024)) { compute in
        try NearestNeighbours.classify(
            references: try required(references, "references"), labels: try required(labels, "labels"), n: shape.n,
            queries: try required(queries, "queries"), m: shape.m, dimension: shape.dimension, classes: classes,
            ks: ks, temperature: temperature, predicted: try required(predicted, "predicted"), compute: compute)
    }
}

@c @implementation
public func carl_knn_classify(
    _ references: UnsafePointer<Float>?, _ labels: UnsafePointer<Int64>?, _ n: Int64, _ queries: UnsafePointer<Float>?,
    _ m: Int64, _ dimension: Int64, _ classes: Int64, _ k: Int64, _ temperature: Double, _ threads: Int32,
    _ predicted: UnsafeMutablePointer<Int64>?
) -> carl_status {
    guarded {
        try classify(references, labels, n, queries, m, dimension, classes, temperature, threads, predicted) {
            [try size(k, "k", 1...$0)]
        }
    }
}

/// `count` numbers, each within `range`, at least one.
private func numbers(_ values: UnsafePointer<Int64>?, _ count: Int, _ name: String, _ range: ClosedRange<Int>) throws
    -> [Int]
{
    let count = try size(count, "\(name)_count", 1...1024)
    let values = try required(values, name)
    return try (0..<count).map { try size(values[$0], "\(name)[\($0)]", range) }
}

@c @implementation
public func carl_knn_classify_several(
    _ references: UnsafePointer<Float>?, _ labels: UnsafePointer<Int64>?, _ n: Int64, _ queries: UnsafePointer<Float>?,
    _ m: Int64, _ dimension: Int64, _ classes: Int64, _ k: UnsafePointer<Int64>?, _ k_count: Int, _ temperature: Double,
    _ threads: Int32, _ predicted: UnsafeMutablePointer<Int64>?
) -> carl_status {
    guarded {
        try classify(references, labels, n, queries, m, dimension, classes, temperature, threads, predicted) {
            try numbers(k, k_count, "k", 1...$0)
        }
    }
}

@c @implementation
public func carl_retrieval(
    _ references: UnsafePointer<Float>?, _ labels: UnsafePointer<Int64>?, _ n: Int64, _ queries: UnsafePointer<Float>?,
    _ query_labels: UnsafePointer<Int64>?, _ m: Int64, _ dimension: Int64, _ cutoffs: UnsafePointer<Int64>?,
    _ cutoff_count: Int,
    _ leave_one_out: Int32, _ threads: Int32, _ precision: UnsafeMutablePointer<Double>?,
    _ relevant: UnsafeMutablePointer<Int64>?
) -> carl_status {
    guarded {
        let shape = try shape(n, m, dimension)
        let cutoffs = cutoff_count == 0 ? [] : try numbers(cutoffs, cutoff_count, "cutoffs", 1...shape.n)
        let leaveOneOut = try flag(leave_one_out, "leave_one_out")
        try IdleCompute.call(threads: try size(threads, "threads", 0...1024)) { compute in
            try Retrieval.averagePrecision(
                references: try required(references, "references"), labels: try required(labels, "labels"), n: shape.n,
                queries: try required(queries, "queries"), queryLabels: try required(query_labels, "query_labels"),
                m: shape.m,
                dimension: shape.dimension, cutoffs: cutoffs, leaveOneOut: leaveOneOut,
                precision: try required(precision, "precision"), relevant: try required(relevant, "relevant"),
                compute: compute)
        }
    }
}
