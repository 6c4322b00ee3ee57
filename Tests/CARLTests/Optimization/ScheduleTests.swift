import Testing

@testable import CARL

@Suite struct ScheduleTests {
    static func rates(_ keys: String, steps: Int) throws -> [Double] {
        let configuration = try Configuration(json: "{\"learning_rate\": 1, \"schedule\": \"trapezoid\"\(keys)}")
        return (0..<steps).map { configuration.learningRate(step: $0) }
    }

    @Test func aTrapezoidWarmsUpStaysAndFalls() throws {
        let rates = try Self.rates(
            #", "warmup_steps": 2, "total_steps": 10, "decay_steps": 4, "min_learning_rate": 0.2"#, steps: 12)
        let wanted = [0.5, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]
        for (rate, value) in zip(rates, wanted) { #expect(abs(rate - value) < 1e-12) }
    }

    @Test func eachStageTakesAnEqualShare() throws {
        let rates = try Self.rates(#", "total_steps": 9, "decay_steps": [4, 1, 2]"#, steps: 10)
        let wanted = [1, 1, 1, 11 / 12.0, 10 / 12.0, 9 / 12.0, 8 / 12.0, 4 / 12.0, 2 / 12.0, 0]
        for (rate, value) in zip(rates, wanted) { #expect(abs(rate - value) < 1e-12) }
    }

    /// What a run does before its length is known, it does with any length; so do stages before those that are changed.
    @Test func theBeginningDoesNotDependOnTheEnd() throws {
        let open = try Self.rates(#", "warmup_steps": 3"#, steps: 20)
        #expect(try Array(Self.rates(#", "warmup_steps": 3, "total_steps": 30, "decay_steps": 10"#, steps: 20)) == open)
        let first = try Self.rates(#", "warmup_steps": 1, "total_steps": 17, "decay_steps": [7, 5]"#, steps: 12)
        #expect(try Self.rates(#", "warmup_steps": 1, "total_steps": 42, "decay_steps": [7, 30]"#, steps: 12) == first)
    }

    @Test func theTeacherFollowsTheDecay() throws {
        let configuration = try Configuration(
            json: #"{"schedule": "trapezoid", "teacher_momentum": 0.9, "total_steps": 10, "decay_steps": 5}"#)
        let wanted = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.92, 0.94, 0.96, 0.98, 1, 1]
        for (step, value) in wanted.enumerated() {
            #expect(abs(configuration.teacherMomentum(step: step) - value) < 1e-12)
        }
    }

    @Test func withoutALengthOfItsOwnTheDecayIsAFifth() throws {
        let rates = try Self.rates(#", "total_steps": 20"#, steps: 21)
        for (rate, value) in zip(rates[15...], [1, 1, 0.75, 0.5, 0.25, 0]) { #expect(abs(rate - value) < 1e-12) }
        #expect(try Self.rates(#", "total_steps": 6, "warmup_steps": 6"#, steps: 6).last == 1)
    }

    @Test(arguments: [
        #""schedule": "cosine", "total_steps": 9, "decay_steps": 3"#, #""schedule": "trapezoid", "decay_steps": 3"#,
        #""schedule": "trapezoid", "total_steps": 9, "decay_steps": [5, 5]"#,
        #""schedule": "trapezoid", "total_steps": 9, "decay_steps": 0"#,
        #""schedule": "trapezoid", "total_steps": 9, "decay_steps": [1.5]"#,
        #""schedule": "trapezoid", "total_steps": 9, "decay_steps": []"#,
    ]) func whatIsNoDecayIsNamed(_ keys: String) throws {
        do {
            _ = try Configuration(json: "{\(keys)}")
            Issue.record("no error")
        } catch { #expect("\(error)".contains("decay_steps")) }
    }

    @Test(arguments: ["3", "[3, 2]", "null"]) func configurationGoesRound(_ decay: String) throws {
        let configuration = try Configuration(
            json: "{\"schedule\": \"trapezoid\", \"total_steps\": 9, \"decay_steps\": \(decay)}")
        #expect(try Configuration(configuration.json) == configuration)
    }
}
