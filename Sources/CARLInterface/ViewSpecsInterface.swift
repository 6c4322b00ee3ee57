import CARL
import CARLHeader

@c @implementation
public func carl_views_expand(
    _ spec_json: UnsafePointer<CChar>?, _ view_size: Int32, _ channels: Int32, _ buffer: UnsafeMutablePointer<CChar>?,
    _ capacity: Int, _ needed: UnsafeMutablePointer<Int>?
) -> carl_status {
    guarded {
        let expanded = try ViewSpec.expanded(
            JSONValue.parse(try text(spec_json, "spec_json")), size: try size(view_size, "view_size", 1...4096),
            channels: try size(channels, "channels", 1...1024))
        try copy(expanded.serialized(), buffer, capacity, needed)
    }
}
