/// The views of one batch. Consecutive ones of the same size lie behind each other in one activation, a run, and pass
/// through the model together: a layer's work that does not grow with the batch is done once, and BatchNorm still sees
/// each view by itself.
struct ViewRuns {
    let runs: [Activation]
    /// Where each view begins.
    let views: [FloatPointer]
    /// Images in each view.
    let batch: Int

    /// Memory for views of `sizes`, at least one. The first run ends behind `globalViews` of them, 0 for no end.
    init(
        _ sizes: [(height: Int, width: Int)], globalViews: Int = 0, batch: Int, channels: Int, _ workspace: Workspace
    ) throws {
        var runs: [Activation] = []
        var views: [FloatPointer] = []
        var first = 0
        while first < sizes.count {
            let (height, width) = sizes[first]
            var groups = sizes[first...].prefix { $0 == (height, width) }.count
            if first == 0, globalViews > 0 { groups = min(groups, globalViews) }
            let images = try CheckedSize.product(groups, batch, of: "a run of views (views, images)")
            let run = try workspace.takeActivation(images, height, width, channels, groups: groups)
            runs.append(run)
            views += (0..<groups).map { run.base + $0 * batch * height * width * channels }
            first += groups
        }
        self.runs = runs
        self.views = views
        self.batch = batch
    }

    /// The run that a view belongs to.
    func run(of view: Int) -> Activation {
        var rest = view
        return runs.first {
            rest -= $0.groups
            return rest < 0
        } ?? runs[0]
    }

    func release(_ workspace: Workspace) { runs.forEach { workspace.give($0) } }
}
