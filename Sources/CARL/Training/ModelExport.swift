// What trainers and classifiers write for other programs.

extension Trainer {
    /// Writes a weights file in one step, see `ExportedPart`.
    ///
    /// - Parameter teacher: of the teacher, which there must be.
    public func export(_ part: ExportedPart, teacher: Bool = false, to path: String) throws {
        guard !teacher || training.teacher != nil else {
            throw CARLError.invalidArgument("teacher: this model has none, its teacher_momentum is 0")
        }
        try (teacher ? trainedTeacher : trained).export(part, to: path)
    }
}

extension Classifier {
    /// Writes a weights file in one step, see `ExportedPart`: the linear layer as torchvision's "fc" or timm's "head",
    /// on features as they are: what standardises them is within its weights.
    public func export(_ part: ExportedPart, to path: String) throws {
        let layout = encoderState.layout
        var entries = Safetensors.Entry.ofEncoder(
            layout.entries(parameters: encoderState.parameters.base, trained: true)
                + layout.entries(statistics: encoderState.statistics.base))
        if part == .model {
            let (features, classes, head) = (encoder.features, configuration.classCount, headState.memory)
            let weight = head.parameters + objective.linear.weight
            let bias = head.parameters + objective.linear.bias
            let mean = head.statistics + objective.standardization.mean
            let deviation = head.statistics + objective.standardization.deviation
            let name = encoderConfiguration.encoder.isTransformer ? "head" : "fc"
            entries.append(
                .init(name: "\(name).weight", shape: [classes, features]) { target in
                    for i in 0..<classes * features { target[i] = weight[i] / deviation[i % features] }
                })
            entries.append(
                .init(name: "\(name).bias", shape: [classes]) { target in
                    for k in 0..<classes {
                        var sum = Double(bias[k])
                        for c in 0..<features {
                            sum -= Double(weight[k * features + c]) * Double(mean[c]) / Double(deviation[c])
                        }
                        target[k] = Float(sum)
                    }
                })
        }
        try withExtendedLifetime(self) {
            try WeightsNote.write(
                entries, WeightsNote.keys(encoderConfiguration, view: configuration.view), to: path)
        }
    }
}
