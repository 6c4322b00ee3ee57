/// The ways a run can stop learning.
public enum Collapse: Int32, Sendable {
    /// Nothing of the kind is seen.
    case none = 0
    /// All images are assigned to the same few prototypes: consistency near 0, prior near log K.
    case fewPrototypes = 1
    /// Every image is assigned to all prototypes alike: consistency near log K, prior near 0.
    case uniform = 2
    /// The embedding is the same for all images.
    case constantEmbedding = 3
    /// All images have the same assignment: one prototype, or a few, take a share of every image, and the rest is
    /// spread evenly. The loss allows it where the prior weight is small for the number of prototypes; the mean
    /// assignment does not show it, since what is spread evenly keeps its entropy high.
    case sharedPrototypes = 4
    /// The embedding fills a part of the sphere only: images differ less than they could.
    case shrunkenEmbedding = 5

    /// Images of a step from which on the last two can be told from chance.
    private static let fewest = 16

    /// What a step's numbers say. `dimension` is D, `count` the prototypes of one softmax, `images` those of the step.
    static func judge(_ terms: Terms, count: Int, dimension: Int, images: Int) -> Collapse {
        let filled = 1 / Double(dimension).squareRoot()
        let spread = terms["embedding_std"] ?? filled
        if spread < 0.05 * filled { return .constantEmbedding }
        if count > 2 {
            if let effective = terms["effective_prototypes"], effective < 1.1 { return .fewPrototypes }
            if let largest = terms["max_probability"], largest < 1.05 / Double(count) { return .uniform }
        }
        guard images >= fewest else { return .none }
        if count > 2, let assigned = terms["assigned_prototypes"], assigned < 1 + 0.05 * Double(min(count, images)) {
            return .sharedPrototypes
        }
        // A contrast spreads a crowded embedding again within some hundred steps: runs that end well are at 0.4 early
        // on, those that fail without it at 0.2.
        return spread < (contrasts(terms) ? 0.25 : 0.6) * filled ? .shrunkenEmbedding : .none
    }

    /// Whether the images of the step were contrasted.
    private static func contrasts(_ terms: Terms) -> Bool { (terms["contrast_weight"] ?? 0) > 0 }

    /// What was seen and what to try; nil for none.
    ///
    /// - Parameter detached: the targets of pairs get no gradient, which halves the prior weight that is needed.
    func advice(_ terms: Terms, count: Int, dimension: Int, steps: Int, detached: Bool) -> String? {
        func brief(_ x: Double) -> String { "\((x * 1000).rounded() / 1000)" }
        func term(_ name: String) -> String { terms[name].map(brief) ?? "unknown" }
        let priorWeight = term("prior_weight")
        let logK = brief(logarithm(Double(count)))
        switch self {
        case .none: return nil
        case .fewPrototypes:
            return """
                for \(steps) steps all images have been assigned to about one prototype (effective prototypes \
                \(term("effective_prototypes")) of \(count), prior \(term("prior")), log K = \(logK)). Try a larger \
                \"prior_weight\" (now \(priorWeight)), at least at the start, or a smaller \"learning_rate\"
                """
        case .uniform:
            return """
                for \(steps) steps every image has been assigned to all \(count) prototypes alike (consistency \
                \(term("consistency")), log K = \(logK)). Try a smaller \"temperature\", a smaller \"prior_weight\" \
                (now \(priorWeight)), fewer \"prototypes\" or a larger \"learning_rate\"
                """
        case .constantEmbedding:
            return """
                for \(steps) steps the embedding has been the same for all images (standard deviation \
                \(term("embedding_std"))). Try a smaller \"learning_rate\", a \"projector\" with a hidden layer, or \
                views that change the images less
                """
        case .sharedPrototypes:
            return """
                for \(steps) steps all images have had much the same assignment (their most probable prototypes are \
                spread over \(term("assigned_prototypes")) of \(count), agreement of views \(term("agreement")); the \
                rest of each assignment is even, so effective prototypes \(term("effective_prototypes")) do not show \
                it). Try a larger \"prior_weight\" (now \(priorWeight); \(count) prototypes want \
                \(brief(UniformPrior.sufficientWeight(count, detached: detached))) or more), fewer \"prototypes\", a \
                smaller \"learning_rate\" with \"warmup_steps\", or a \"contrast_weight\"
                """
        case .shrunkenEmbedding:
            let seen = """
                for \(steps) steps the embedding has been crowded into a part of the sphere (standard deviation \
                \(term("embedding_std")), about \(brief(1 / Double(dimension).squareRoot())) fills it).
                """
            let tried = """
                a larger \"temperature\" (now \(term("temperature"))), a larger \"prior_weight\" (now \
                \(priorWeight)), a smaller \"learning_rate\"
                """
            // The contrast spreads the images of a step, which takes hundreds of steps where they are much alike.
            guard Self.contrasts(terms) else { return "\(seen) Try \(tried) or a \"contrast_weight\"" }
            return """
                \(seen) Try \(tried), unless \"embedding_std\" rises: early in a run the contrast spreads it again
                """
        }
    }
}
