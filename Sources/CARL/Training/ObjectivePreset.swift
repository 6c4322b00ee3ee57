extension Configuration {
    /// Named settings. They are defaults: every key that is given stands.
    enum Objective: String, CaseIterable, Sendable {
        /// One softmax over all prototypes; the values measured best in this project.
        case carl
        /// The published setting of CARP (Silva and Adin Ramirez Rivera, arXiv 2310.12692, section 4 and appendix): ResNet-50, 65,536 prototypes in
        /// random blocks of 512, momentum teacher, two views of 224 and six of 96 pixels, LARS.
        case carp
    }

    /// Sets the defaults of an objective. `batch` is the batch size if it is given.
    mutating func preset(_ objective: Objective, batch: Int?) {
        self.objective = objective
        guard objective == .carp else { return }
        encoder = .resnet50
        projector = [2048, 2048, 256]
        projectorActivation = .gelu
        prototypes = 65_536
        assignment.partitionSize = 512
        assignment.normalizeEmbedding = false
        assignment.priorOverTargets = true
        temperature = Ramp(1)
        priorWeight = Ramp(1)
        teacherMomentum = 0.99
        optimizer = .lars
        weightDecay = 1e-6
        larsLearningRate = 0.45 * Double(batch ?? batchSize) / 256
        viewPreset = "multicrop"
        standardViewSize = 224
    }
}
