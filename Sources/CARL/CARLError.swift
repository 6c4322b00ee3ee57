/// Everything that can go wrong in the library, with a sentence for the person who caused it.
///
/// A message names the argument, what it was, and what was wanted.
public enum CARLError: Error, Equatable, CustomStringConvertible {
    /// An argument's value is outside what the function accepts.
    case invalidArgument(String)
    /// A configuration is not well-formed JSON, has an unknown key, or a value of the wrong kind or range.
    case configuration(String)
    /// The call is right, but not in the state the object is in.
    case state(String)
    /// Memory could not be had.
    case outOfMemory(String)
    /// A file could not be read or written, or does not hold what it should.
    case file(String)
    /// The loss or a gradient stopped being a number.
    case notFinite(String)
    /// The caller asked the call to end early; nothing was changed.
    case cancelled(String)

    public var description: String {
        switch self {
        case .invalidArgument(let text), .configuration(let text), .state(let text),
            .outOfMemory(let text), .file(let text), .notFinite(let text), .cancelled(let text):
            return text
        }
    }
}
