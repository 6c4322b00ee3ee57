/// Every configuration key there is, for documentation and for other languages.
public enum ConfigurationSchema {
    public static var json: JSONValue {
        [
            "trainer": Settings.schema(of: Configuration()), "view": Settings.schema(of: ViewSpec()),
            "classifier": Settings.schema(of: ClassifierConfiguration()),
        ]
    }
}
