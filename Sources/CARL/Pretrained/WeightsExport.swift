// A model as a weights file: tensors for other programs, by the names that those give them.

/// What of a model goes into a weights file.
public enum ExportedPart: Int32, Sendable {
    /// The encoder, as torchvision names a ResNet and timm a vision transformer, so that these load it strictly and
    /// `PretrainedWeights` reads it.
    case encoder = 0
    /// What follows it too: projection head and prototypes, all by the names of the state; a classifier's linear layer
    /// behind the encoder's names above.
    case model = 1
}

/// The metadata of a weights file of this library beside "format": what other programs' files do not say.
enum WeightsNote {
    static let key = "carl"

    /// Configuration keys of the encoder and of the images it is evaluated on, mean and std for each channel.
    static func keys(_ configuration: Configuration, view: ViewSpec) -> JSONObject {
        let images = Preprocessing(configuration, view: view)
        var keys = JSONObject([
            ("encoder", configuration.encoder.json), ("in_channels", configuration.inChannels.json),
        ])
        if configuration.encoder.isTransformer {
            keys["patch_size"] = configuration.patchSize.json
            keys["position_grid"] = configuration.positionGrid.json
            keys["registers"] = configuration.registers.json
            keys["pool"] = configuration.pool.json
        } else {
            keys["stem"] = configuration.stem.json
            keys["width"] = configuration.width.json
        }
        keys["view_size"] = images.size.json
        (keys["mean"], keys["std"]) = (images.mean.json, images.std.json)
        keys["evaluation_crop"] = images.crop.json
        keys["evaluation_interpolation"] = images.interpolation.json
        return keys
    }

    /// How the outputs behind the encoder are computed. Evaluation uses the temperature's last value.
    static func headKeys(_ configuration: Configuration) -> [(String, JSONValue)] {
        [
            ("projector", configuration.projector.json),
            ("projector_activation", configuration.projectorActivation.json),
            ("normalize_embedding", configuration.normalizeEmbedding.json),
            ("normalize_prototypes", configuration.normalizePrototypes.json),
            ("temperature", configuration.temperature.end.json),
        ]
    }

    /// The configuration that a note makes of the encoder's keys, which the tensors say: of the note, the keys of
    /// images and "pool" are taken, and `preprocessing` stands where it is silent.
    static func read(_ note: String, over encoder: JSONObject, _ preprocessing: Preprocessing) throws -> Configuration {
        guard let note = try JSONValue.parse(note).object else {
            throw CARLError.configuration("a JSON object is wanted")
        }
        let (mean, std) = preprocessing.normalization(channels: encoder["in_channels"]?.integer ?? 3)
        var keys = encoder
        keys["view_size"] = preprocessing.size.json
        (keys["mean"], keys["std"]) = (mean.json, std.json)
        keys["evaluation_crop"] = preprocessing.crop.json
        keys["evaluation_interpolation"] = preprocessing.interpolation.json
        for key in ["view_size", "mean", "std", "evaluation_crop", "evaluation_interpolation", "pool"] {
            if let value = note[key], key != "pool" || encoder[key] != nil { keys[key] = value }
        }
        return try Configuration(.object(keys))
    }

    static func write(_ entries: [Safetensors.Entry], _ keys: JSONObject, to path: String) throws {
        // transformers and others want to be told that tensors are in torch's layouts
        try Safetensors.write(
            path: path, entries: entries, metadata: [("format", "pt"), (key, JSONValue.object(keys).serialized())])
    }
}

extension Safetensors.Entry {
    init(_ entry: StateEntry, name: String? = nil) {
        self.init(name: name ?? entry.name, shape: entry.shape) { entry.read(into: $0) }
    }

    private static let encoderPrefix = "encoder."

    /// The encoder's tensors by the names of other programs.
    ///
    /// timm's models with registers have no position for the class token. As it is added to the token always, the token
    /// is written with it.
    static func ofEncoder(_ entries: [StateEntry]) -> [Self] {
        let entries = entries.filter { $0.name.hasPrefix(encoderPrefix) }
        func named(_ name: String) -> StateEntry? { entries.first { $0.name == encoderPrefix + name } }
        let positions = named("reg_token") == nil ? nil : named("pos_embed")
        return entries.map { entry in
            let name = String(entry.name.dropFirst(encoderPrefix.count))
            guard let positions, let width = positions.shape.last, ["cls_token", "pos_embed"].contains(name) else {
                return Self(entry, name: name)
            }
            if name == "cls_token" {
                return Self(name: name, shape: entry.shape) { target in
                    for c in 0..<width { target[c] = entry.values[c] + positions.values[c] }
                }
            }
            return Self(name: name, shape: [1, positions.shape[1] - 1, width]) { target in
                target.update(from: positions.values + width, count: positions.count - width)
            }
        }
    }
}

extension TrainedModel {
    func export(_ part: ExportedPart, to path: String) throws {
        let layout = model.layout
        let entries =
            layout.entries(parameters: parameters.base, trained: true) + layout.entries(statistics: statistics.base)
        var keys = WeightsNote.keys(configuration, view: configuration.viewSpecs[0])
        if part == .model { for (key, value) in WeightsNote.headKeys(configuration) { keys[key] = value } }
        try withExtendedLifetime(self) {
            try WeightsNote.write(
                part == .model ? entries.map { .init($0) } : Safetensors.Entry.ofEncoder(entries), keys, to: path)
        }
    }
}
