/// Which views are compared, and with what weight.
struct AssignmentPairs {
    /// Two sets of B rows whose assignments are compared: a student view and another student view or a teacher's target.
    /// Sets are numbered students first, then targets.
    struct Link {
        let a: Int
        let b: Int
        /// Ordered pairs that this link stands for, 1 or 2: -log sum p_a p_b is the same in both directions.
        let pairs: Int
    }

    /// What a student view is compared with, for its gradient.
    struct Partner {
        let link: Int
        let other: Int
        /// How many times the gradient of the link's term reaches this view.
        let weight: Float
    }

    let links: [Link]
    /// Partners of each student view.
    let partners: [[Partner]]
    /// Number of ordered pairs.
    let count: Int

    init(views: Int, targets: Int, options: AssignmentOptions) {
        let detached = options.stopGradient || targets > 0
        var links: [Link] = []
        var partners = [[Partner]](repeating: [], count: views)
        func reaches(_ view: Int, _ other: Int, times: Int) {
            if times > 0 { partners[view].append(Partner(link: links.count, other: other, weight: Float(times))) }
        }
        if targets > 0 {
            for a in 0..<views {
                for b in 0..<targets where a != b && (options.symmetric || a < b) {
                    reaches(a, views + b, times: 1)
                    links.append(Link(a: a, b: views + b, pairs: 1))
                }
            }
        } else {
            let candidates = min(options.targetViews ?? views, views)
            for a in 0..<views {
                for b in a + 1..<max(views, a + 1) {
                    let forward = b < candidates ? 1 : 0
                    let backward = options.symmetric && a < candidates ? 1 : 0
                    if forward + backward == 0 { continue }
                    reaches(a, b, times: detached ? forward : forward + backward)
                    reaches(b, a, times: detached ? backward : forward + backward)
                    links.append(Link(a: a, b: b, pairs: forward + backward))
                }
            }
        }
        self.links = links
        self.partners = partners
        count = links.reduce(0) { $0 + $1.pairs }
    }
}
