import CARL
import CARLHeader

/// Every handle given out, by number. A handle is never a pointer to an object but a number in a pointer's clothes that
/// is not used twice, so that a freed, foreign or made-up handle is found out instead of followed.
enum Handles {
    /// An object behind a handle, and whether a call is using it.
    private final class Entry {
        let object: AnyObject
        var busy = false
        init(_ object: AnyObject) { self.object = object }
    }

    private struct Table {
        var entries: [UInt: Entry] = [:]
        /// Handles are odd multiples far from any real address or small number that a mistake would produce.
        var next: UInt = 0x0CA2_1000_0000_0001
    }

    /// Used by `withTable` alone. A lock of Swift's would not do, see `shim_thread_was_forked`.
    private nonisolated(unsafe) static var table = Table()

    private static func withTable<Result, Failure: Error>(_ body: (inout Table) throws(Failure) -> Result)
        throws(Failure) -> Result
    {
        shim_lock_table()
        defer { shim_unlock_table() }
        return try body(&table)
    }

    /// Handles alive.
    static var count: Int { withTable { $0.entries.count } }

    static func add(_ object: AnyObject) -> OpaquePointer? {
        withTable { table in
            let number = table.next
            table.next += 2
            table.entries[number] = Entry(object)
            return OpaquePointer(bitPattern: number)
        }
    }

    /// Runs `body` with the object, which no other call can use meanwhile.
    static func use<Object: AnyObject, Result>(
        _ handle: OpaquePointer?, as type: Object.Type, _ name: String, _ body: (Object) throws -> Result
    ) throws -> Result {
        let entry = try withTable { table throws(InterfaceError) -> Entry in
            let entry = try find(handle, type, name, in: table)
            if entry.busy {
                throw InterfaceError(CARL_BUSY, "this \(name) is in use by another thread; use one per thread")
            }
            entry.busy = true
            return entry
        }
        defer { withTable { _ in entry.busy = false } }
        guard let object = entry.object as? Object else {
            throw InterfaceError(CARL_INTERNAL_ERROR, "a handle changed its type")
        }
        return try body(object)
    }

    /// Forgets a handle; its object goes with the last reference. NULL is fine.
    static func remove<Object: AnyObject>(_ handle: OpaquePointer?, as type: Object.Type, _ name: String) throws {
        guard let handle else { return }
        // The object is released outside the lock: freeing gigabytes takes a while.
        let removed = try withTable { table throws(InterfaceError) -> Entry? in
            let entry = try find(handle, type, name, in: table)
            if entry.busy {
                throw InterfaceError(CARL_BUSY, "this \(name) is in use by another thread; free it afterwards")
            }
            return table.entries.removeValue(forKey: UInt(bitPattern: handle))
        }
        _ = removed
    }

    /// Makes what the table needs of Swift's runtime, on a table of its own: see `WarmUp`.
    static func rehearse(_ object: AnyObject) {
        var table = Table()
        table.entries[table.next] = Entry(object)
        let handle = OpaquePointer(bitPattern: table.next)
        _ = failure { _ = try find(handle, TrainableObject<Trainer>.self, "trainer", in: table) }
        _ = failure { _ = try find(handle, TrainableObject<Classifier>.self, "classifier", in: table) }
        _ = failure { _ = try find(handle, EncoderObject.self, "encoder", in: table) }
        table.entries.removeValue(forKey: table.next)
    }

    private static func find<Object: AnyObject>(
        _ handle: OpaquePointer?, _ type: Object.Type, _ name: String, in table: Table
    ) throws(InterfaceError) -> Entry {
        guard let handle else { throw InterfaceError(CARL_INVALID_HANDLE, "the \(name) handle is NULL") }
        guard let entry = table.entries[UInt(bitPattern: handle)] else {
            throw InterfaceError(
                CARL_INVALID_HANDLE, "the \(name) handle is not valid: it was freed, or never came from this library")
        }
        guard entry.object is Object else {
            throw InterfaceError(CARL_INVALID_HANDLE, "the handle is not of the kind \"\(name)\"")
        }
        return entry
    }
}
