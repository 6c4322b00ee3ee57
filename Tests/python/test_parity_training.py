"""Steps of carl.Trainer beside a float64 reference: both terms, every gradient, parameters and running statistics.

Networks with batch norm amplify rounding, so the bounds are measured: the same reference runs in float32 too, and the library may be a few times as far from
float64 as that is, plus a small share of the value.
"""

import carl
import numpy as np
import pytest
from reference.problems import images_of, initial_state
from reference.trainer import Settings, Trainer

#: How many times the error of the float32 reference, or the effect of ReLU inputs that rounding may put on either side of 0, is allowed.
NOISE = 5
#: ReLU inputs this near to 0 may be on either side: about 100 roundings of a value near 1.
KINK = 1e-5
#: Added: a share of the tensor's own norm, in the first step and once the two have gone their own ways for a step,
FIRST, LATER = 1e-4, 2e-3
#: a share of a parameter's or a running statistic's whole movement,
MOVEMENT = 1e-2
#: and a share of the norm of all tensors together (some gradients, such as that of a bias before a batch norm, are 0 but for rounding).
WHOLE = 1e-6

BASE = dict(
    encoder="resnet18", stem="small", projector=[32, 16], temperature=0.2, prior_weight=2.0, learning_rate=0.002, momentum=0.9,
    weight_decay=0.1,
)
RAMP = {"start": 3.0, "end": 1.0, "steps": 2}

#: name: (configuration on top of BASE, about the problem)
VARIANTS = {
    "sgd": (dict(), dict(steps=4, size=20)),
    "schedules": (dict(warmup_steps=1, total_steps=3, min_learning_rate=1e-3, prior_weight=RAMP), dict(steps=4)),
    "imagenet stem": (dict(stem="imagenet"), dict(size=40)),
    "resnet50": (dict(encoder="resnet50"), dict(steps=2, width=0.125)),
    "lars": (dict(optimizer="lars", learning_rate=1.0), dict()),
    "adamw": (dict(optimizer="adamw", learning_rate=1e-4, weight_decay=2.0), dict()),
    "teacher": (dict(teacher_momentum=0.9), dict()),
    "teacher, prior over targets, towards 1": (
        dict(teacher_momentum=0.5, prior_over_targets=True, total_steps=3), dict(views=3)),
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
        dict(accumulate=2, clip_norm=0.05, optimizer="adamw", learning_rate=1e-4, teacher_momentum=0.9), dict(steps=4)),
    "smaller views": (dict(), dict(sizes=[14, 14, 9, 10])),
    "smaller views, teacher": (dict(teacher_momentum=0.9), dict(sizes=[14, 14, 9])),
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


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_follow_the_reference(name):
    changes, problem = VARIANTS[name]
    follow({**BASE, **changes}, **problem)


def follow(config, *, steps=3, views=2, size=12, sizes=None, channels=3, width=0.25, batch=16, own_weights=False):
    prototypes = 11
    trainer = carl.Trainer(config, width=width, in_channels=channels, prototypes=prototypes, seed=5)
    zero_init = config.pop("zero_init_residual", None)
    assert (zero_init is not None) == own_weights
    settings = Settings(**config)
    if not own_weights:
        state = initial_state(settings, width, channels, prototypes)
        if settings.teacher_momentum:
            # A teacher that is not the student, as in the middle of a run.
            other = initial_state(settings, width, channels, prototypes, seed=1)
            state |= {"teacher." + key: (0.7 * value + 0.3 * other[key]).astype(np.float32) for key, value in state.items()}
        trainer.load_state_dict(state)
    start = trainer.state_dict()
    exact, single = Trainer(start, settings, kink_margin=KINK), Trainer(start, settings, np.float32)
    for step in range(steps):
        batches = images_of(views, batch, size, channels, seed=step, sizes=sizes)
        metrics = trainer.step_views(batches)
        want, rough = exact.step(batches), single.step(batches)
        share = LATER if step else FIRST
        for term in ("loss", "consistency", "prior", "gradient_norm"):
            value = getattr(want, term)
            bound = NOISE * abs(getattr(rough, term) - value) + share * abs(value) + 1e-6
            if term == "gradient_norm":
                bound += NOISE * sum(exact.kinks.values())
            assert abs(getattr(metrics, term) - value) <= bound, f"{term} in step {step}"
        assert metrics.learning_rate == pytest.approx(want.learning_rate, rel=1e-6)
        assert_close(f"gradients in step {step}", trainer.gradients(), single.gradients, exact.gradients, share, exact.kinks)
    got, rough, want = trainer.state_dict(), single.state, exact.state
    assert got.keys() == want.keys()
    for statistic in (False, True):
        part = lambda state: {key: value for key, value in state.items() if is_statistic(key) == statistic}
        what = "running statistics" if statistic else "movement of the parameters"
        assert_close(what, part(got), part(rough), part(want), MOVEMENT, origin=start)
    if not settings.accumulate > 1:
        assert distance(want["prototypes.weight"], start["prototypes.weight"]) > 0
