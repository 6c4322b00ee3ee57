/// The objectives there are, by name. A name stands for a loss and for the defaults of other keys; keys that are given
/// stand.
public enum ObjectiveKind: String, SettingChoice {
    /// One softmax over all prototypes (arXiv 2112.15421): gradient descent alone, no negatives.
    case carl
    /// The same with a contrast between the images of a step beside it (`InstanceContrast`), which finds features
    /// sooner; fewer prototypes than images in a step.
    case contrast = "carl-contrast"
    /// The published setting of CARP (Silva and Adin Ramirez Rivera, arXiv 2310.12692, section 4 and appendix):
    /// ResNet-50, 65,536 prototypes in random blocks of 512, momentum teacher, two views of 224 and six of 96 pixels,
    /// LARS.
    case carp

    /// The objective of a model whose embeddings have `dimension` values.
    func make(_ layout: inout ParameterLayout, _ configuration: Configuration, dimension: Int) -> any Objective {
        switch self {
        case .carl, .contrast, .carp:
            AssignmentObjective(
                &layout, prototypes: configuration.prototypes, dimension: dimension, configuration.assignmentSettings)
        }
    }

    /// Learning rates for 128 images, and LARS's weight decay.
    var rates: (sgd: Double, lars: Double, larsWeightDecay: Double) {
        switch self {
        case .carl: (0.2, 0.2, 1e-5)
        case .contrast: (0.06, 0.2, 1e-5)
        case .carp: (0.2, 0.45 / 2, 1e-6)
        }
    }

    /// Of the learning rate, where the number of steps is known. With the contrast a trapezoid learns more than a
    /// cosine in as many steps (docs/results.md); without it that was not measured.
    var schedule: Configuration.Schedule {
        switch self {
        case .carl, .carp: .cosine
        case .contrast: .trapezoid
        }
    }

    /// Sets what the name stands for, except for keys that were given.
    func setDefaults(of configuration: inout Configuration) {
        switch self {
        case .carl: break
        case .contrast:
            configuration.$prototypes.setDefault(128)
            configuration.$contrastWeight.setDefault(4)
        case .carp:
            configuration.$encoder.setDefault(.resnet50)
            configuration.$projector.setDefault([2048, 2048, 256])
            configuration.$projectorActivation.setDefault(.gelu)
            configuration.$prototypes.setDefault(65_536)
            configuration.$partitionSize.setDefault(512)
            configuration.$normalizeEmbedding.setDefault(false)
            configuration.$priorOverTargets.setDefault(true)
            configuration.$temperature.setDefault(1)
            configuration.$priorWeight.setDefault(1)
            configuration.$teacherMomentum.setDefault(0.99)
            configuration.$trustCoefficient.setDefault(0.001)
            configuration.$views.setDefault(.preset("multicrop"))
            configuration.$viewSize.setDefault(224)
        }
    }
}

extension Configuration {
    var assignmentSettings: AssignmentObjective.Settings {
        var settings = AssignmentObjective.Settings()
        settings.options.partitionSize = partitionSize
        settings.options.normalizeEmbedding = normalizeEmbedding
        settings.options.normalizePrototypes = normalizePrototypes
        settings.options.stopGradient = stopGradient
        settings.options.symmetric = symmetric
        settings.options.priorOverTargets = priorOverTargets
        settings.temperature = temperature
        settings.targetTemperature = teacherTemperature
        settings.priorWeight = priorWeight
        settings.contrastWeight = contrastWeight
        settings.contrastTemperature = contrastTemperature
        settings.usedWindow = usedWindow
        settings.detached = stopGradient || teacherMomentum > 0
        settings.seed = seed
        return settings
    }
}
