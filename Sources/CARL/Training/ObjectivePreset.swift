extension Configuration {
    /// Named settings. They are defaults: every key that is given stands.
    enum Objective: String, CaseIterable, Sendable {
        /// One softmax over all prototypes (arXiv 2112.15421): gradient descent alone, no negatives.
        case carl
        /// The same with a contrast between the images of a step beside it (`InstanceContrast`), which finds features sooner; fewer prototypes
        /// than images in a step.
        case contrast = "carl-contrast"
        /// The published setting of CARP (Silva and Adin Ramirez Rivera, arXiv 2310.12692, section 4 and appendix): ResNet-50, 65,536 prototypes in
        /// random blocks of 512, momentum teacher, two views of 224 and six of 96 pixels, LARS.
        case carp
    }

    /// Sets the defaults of an objective.
    mutating func preset(_ objective: Objective) {
        self.objective = objective
        if objective == .contrast {
            prototypes = 128
            contrastWeight = Ramp(4)
            learningRate = 0.06
        }
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
        trustCoefficient = 0.001
        larsWeightDecay = 1e-6
        larsLearningRate = 0.45 / 2
        viewPreset = "multicrop"
        standardViewSize = 224
    }
}
