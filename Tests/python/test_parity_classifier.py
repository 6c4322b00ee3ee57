"""Steps of carl.Classifier beside a float64 reference: loss, every gradient, parameters and running statistics. Bounds
as in test_parity_training."""

import numpy as np
import pytest

import carl
from reference.classifier import STATISTICS, Classifier, Settings, cross_entropy
from reference.differences import numeric_gradient, relative_error
from reference.problems import images_of
from reference.resnet import random_state
from test_parity_training import KINK, LATER, NOISE, PASS, UPDATE, assert_close, distance

#: name: (configuration, about the problem)
VARIANTS = {
    "fine-tuned": (dict(learning_rate=0.002, head_learning_rate=0.02, weight_decay=0.1), dict(steps=3)),
    "smoothed, schedule": (
        dict(learning_rate=0.002, head_learning_rate=0.01, label_smoothing=0.2, warmup_steps=1, total_steps=3),
        dict(steps=3, classes=7),
    ),
    "standardised": (dict(learning_rate=0.002, head_learning_rate=0.01), dict(standardised=True, channels=1)),
    "imagenet stem, two images, two classes": (
        dict(learning_rate=0.001, head_learning_rate=0.01),
        dict(stem="imagenet", size=40, batch=2, classes=2),
    ),
    "resnet50": (dict(learning_rate=0.001, head_learning_rate=0.01), dict(encoder="resnet50", width=0.125, batch=8)),
    "one class": (dict(learning_rate=0.001, head_learning_rate=0.01, label_smoothing=0.3), dict(classes=1)),
    "frozen": (dict(freeze_encoder=True, head_learning_rate=0.1, weight_decay=0.01), dict(steps=3)),
    "frozen, one image, standardised": (
        dict(freeze_encoder=True, head_learning_rate=0.1, label_smoothing=0.1),
        dict(batch=1, standardised=True),
    ),
    # More than one part of the encoder's evaluation, the last one smaller.
    "frozen, many images": (dict(freeze_encoder=True, head_learning_rate=0.1), dict(batch=133, size=6, width=0.125)),
}


class Pair:
    """A library classifier and the references, started from the same state."""

    def __init__(
        self,
        name,
        steps=2,
        size=12,
        channels=3,
        width=0.25,
        batch=12,
        classes=5,
        encoder="resnet18",
        stem="small",
        standardised=False,
    ):
        changes, problem = VARIANTS[name]
        self.steps, size = problem.get("steps", steps), problem.get("size", size)
        channels, width, batch = (
            problem.get("channels", channels),
            problem.get("width", width),
            problem.get("batch", batch),
        )
        classes, network = (
            problem.get("classes", classes),
            {"encoder": problem.get("encoder", encoder), "stem": problem.get("stem", stem)},
        )
        rng = np.random.default_rng(2)
        self.images = lambda step: images_of(1, batch, size, channels, seed=step)[0]
        self.labels = lambda step: np.random.default_rng(step).integers(0, classes, batch)
        with carl.Trainer(
            **network, width=width, in_channels=channels, view_size=size, prototypes=2, projector=[2]
        ) as trainer:
            weights = random_state(rng, *network.values(), width, channels)
            trainer.load_state_dict({key: value.astype(np.float32) for key, value in weights.items()}, strict=False)
            self.library = carl.Classifier(trainer, classes, seed=1, **changes)
        if problem.get("standardised", standardised):
            features = self.library.output_width()
            self.library.load_state_dict(
                {
                    "classifier.feature_mean": rng.uniform(-1, 1, features).astype(np.float32),
                    "classifier.feature_deviation": rng.uniform(0.5, 2, features).astype(np.float32),
                },
                strict=False,
            )
        self.start = self.library.state_dict()
        self.settings = Settings(**changes)
        self.exact = Classifier(self.start, self.settings, kink_margin=KINK, **network)
        self.single = Classifier(self.start, self.settings, np.float32, **network)


def split(state):
    return [
        {key: value for key, value in state.items() if key.endswith(STATISTICS) == statistic}
        for statistic in (False, True)
    ]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_step_is_the_reference_s(name):
    """The references take the library's state over before each step and its gradients, once compared, before the
    update."""
    pair = Pair(name)
    with pair.library:
        for step in range(pair.steps):
            before, images, labels = pair.library.state_dict(), pair.images(step), pair.labels(step)
            pair.exact.load(before)
            pair.single.load(before)
            metrics = pair.library.step_batch(images, labels)
            want, rough = pair.exact.forward_backward(images, labels), pair.single.forward_backward(images, labels)
            assert abs(metrics.loss - want[0]) <= NOISE * abs(rough[0] - want[0]) + PASS * abs(want[0]) + 1e-6
            assert metrics.accuracy == pytest.approx(want[1])
            gradients = pair.library.gradients()
            assert_close(
                f"gradients in step {step}",
                gradients,
                pair.single.gradients,
                pair.exact.gradients,
                PASS,
                pair.exact.kinks,
            )
            assert metrics.gradient_norm == pytest.approx(
                np.sqrt(sum(distance(g, 0) ** 2 for g in gradients.values())), rel=1e-5
            )
            pair.exact.update(gradients)
            pair.single.update(gradients)
            got, rough_state, want_state = (
                split(s) for s in (pair.library.state_dict(), pair.single.state, pair.exact.state)
            )
            assert_close(f"update in step {step}", got[0], rough_state[0], want_state[0], UPDATE, origin=before)
            assert_close(
                f"running statistics in step {step}", got[1], rough_state[1], want_state[1], PASS, origin=before
            )
        after = pair.library.state_dict()
        if pair.settings.freeze_encoder:
            assert all(after[key].tobytes() == pair.start[key].tobytes() for key in after if key.startswith("encoder."))
        if "one class" not in name:
            assert distance(after["classifier.weight"], pair.start["classifier.weight"]) > 1e-4


@pytest.mark.parametrize("name", ["fine-tuned", "frozen"])
def test_a_run_follows_the_reference(name):
    """Nothing is taken over after the start."""
    pair = Pair(name)
    pair.exact.kink_margin = None
    with pair.library:
        for step in range(pair.steps):
            images, labels = pair.images(step), pair.labels(step)
            metrics = pair.library.step_batch(images, labels)
            want, rough = pair.exact.step(images, labels), pair.single.step(images, labels)
            assert abs(metrics.loss - want[0]) <= NOISE * abs(rough[0] - want[0]) + LATER * abs(want[0])
        got, rough_state, want_state = (
            split(s) for s in (pair.library.state_dict(), pair.single.state, pair.exact.state)
        )
        assert_close("movement of the parameters", got[0], rough_state[0], want_state[0], LATER, origin=pair.start)
        assert_close(
            "movement of the running statistics", got[1], rough_state[1], want_state[1], LATER, origin=pair.start
        )


@pytest.mark.parametrize(
    ("rows", "classes", "smoothing"), [(1, 1, 0.0), (1, 2, 0.1), (3, 1, 0.5), (4, 5, 0.0), (5, 9, 0.3), (2, 3, 1.0)]
)
def test_the_reference_s_gradient_is_that_of_its_loss(rows, classes, smoothing):
    rng = np.random.default_rng(rows)
    logits, labels = rng.standard_normal((rows, classes)), rng.integers(0, classes, rows)
    _, gradient = cross_entropy(logits, labels, smoothing)
    numerical = numeric_gradient(lambda: cross_entropy(logits, labels, smoothing)[0], logits)
    assert np.linalg.norm(gradient - numerical) <= 1e-8 + 1e-7 * np.linalg.norm(gradient)
    assert relative_error(gradient.sum(1) + 1, np.ones(rows)) < 1e-12


def test_stochastic_depth_of_a_vision_transformer():
    """Branches are left out in a classifier's steps as in the trainer's, by its own seed, and not where it predicts."""
    rng = np.random.default_rng(0)
    config = dict(encoder="vit_tiny", patch_size=4, position_grid=2, views=[{"size": 8, "count": 2}], drop_path=0.7)
    with carl.Trainer(**config, prototypes=2, projector=[2], seed=3) as trainer:
        library = carl.Classifier(trainer, 3, seed=5, learning_rate=0.01, head_learning_rate=0.1)
    settings = Settings(learning_rate=0.01, head_learning_rate=0.1)
    with library:
        library.load_state_dict({"classifier.weight": rng.normal(size=(3, 192)).astype(np.float32)}, strict=False)
        state = library.state_dict()
        exact, single, whole = (
            Classifier(state, settings, dtype, "vit_tiny", drop_path=rate, seed=5)
            for dtype, rate in ((np.float64, 0.7), (np.float32, 0.7), (np.float64, 0.0))
        )
        images = rng.normal(size=(6, 8, 8, 3)).astype(np.float32)
        for step in range(2):
            state, labels = library.state_dict(), rng.integers(0, 3, 6)
            for reference in (exact, single, whole):
                reference.load(state)
            loss = library.step_batch(images, labels).loss
            want, rough, other = (r.forward_backward(images, labels)[0] for r in (exact, single, whole))
            assert loss == pytest.approx(want, rel=1e-5) and abs(loss - other) > 1e-3
            gradients = library.gradients()
            nothing = dict.fromkeys(gradients, 0.0)
            assert_close(f"step {step}", gradients, single.gradients, exact.gradients, PASS, nothing)
            for reference in (exact, single, whole):
                reference.steps += 1
