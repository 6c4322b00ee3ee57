"""Steps of carl.Trainer beside a float64 reference: both terms, every gradient, parameters and running statistics.

A network with batch norm amplifies rounding, and a ReLU whose input is within rounding of 0 may pass its gradient in
one program and not in the other. So bounds are measured: the reference runs in float32 too, and reports how much the
ReLU inputs near 0 matter; the library may be a few times as far off.
"""

import numpy as np
import pytest

import carl
from reference.problems import images_of, initial_state
from reference.trainer import Settings, Trainer

#: How many times the error of the float32 reference, or the effect of ReLU inputs that rounding may put on either side
#: of 0, is allowed.
NOISE = 5
#: ReLU inputs this near to 0 may be on either side: convolutions by Winograd's transforms are that far off where values
#: are near 1.
KINK = 1e-4
#: Added: a share of the tensor's own norm for what one forward and backward pass gives,
PASS = 1e-4
#: for the movement of a parameter that a gradient known to both gives,
UPDATE = 1e-4
#: for all of it after several steps without meeting in between,
LATER = 2e-2
#: and a share of the norm of all tensors together (some gradients, such as that of a bias before a batch norm, are 0
#: but for rounding).
WHOLE = 1e-6

BASE = dict(
    objective="carl",
    optimizer="sgd",
    encoder="resnet18",
    stem="small",
    projector=[32, 16],
    temperature=0.2,
    prior_weight=2.0,
    learning_rate=0.002,
    momentum=0.9,
    weight_decay=0.1,
    trust_coefficient=0.001,
)
RAMP = {"start": 3.0, "end": 1.0, "steps": 2}

#: name: (configuration on top of BASE, about the problem)
VARIANTS = {
    "sgd": (dict(), dict(steps=3, size=20)),
    "schedules": (dict(warmup_steps=1, total_steps=3, min_learning_rate=1e-3, prior_weight=RAMP), dict(steps=4)),
    "imagenet stem": (dict(stem="imagenet"), dict(size=40)),
    "resnet50": (dict(encoder="resnet50"), dict(steps=2, width=0.125)),
    # Norms and biases take the whole rate: 1, as of a run with large batches, would send them anywhere.
    "lars": (dict(optimizer="lars", learning_rate=0.1), dict()),
    "lars, trust": (dict(optimizer="lars", learning_rate=0.01, trust_coefficient=0.02), dict()),
    "contrast": (dict(contrast_weight=1.0), dict()),
    "contrast that falls, three views, temperature": (
        dict(contrast_weight={"start": 2.0, "end": 0.0, "steps": 2}, contrast_temperature=0.5),
        dict(steps=3, views=3),
    ),
    "contrast, teacher, smaller views": (dict(contrast_weight=0.5, teacher_momentum=0.9), dict(sizes=[14, 14, 9])),
    "contrast, not normalised": (dict(contrast_weight=1.0, normalize_embedding=False, temperature=1.0), dict()),
    "adamw": (dict(optimizer="adamw", learning_rate=1e-4, weight_decay=2.0), dict()),
    "teacher": (dict(teacher_momentum=0.9), dict()),
    "teacher, prior over targets, towards 1": (
        dict(teacher_momentum=0.5, prior_over_targets=True, total_steps=3),
        dict(steps=3, views=3),
    ),
    "gelu": (dict(projector_activation="gelu"), dict()),
    "one layer": (dict(projector=[16]), dict()),
    "three layers": (dict(projector=[24, 40, 12], projector_activation="gelu"), dict()),
    "three views": (dict(), dict(views=3, channels=1)),
    "undetached": (dict(stop_gradient=False), dict()),
    "one-sided": (dict(symmetric=False), dict(channels=5)),
    "not normalised": (dict(normalize_embedding=False, normalize_prototypes=False, temperature=1.0), dict()),
    "accumulate": (dict(accumulate=2), dict(steps=4)),
    "clip": (dict(clip_norm=0.05), dict()),
    "accumulate, clip, adamw, teacher": (
        dict(accumulate=2, clip_norm=0.05, optimizer="adamw", learning_rate=1e-4, teacher_momentum=0.9),
        dict(steps=4),
    ),
    "smaller views": (dict(), dict(sizes=[14, 14, 9, 10])),
    "smaller views, teacher": (dict(teacher_momentum=0.9), dict(sizes=[14, 14, 9])),
    "partitions": (dict(partition_size=4), dict()),
    "partitions, undetached, temperature": (
        dict(partition_size=3, stop_gradient=False, temperature={"start": 0.4, "end": 0.2, "steps": 2}),
        dict(steps=3, views=3),
    ),
    "carp": (
        dict(
            partition_size=5,
            teacher_momentum=0.9,
            prior_over_targets=True,
            normalize_embedding=False,
            temperature=1.0,
            prior_weight=1.0,
            projector=[24, 20, 12],
            projector_activation="gelu",
            optimizer="lars",
            learning_rate=0.1,
        ),
        dict(sizes=[14, 14, 10, 10, 10]),
    ),
    "recomputed": (dict(recompute=True), dict(views=3)),
    "recomputed, smaller views, teacher": (dict(recompute=True, teacher_momentum=0.9), dict(sizes=[14, 14, 9, 9])),
    "last block": (dict(train_encoder=1), dict(own_weights=True)),
    "last two blocks, teacher, adamw": (
        dict(train_encoder=2, teacher_momentum=0.9, optimizer="adamw", learning_rate=1e-4, layer_decay=0.5),
        dict(),
    ),
    "last three blocks, lars, smaller views": (
        dict(train_encoder=3, optimizer="lars", learning_rate=0.1, layer_decay=0.7),
        dict(sizes=[14, 14, 9]),
    ),
    "all blocks but the stem, imagenet": (dict(train_encoder=8, stem="imagenet"), dict(size=40)),
    "last blocks of resnet50, recomputed": (
        dict(encoder="resnet50", train_encoder=2, recompute=True),
        dict(steps=2, width=0.125),
    ),
    "no block": (dict(train_encoder="none"), dict()),
    "no block, accumulate, clip, teacher": (
        dict(train_encoder="none", accumulate=2, clip_norm=0.05, teacher_momentum=0.9),
        dict(steps=4),
    ),
    "layer decay": (dict(layer_decay=0.6), dict()),
    "layer decay, adamw, teacher": (
        dict(layer_decay=0.8, optimizer="adamw", learning_rate=1e-4, weight_decay=2.0, teacher_momentum=0.9),
        dict(),
    ),
    "own weights": (dict(zero_init_residual=False), dict(own_weights=True)),
    "own weights, zero residuals": (dict(zero_init_residual=True), dict(own_weights=True)),
}


def distance(a, b):
    return float(np.linalg.norm((np.asarray(a, np.float64) - b).ravel()))


def assert_close(what, got, single, exact, share, kinks=None, origin=None):
    """Dicts of the library, the float32 and the float64 reference; `origin`: values to take the differences from."""
    assert got.keys() == exact.keys()
    size = {key: distance(value, 0.0 if origin is None else origin[key]) for key, value in exact.items()}
    whole = np.sqrt(sum(norm**2 for norm in size.values()))
    wrong = []
    for key, value in exact.items():
        assert got[key].shape == value.shape, key
        error, noise = distance(got[key], value), distance(single[key], value)
        kink = kinks[key] if kinks else 0.0
        if not error <= NOISE * max(noise, kink) + share * size[key] + WHOLE * whole:
            wrong.append(f"{key}: error {error:.3g}, float32 noise {noise:.3g}, kinks {kink:.3g}, norm {size[key]:.3g}")
    assert not wrong, f"{what}: {len(wrong)} of {len(exact)} tensors\n" + "\n".join(wrong)


def is_statistic(key):
    return key.endswith((".running_mean", ".running_var"))


def split(state):
    """Parameters and running statistics."""
    return [
        {key: value for key, value in state.items() if is_statistic(key) == statistic} for statistic in (False, True)
    ]


def assert_same_terms(metrics, want, rough, share, step):
    for term in ("loss", "consistency", "prior"):
        value = getattr(want, term)
        bound = NOISE * abs(getattr(rough, term) - value) + share * abs(value) + 1e-6
        assert abs(getattr(metrics, term) - value) <= bound, f"{term} in step {step}"
    assert metrics.learning_rate == pytest.approx(want.learning_rate, rel=1e-6)


class Pair:
    """A library trainer and the references, started from the same state."""

    def __init__(
        self, name, steps=2, views=2, size=12, sizes=None, channels=3, width=0.25, batch=16, own_weights=False
    ):
        changes, problem = VARIANTS[name]
        config = {**BASE, **changes}
        width, channels = problem.get("width", width), problem.get("channels", channels)
        own_weights = problem.get("own_weights", own_weights)
        self.steps = problem.get("steps", steps)
        self.images = lambda step: images_of(
            problem.get("views", views),
            batch,
            problem.get("size", size),
            channels,
            seed=step,
            sizes=problem.get("sizes", sizes),
        )
        prototypes = 11
        config["seed"] = 5
        self.library = carl.Trainer(config, width=width, in_channels=channels, prototypes=prototypes)
        config.pop("zero_init_residual", None)
        self.settings = Settings(**config)
        if not own_weights:
            self.library.load_state_dict(self._state(width, channels, prototypes))
        self.start = self.library.state_dict()
        self.exact = Trainer(self.start, self.settings, kink_margin=KINK)
        self.single = Trainer(self.start, self.settings, np.float32)

    def _state(self, width, channels, prototypes):
        state = initial_state(self.settings, width, channels, prototypes)
        if self.settings.teacher_momentum:
            # A teacher that is not the student, as in the middle of a run.
            other = initial_state(self.settings, width, channels, prototypes, seed=1)
            state |= {
                "teacher." + key: (0.7 * value + 0.3 * other[key]).astype(np.float32) for key, value in state.items()
            }
        return state


@pytest.mark.parametrize("name", VARIANTS)
def test_every_step_is_the_reference_s(name):
    """The references take the library's state over before each step and its gradients, once compared, before the
    update: no ReLU can stand between the two. The moments are the references' own."""
    pair = Pair(name)
    for step in range(pair.steps):
        before, images = pair.library.state_dict(), pair.images(step)
        pair.exact.load(before)
        pair.single.load(before)
        metrics = pair.library.step_views(images)
        want, rough = pair.exact.forward_backward(images), pair.single.forward_backward(images)
        assert_same_terms(metrics, want, rough, PASS, step)
        gradients = pair.library.gradients()
        assert_close(
            f"gradients in step {step}", gradients, pair.single.gradients, pair.exact.gradients, PASS, pair.exact.kinks
        )
        norm = np.sqrt(sum(distance(gradient, 0) ** 2 for gradient in gradients.values()))
        assert metrics.gradient_norm == pytest.approx(norm, rel=1e-5)
        pair.exact.update(gradients)
        pair.single.update(gradients)
        got, rough, want = (split(state) for state in (pair.library.state_dict(), pair.single.state, pair.exact.state))
        assert_close(f"update in step {step}", got[0], rough[0], want[0], UPDATE, origin=before)
        assert_close(f"running statistics in step {step}", got[1], rough[1], want[1], PASS, origin=before)
    assert distance(pair.library.state_dict()["prototypes.weight"], pair.start["prototypes.weight"]) > 1e-4


@pytest.mark.parametrize(
    "name", ["sgd", "undetached", "teacher", "lars", "last two blocks, teacher, adamw", "no block", "layer decay"]
)
def test_a_run_follows_the_reference(name):
    """Nothing is taken over after the start."""
    pair = Pair(name)
    pair.exact.kink_margin = None
    for step in range(max(pair.steps, 3)):
        images = pair.images(step)
        metrics = pair.library.step_views(images)
        assert_same_terms(metrics, pair.exact.step(images), pair.single.step(images), LATER if step else PASS, step)
    got, rough, want = (split(state) for state in (pair.library.state_dict(), pair.single.state, pair.exact.state))
    assert_close("movement of the parameters", got[0], rough[0], want[0], LATER, origin=pair.start)
    assert_close("movement of the running statistics", got[1], rough[1], want[1], LATER, origin=pair.start)
