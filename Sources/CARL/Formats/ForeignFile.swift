/// Files of other kinds that people have where a safetensors file is wanted.
enum ForeignFile {
    /// What a file is that begins with `bytes`, and what to do about it; nil where that is not known.
    ///
    /// torch.save writes a zip archive around a pickle, before torch 1.6 a pickle alone. Neither is ever read here:
    /// loading a pickle runs whatever program its author put into it.
    static func refusal(_ path: String, beginsWith bytes: [UInt8]) -> CARLError? {
        let isArchive = bytes.starts(with: [0x50, 0x4b, 3, 4])
        // a pickle of protocol 2 to 5
        let isPickle = bytes.count >= 2 && bytes[0] == 0x80 && (2...5).contains(bytes[1])
        if isArchive || isPickle {
            return .file(
                """
                '\(path)' is \(isArchive ? "a zip archive, as torch.save writes" : "a Python pickle"), not a \
                safetensors file. Pickle is never loaded here, as it can run any program. If the file is PyTorch's, \
                this line converts it: \(conversion(path)) (if the tensors are in a member of the file's dictionary, \
                put its name behind the load, such as ['model'] or ['state_dict'])
                """)
        }
        if bytes.starts(with: [0x89, 0x48, 0x44, 0x46]) {
            return .file("'\(path)' is an HDF5 file, not a safetensors file")
        }
        return nil
    }

    /// The shell's line that makes a safetensors file of a PyTorch file.
    private static func conversion(_ path: String) -> String {
        let source = isPlain(path) ? path : "weights.pth"
        // the last dot of the file's name, not one of a folder's
        let name = source.lastIndex(of: "/").map { source.index(after: $0) } ?? source.startIndex
        let stem = source[name...].dropFirst().lastIndex(of: ".").map { source[..<$0] } ?? source[...]
        return """
            python -c "import torch, safetensors.torch; safetensors.torch.save_file({k: v.contiguous() for k, v in \
            torch.load('\(source)', map_location='cpu', weights_only=True).items()}, '\(stem).safetensors')"
            """
    }

    /// Nothing in it means anything to a shell or to Python between quotes.
    private static func isPlain(_ path: String) -> Bool {
        path.utf8.allSatisfy { $0 > 32 && $0 < 127 && !"\"'\\$`!".utf8.contains($0) || $0 == 32 || $0 > 127 }
    }
}
