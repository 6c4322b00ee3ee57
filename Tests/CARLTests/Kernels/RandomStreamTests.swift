import Testing

@testable import CARL

@Suite struct RandomStreamTests {
    @Test func philoxMatchesPublishedVectors() {
        // Known answers of the Random123 distribution for Philox4x32-10.
        #expect(RandomStream.philox(.zero, (0, 0)) == SIMD4(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
        let ones = SIMD4<UInt32>(repeating: .max)
        #expect(RandomStream.philox(ones, (.max, .max)) == SIMD4(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    }

    @Test func streamsAreReproducibleAndDistinct() {
        var a = RandomStream(seed: 7, purpose: .views, major: 1, minor: 2, lane: 3)
        var b = RandomStream(seed: 7, purpose: .views, major: 1, minor: 2, lane: 3)
        var c = RandomStream(seed: 7, purpose: .views, major: 1, minor: 2, lane: 4)
        let first = (0..<9).map { _ in a.next() }
        #expect(first == (0..<9).map { _ in b.next() })
        #expect(first != (0..<9).map { _ in c.next() })
    }

    @Test func uniformNormalAndBelowHaveTheirMoments() {
        var stream = RandomStream(seed: 1, purpose: .initialWeights)
        let n = 100_000
        var sum = 0.0
        var squares = 0.0
        var counts = [Int](repeating: 0, count: 7)
        var mean = 0.0
        for _ in 0..<n {
            let u = stream.uniform()
            #expect(u >= 0 && u < 1)
            mean += Double(u)
            let z = Double(stream.normal())
            sum += z
            squares += z * z
            counts[stream.below(7)] += 1
        }
        #expect(abs(mean / Double(n) - 0.5) < 0.005)
        #expect(abs(sum / Double(n)) < 0.015)
        #expect(abs(squares / Double(n) - 1) < 0.02)
        for count in counts { #expect(abs(Double(count) - Double(n) / 7) < 500) }
    }

    @Test func permutationHoldsEveryNumberOnce() {
        var stream = RandomStream(seed: 1, purpose: .partition)
        for count in [0, 1, 2, 1000] {
            #expect(stream.permutation(count).sorted() == (0..<Int32(count)).map { $0 })
        }
        #expect(stream.permutation(-1).isEmpty && stream.permutation(.min).isEmpty)
    }
}
