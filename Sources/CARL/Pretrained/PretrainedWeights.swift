/// A file with an encoder's weights that another program has written, its tensors recognised by their names.
///
/// The file is a safetensors file (F32, F16, BF16 or F64). What a file has beside the encoder, such as a classifier, is
/// left out and named in `ignored`.
public struct PretrainedWeights {
    let file: SafetensorsFile
    /// Whose names the tensors have.
    public let family: WeightsFamily
    /// Tensors of heads, and others that only training needs.
    public let ignored: [String]
    /// What a user should know of them.
    public let notes: [String]
    /// Where each of the encoder's tensors is in the file, by the names of this library.
    let sources: [String: Source]
    /// Tensors that are nothing to the encoder, and those that another one has said already.
    let strangers: [String]
    /// Configuration keys of the encoder that these weights are of.
    public let encoderKeys: JSONObject
    /// As the file's metadata says where this library wrote it, else what is usual for the family.
    public let preprocessing: Preprocessing

    /// One tensor of the encoder, from parts that lie one after another along the first dimension.
    struct Source {
        var parts: [SafetensorsFile.Tensor?]

        /// The shape of the whole, nil where parts differ or are missing.
        var shape: [Int]? {
            guard let first = parts[0], !first.shape.isEmpty, parts.allSatisfy({ $0?.shape == first.shape }) else {
                return parts.count == 1 ? parts[0]?.shape : nil
            }
            return [first.shape[0] * parts.count] + first.shape.dropFirst()
        }
    }

    /// - Throws: `CARLError.file` when the file cannot be read, or holds no weights that are known.
    public init(path: String) throws {
        let file = try SafetensorsFile(path: path)
        if let format = file.metadata.first(where: { $0.key == "format" })?.value, format.hasPrefix("carl-") {
            throw CARLError.file(
                """
                '\(path)' is a file of this library (\(NameList.brief(format))), which is loaded as it is, not \
                weights alone
                """)
        }
        guard let naming = WeightsNaming.recognise(file.names) else {
            throw CARLError.file(
                """
                '\(path)' holds no weights that are known: ResNets in the names of torchvision or timm, vision \
                transformers in those of timm, DINOv2, transformers or torchvision. Its tensors are \
                \(NameList.brief(file.names))
                """)
        }
        var sources: [String: Source] = [:]
        var (ignored, strangers): ([String], [String]) = ([], [])
        for tensor in file.tensors {
            switch naming.role(tensor.name) {
            case .tensor(let name, let part, let count):
                var source = sources[name] ?? Source(parts: Array(repeating: nil, count: count))
                guard source.parts.count == count, source.parts[part] == nil else {
                    strangers.append(tensor.name)
                    continue
                }
                source.parts[part] = tensor
                sources[name] = source
            case .ignored: ignored.append(tensor.name)
            case .counter: break
            case .unknown: strangers.append(tensor.name)
            }
        }
        let pooledFirst =
            naming.family.isTransformer && file.names.contains { $0.hasPrefix(naming.prefix + "fc_norm.") }
        let architecture = Architecture(
            path: path, family: naming.family, prefix: naming.prefix, sources: sources, pooledFirst: pooledFirst)
        var (keys, size) = try naming.family == .resnet ? architecture.resnet() : architecture.transformer()
        var preprocessing = Preprocessing(naming.family, size: size, patch: keys["patch_size"]?.integer)
        if let note = file.metadata.first(where: { $0.key == WeightsNote.key })?.value {
            do {
                let said = try WeightsNote.read(note, over: keys, preprocessing)
                preprocessing = Preprocessing(said, view: said.viewSpecs[0])
                if naming.family.isTransformer { keys["pool"] = said.pool.json }
            } catch let error as CARLError {
                throw CARLError.file("'\(path)': its metadata \"\(WeightsNote.key)\" is damaged: \(error)")
            }
        }
        (self.file, family, self.sources, self.ignored, self.strangers) = (
            file, naming.family, sources, ignored, strangers
        )
        notes =
            pooledFirst
            ? ["fc_norm, which normalises behind the mean over the patches, is taken as the norm in front of it"] : []
        encoderKeys = keys
        self.preprocessing = preprocessing
    }

    /// Channels of the images that the weights were trained with.
    var channels: Int { encoderKeys["in_channels"]?.integer ?? 3 }

    /// The configuration keys of a model that begins with these weights and sees images as they did.
    ///
    /// - Parameter channels: of the images; nil for those of the weights.
    func keys(channels: Int? = nil) -> JSONObject {
        var keys = encoderKeys
        let channels = channels ?? self.channels
        keys["in_channels"] = channels.json
        keys["view_size"] = preprocessing.size.json
        // A trainer's own defaults for channels that no program has statistics of.
        if channels == 1 || channels == 3 || self.channels == 3 || channels == preprocessing.mean.count {
            let (mean, std) = preprocessing.normalization(channels: channels)
            (keys["mean"], keys["std"]) = (mean.json, std.json)
        }
        keys["evaluation_crop"] = preprocessing.crop.json
        keys["evaluation_interpolation"] = preprocessing.interpolation.json
        return keys
    }

    /// The configuration of an encoder with these weights, with some keys changed.
    public func configuration(_ overrides: JSONValue? = nil) throws -> Configuration {
        let changes = overrides ?? .object(JSONObject())
        guard let changed = changes.object else {
            throw CARLError.configuration("overrides must be a JSON object, got \(changes.kind)")
        }
        var keys = keys(channels: changed["in_channels"]?.integer)
        // Specifications have sizes of their own.
        if let views = changed["views"], views.string == nil, views != .null { keys["view_size"] = nil }
        for (key, value) in changed.members { keys[key] = value }
        return try Configuration(.object(keys))
    }

    /// What is known of the file, as JSON.
    public var description: JSONValue {
        [
            "family": .string(family.rawValue), "config": .object(keys()), "preprocessing": preprocessing.json,
            "ignored": .array(ignored.prefix(NameList.most).map { .string(NameList.brief($0)) }),
            "notes": .array(notes.map { .string($0) }),
        ]
    }
}

/// Names of tensors in messages: no more than a reader can use, however many a file has.
enum NameList {
    static let most = 100
    private static let shown = 8
    private static let longest = 120

    static func brief(_ name: String) -> String {
        name.utf8.count <= longest ? name : "\(name.unicodeScalars.prefix(longest / 4).map(String.init).joined())..."
    }

    static func brief(_ names: [String]) -> String {
        let list = names.prefix(shown).map { brief($0) }.joined(separator: ", ")
        return names.count <= shown ? list : "\(list) and \(names.count - shown) more"
    }
}
