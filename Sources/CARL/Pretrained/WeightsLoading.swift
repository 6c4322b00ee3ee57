// Putting the values of a weights file into an encoder's memory.

extension PretrainedWeights {
    /// A tensor of the encoder and how it is made from the file's.
    struct Fit {
        let name: String
        let source: Source?
        let adaption: Adaption

        /// Values of memory that reading it takes besides its own.
        var scratchCount: Int {
            if case .channels = adaption { return source?.shape?.reduce(1, *) ?? 0 }
            return 0
        }
    }

    /// What is done to a tensor whose shape may differ from the model's.
    enum Adaption: Equatable {
        case none
        /// Nothing in the file: zeros.
        case zeros
        /// The first layer has other input channels, see `InputChannels`.
        case channels(from: Int, to: Int)
        /// The file has no row for the class token: it is 0.
        case classRow
    }

    private static let encoderPrefix = "encoder."

    /// Compares the file with a layout: how each of its encoder's tensors is made.
    ///
    /// - Throws: one `CARLError.file` that lists what is missing, too much, or of another shape or type.
    func fit(_ layout: ParameterLayout) throws -> [Fit] {
        let prefix = Self.encoderPrefix
        let wanted =
            layout.parameters.map { ($0.name, $0.shape) } + layout.statistics.map { ($0.name, [$0.count]) }
        var fits: [Fit] = []
        var names = Set<String>()
        var (missing, shapes, types): ([String], [String], [String]) = ([], [], [])
        for (fullName, shape) in wanted where fullName.hasPrefix(prefix) {
            let name = String(fullName.dropFirst(prefix.count))
            names.insert(name)
            guard let source = sources[name] else {
                if name.hasSuffix(".attn.qkv.bias") {
                    fits.append(Fit(name: name, source: nil, adaption: .zeros))
                } else {
                    missing.append(name)
                }
                continue
            }
            let absent = source.parts.indices.filter { source.parts[$0] == nil }
            guard absent.isEmpty else {
                missing.append(
                    "\(name) (part \(absent.map { "\($0 + 1)" }.joined(separator: ", ")) of \(source.parts.count))")
                continue
            }
            if let type = source.parts.compactMap({ $0?.type }).first(where: { !$0.isFloatingPoint }) {
                types.append("\(name) (\(type.rawValue))")
            } else if let adaption = Self.adaption(name, from: source.shape, to: shape) {
                fits.append(Fit(name: name, source: source, adaption: adaption))
            } else {
                shapes.append(
                    "\(name) (\(source.shape.map { "\($0)" } ?? "parts that differ"), the model has \(shape))")
            }
        }
        let extra =
            strangers
            + sources.filter { !names.contains($0.key) }.values.flatMap { $0.parts.compactMap { $0?.name } }.sorted()
        let faults = [
            ("missing", missing), ("more than the model has", extra), ("of another shape", shapes),
            ("of a type that is no floating-point number", types),
        ].filter { !$0.1.isEmpty }
        guard faults.isEmpty else {
            throw CARLError.file(
                """
                '\(file.path)' is \(family.title), whose tensors do not fit the model (\(keysInWords)): \
                \(faults.map { "\($0.0): \(NameList.brief($0.1))" }.joined(separator: "; "))
                """)
        }
        return fits
    }

    /// The keys that a model for this file has.
    private var keysInWords: String {
        let keys = encoderKeys.members.map { "\"\($0.key)\": \($0.value.serialized())" }
        return "the file's own is \(keys.joined(separator: ", "))"
    }

    private static func adaption(_ name: String, from given: [Int]?, to wanted: [Int]) -> Adaption? {
        guard let given else { return nil }
        if given == wanted { return Adaption.none }
        switch name {
        case "conv1.weight", "patch_embed.proj.weight":
            guard given.count == 4, wanted.count == 4, given[0] == wanted[0], given[2...] == wanted[2...],
                given[1] == InputChannels.known
            else { return nil }
            return .channels(from: given[1], to: wanted[1])
        case "pos_embed":
            guard given.count == 3, wanted.count == 3, given[0] == wanted[0], given[2] == wanted[2],
                given[1] + 1 == wanted[1], !PositionRows.hasClassRow(given[1])
            else { return nil }
            return .classRow
        default: return nil
        }
    }

    /// Puts the file's values into the encoder's places of one or several memories of a layout: all, or, when an error
    /// is thrown, none.
    ///
    /// - Throws: as `fit`, and one `CARLError.file` that lists tensors with values that are not finite, or variances
    ///   below 0.
    func load(into layout: ParameterLayout, _ memories: [(parameters: FloatPointer, statistics: FloatPointer)]) throws {
        let fits = try fit(layout)
        let entries = memories.map {
            Dictionary(
                uniqueKeysWithValues: (layout.entries(parameters: $0.parameters, trained: true)
                    + layout.entries(statistics: $0.statistics)).map { ($0.name, $0) })
        }
        guard let first = entries.first else { return }
        let most = fits.compactMap { first[Self.encoderPrefix + $0.name]?.count }.max() ?? 0
        let values = try FloatBuffer(most, zeroed: false)
        let scratch = try FloatBuffer(fits.map(\.scratchCount).max() ?? 0, zeroed: false)
        var faults: [String] = []
        for fit in fits {
            guard let entry = first[Self.encoderPrefix + fit.name] else { continue }
            try Cancellation.check()
            try read(fit, entry.shape, into: values.base, scratch.base)
            if let fault = entry.fault(in: values.base) { faults.append("\(fit.name) (\(fault))") }
        }
        guard faults.isEmpty else {
            throw CARLError.file("'\(file.path)': values that no model can have: \(NameList.brief(faults))")
        }
        // From here on nothing fails: all has been read once.
        try Cancellation.shielded {
            for fit in fits {
                guard let shape = first[Self.encoderPrefix + fit.name]?.shape else { continue }
                try read(fit, shape, into: values.base, scratch.base)
                for entries in entries { entries[Self.encoderPrefix + fit.name]?.write(from: values.base) }
            }
        }
    }

    /// The values of a tensor in torch's order, as the model has it.
    private func read(_ fit: Fit, _ shape: [Int], into target: FloatPointer, _ scratch: FloatPointer) throws {
        let count = shape.reduce(1, *)
        guard let source = fit.source, fit.adaption != .zeros else {
            target.update(repeating: 0, count: count)
            return
        }
        switch fit.adaption {
        case .channels(let from, let to):
            try read(source, into: scratch)
            InputChannels.adapt(scratch, from: from, to: to, filters: shape[0], pixels: shape[2] * shape[3], target)
        case .classRow:
            target.update(repeating: 0, count: shape[2])
            try read(source, into: target + shape[2])
        case .none, .zeros: try read(source, into: target)
        }
    }

    private func read(_ source: Source, into target: FloatPointer) throws {
        var place = target
        for part in source.parts {
            guard let part else { continue }
            let count = part.shape.reduce(1, *)
            try file.copyFloats(part.name, to: place, count: count)
            place += count
        }
    }
}

/// The rule for images of other channels than the three that weights were trained with (timm's): one channel gets the
/// sum over the three, so that a gray image gives what three equal channels give; of C channels, channel c gets that of
/// c mod 3, times 3 / C, so that sums stay of the same size.
enum InputChannels {
    static let known = 3

    /// From a first layer (filters, from, pixels) to (filters, to, pixels).
    static func adapt(
        _ theirs: UnsafePointer<Float>, from: Int, to: Int, filters: Int, pixels: Int, _ own: FloatPointer
    ) {
        let factor = Float(from) / Float(to)
        for filter in 0..<filters {
            let source = theirs + filter * from * pixels
            let target = own + filter * to * pixels
            for c in 0..<to {
                for p in 0..<pixels {
                    target[c * pixels + p] =
                        to == 1
                        ? (0..<from).reduce(0) { $0 + source[$1 * pixels + p] }
                        : source[c % from * pixels + p] * factor
                }
            }
        }
    }
}
