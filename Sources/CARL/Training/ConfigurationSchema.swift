/// Every configuration key there is, for documentation and for other languages.
public enum ConfigurationSchema {
    /// {"trainer", "view", "classifier"}: a list of keys each, with name, group, kind, default, limits and doc.
    public static var json: JSONValue {
        [
            "trainer": Settings.schema(of: Configuration()), "view": Settings.schema(of: ViewSpec()),
            "classifier": Settings.schema(of: ClassifierConfiguration()),
        ]
    }
}
