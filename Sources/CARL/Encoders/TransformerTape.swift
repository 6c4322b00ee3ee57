extension TransformerBlock {
    /// What a forward pass leaves for backward.
    struct Tape {
        /// The block's input, the caller's.
        let x: Activation
        let moments1: FloatBuffer
        let joined: Activation
        let logSums: FloatBuffer
        let attended: Activation
        /// What was added, before LayerScale, where there is one.
        let projected: Activation?
        let middle: Activation
        let moments2: FloatBuffer
        /// The perceptron's hidden values before GELU.
        let hidden: Activation
        let contracted: Activation?
        let result: Activation
        /// Factors of each image's branches.
        let keep1: [Float]?
        let keep2: [Float]?

        /// Gives back everything but the block's input and result.
        func release(_ workspace: Workspace) {
            [moments1, logSums, moments2].forEach { workspace.give($0) }
            [joined, attended, middle, hidden].forEach { workspace.give($0) }
            if let projected { workspace.give(projected) }
            if let contracted { workspace.give(contracted) }
        }
    }
}
