"""Steps of whole networks against the float64 reference, tightly: no ReLU has an input near its kink (see
reference.kinks)."""

import numpy as np
import pytest

import carl
from reference.kinks import Margin, settled_state
from reference.problems import images_of
from reference.trainer import Settings, Trainer

#: An error may be as large as NOISE times that of the float32 reference, plus this share of the tensor's norm:
#: Winograd's transforms round more coarsely than sums of products do. The largest error seen in three of these problems
#: was 1.3e-4 of a tensor's norm.
NOISE, SHARE = 5, 2e-4
#: And this share of the norm of all tensors: some gradients, such as that of a bias before a batch norm, are 0 but for
#: rounding.
WHOLE = 1e-7
#: How near to 0 a ReLU's input may be: the values around it are of size 1 to 10.
APART = 0.1

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
)

#: name: (configuration on top of BASE, about the problem)
VARIANTS = {
    "resnet18": (dict(), dict()),
    "resnet18, imagenet stem": (dict(stem="imagenet"), dict(size=40)),
    "resnet18, one channel": (dict(), dict(channels=1, size=13)),
    "resnet34": (dict(encoder="resnet34"), dict(steps=2, width=0.125)),
    "resnet50": (dict(encoder="resnet50"), dict(width=0.125)),
    "resnet50, imagenet stem, five channels": (
        dict(encoder="resnet50", stem="imagenet"),
        dict(channels=5, size=36, width=0.125),
    ),
    "one layer": (dict(projector=[16]), dict(steps=2)),
    "three layers, gelu": (dict(projector=[24, 40, 12], projector_activation="gelu"), dict(steps=2)),
    "three views": (dict(), dict(views=3)),
    "undetached": (dict(stop_gradient=False), dict(steps=2)),
    "contrast": (dict(contrast_weight=1.0), dict()),
    "partitions": (dict(partition_size=4), dict()),
    "carp": (
        dict(
            partition_size=5,
            teacher_momentum=0.9,
            prior_over_targets=True,
            normalize_embedding=False,
            temperature=1.0,
            prior_weight=1.0,
            projector=[24, 40, 12],
            projector_activation="gelu",
        ),
        dict(sizes=[14, 14, 9, 9, 9], steps=2),
    ),
    "recomputed": (dict(recompute=True, teacher_momentum=0.9), dict(sizes=[14, 14, 9, 9], steps=2)),
    "one-sided": (dict(symmetric=False), dict(steps=2, views=3)),
    "not normalised": (dict(normalize_embedding=False, normalize_prototypes=False, temperature=1.0), dict(steps=2)),
    "prior alone": (dict(prior_weight=1e4, learning_rate=1e-6), dict(steps=2)),
    "no prior": (dict(prior_weight=0.0), dict(steps=2)),
    "smaller views": (dict(), dict(sizes=[14, 14, 9, 10])),
    "smaller views, teacher": (dict(teacher_momentum=0.9, prior_over_targets=True), dict(sizes=[14, 14, 9])),
}


def distance(a, b):
    return float(np.linalg.norm((np.asarray(a, np.float64) - b).ravel()))


def assert_close(what, got, single, exact, origin=None):
    """Dicts of the library, the float32 and the float64 reference; `origin`: values to take the differences from."""
    assert got.keys() == exact.keys()
    size = {key: distance(value, 0.0 if origin is None else origin[key]) for key, value in exact.items()}
    whole = np.sqrt(sum(norm**2 for norm in size.values()))
    wrong = []
    for key, value in exact.items():
        error, noise = distance(got[key], value), distance(single[key], value)
        if not error <= NOISE * noise + SHARE * size[key] + WHOLE * whole:
            wrong.append(f"{key}: error {error:.3g}, float32 noise {noise:.3g}, norm {size[key]:.3g}")
    assert not wrong, f"{what}: {len(wrong)} of {len(exact)} tensors\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_follow_the_reference(name):
    changes, problem = VARIANTS[name]
    follow({**BASE, **changes}, **problem)


def follow(config, *, steps=3, views=2, size=16, sizes=None, channels=3, width=0.25, batch=16, prototypes=11):
    settings = Settings(**config)
    state = settled_state(settings, width, channels, prototypes)
    if settings.teacher_momentum:
        state |= {
            "teacher." + key: value
            for key, value in settled_state(settings, width, channels, prototypes, seed=1).items()
        }
    trainer = carl.Trainer(config, width=width, in_channels=channels, prototypes=prototypes)
    trainer.load_state_dict(state)
    start = trainer.state_dict()
    exact, single = Trainer(start, settings), Trainer(start, settings, np.float32)
    for step in range(steps):
        batches = images_of(views, batch, size, channels, seed=step, sizes=sizes)
        metrics = trainer.step_views(batches)
        with Margin() as margin:
            want = exact.step(batches)
        rough = single.step(batches)
        assert margin.smallest > APART and margin.on > margin.off > 0
        for term in ("loss", "consistency", "prior", "gradient_norm"):
            value = getattr(want, term)
            bound = NOISE * abs(getattr(rough, term) - value) + 2e-5 * abs(value) + 1e-6
            assert abs(getattr(metrics, term) - value) <= bound, f"{term} in step {step}"
        assert_close(f"gradients in step {step}", trainer.gradients(), single.gradients, exact.gradients)
    got, rough, want = trainer.state_dict(), single.state, exact.state
    statistics = {key for key in want if key.endswith((".running_mean", ".running_var"))}
    for what, keys in (("running statistics", statistics), ("movement of the parameters", want.keys() - statistics)):
        part = lambda values: {key: values[key] for key in want if key in keys}
        # Stored as float32, a small movement of a large value is coarse: the float32 reference's error, and so the
        # bound, contains that.
        assert_close(what, part(got), part(rough), part(want), origin=start)
