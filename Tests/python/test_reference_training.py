"""The reference of whole training steps against torch: autograd, torch's optimizers, torchvision's blocks. Skipped
without them."""

import copy
import math

import numpy as np
import pytest

from reference.differences import relative_error
from reference.problems import images_of, initial_state
from reference.trainer import Settings, Trainer

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the networks are tiny: threads would wait for each other
try:
    import peer_torchvision  # noqa: F401  some installations need it before torchvision
except ImportError:
    pass
try:
    from torchvision.models.resnet import BasicBlock, Bottleneck
except Exception:
    pytest.skip("torchvision does not load", allow_module_level=True)

WIDTH, CHANNELS, PROTOTYPES, BATCH = 1 / 16, 2, 9, 6
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


class Encoder(torch.nn.Module):
    """torchvision's blocks in torchvision's order, narrower."""

    def __init__(self, name, stem):
        super().__init__()
        block = Bottleneck if name == "resnet50" else BasicBlock
        into = int(64 * WIDTH)
        imagenet = stem == "imagenet"
        kernel, stride = (7, 2) if imagenet else (3, 1)
        self.conv1 = torch.nn.Conv2d(CHANNELS, into, kernel, stride, kernel // 2, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(into)
        self.pool = torch.nn.MaxPool2d(3, 2, 1) if imagenet else torch.nn.Identity()
        for stage, depth in enumerate(DEPTHS[name]):
            width, blocks = int(64 * WIDTH) << stage, []
            for place in range(depth):
                step = 2 if stage and not place else 1
                out = width * block.expansion
                short = None
                if step != 1 or into != out:
                    short = torch.nn.Sequential(
                        torch.nn.Conv2d(into, out, 1, step, bias=False), torch.nn.BatchNorm2d(out)
                    )
                blocks.append(block(into, width, step, short))
                into = out
            setattr(self, f"layer{stage + 1}", torch.nn.Sequential(*blocks))

    def forward(self, x):
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class Network(torch.nn.Module):
    def __init__(self, settings, features):
        super().__init__()
        self.encoder = Encoder(settings.encoder, settings.stem)
        parts, widths = [], [features, *settings.projector]
        for place, (into, out) in enumerate(zip(widths, widths[1:], strict=False)):
            parts.append(torch.nn.Linear(into, out))
            if place + 2 < len(widths):
                parts += [
                    torch.nn.BatchNorm1d(out),
                    torch.nn.GELU() if settings.projector_activation == "gelu" else torch.nn.ReLU(),
                ]
        self.projector = torch.nn.Sequential(*parts)
        self.prototypes = torch.nn.Linear(widths[-1], PROTOTYPES, bias=False)

    def log_probabilities(self, view, settings):
        z, c = self.projector(self.encoder(view)), self.prototypes.weight
        if settings.normalize_embedding:
            z = torch.nn.functional.normalize(z)
        if settings.normalize_prototypes:
            c = torch.nn.functional.normalize(c)
        return torch.log_softmax(z @ c.T / settings.temperature, 1)


def terms(log_p, log_t, pairs, counted):
    """Mean over pairs of -log sum p t, and KL(mean || uniform) over the `counted` log-probabilities."""
    consistency = sum(-torch.logsumexp(log_p[a] + log_t[b], 1).mean() for a, b in pairs) / len(pairs)
    mean = torch.cat(counted).exp().mean(0)
    return consistency, math.log(PROTOTYPES) + (mean * mean.log()).sum()


CASES = {
    "sgd": (dict(), [10, 10]),
    "imagenet stem": (dict(stem="imagenet"), [33, 33]),
    "resnet34": (dict(encoder="resnet34"), [9, 9]),
    "resnet50, schedules": (
        # Its gradient is large: at a larger rate the two runs part, 100 times as far with each step.
        dict(
            encoder="resnet50",
            learning_rate=1e-3,
            warmup_steps=2,
            total_steps=4,
            prior_weight={"start": 3.0, "end": 1.0, "steps": 2},
        ),
        [10, 10],
    ),
    "three sizes": (dict(), [12, 12, 9, 7]),
    "teacher": (dict(teacher_momentum=0.7, total_steps=3), [10, 10, 8]),
    "teacher, prior over targets": (dict(teacher_momentum=0.7, prior_over_targets=True), [10, 10]),
    "undetached, one-sided, raw": (
        dict(
            stop_gradient=False, symmetric=False, normalize_embedding=False, normalize_prototypes=False, temperature=1.0
        ),
        [9, 9, 9],
    ),
    "adamw, clipped": (dict(optimizer="adamw", learning_rate=1e-3, clip_norm=0.1), [10, 10]),
    "lars, accumulated": (dict(optimizer="lars", learning_rate=1.0, accumulate=2), [10, 10]),
    "gelu, three layers": (dict(projector=[12, 10, 6], projector_activation="gelu"), [9, 9]),
    "one layer": (dict(projector=[6]), [9, 9]),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_follow_torch(name):
    changes, sizes = CASES[name]
    settings = Settings(**{"projector": [12, 8], "temperature": 0.3, "learning_rate": 0.02, **changes})
    state = initial_state(settings, WIDTH, CHANNELS, PROTOTYPES)
    features = state["projector.0.weight"].shape[1]
    model = Network(settings, features).double()
    load(model, state)
    teacher, reference_state = None, dict(state)
    if settings.teacher_momentum:
        other = initial_state(settings, WIDTH, CHANNELS, PROTOTYPES, seed=1)
        teacher = copy.deepcopy(model)
        load(teacher, other)
        reference_state |= {"teacher." + key: value for key, value in other.items()}
    reference = Trainer(reference_state, settings)
    optimizer = make_optimizer(model, settings)
    accumulated = {}
    for step in range(4):
        views = images_of(len(sizes), BATCH, 0, CHANNELS, seed=step, sizes=sizes)
        got = reference.step(views)
        inputs = [torch.tensor(view.transpose(0, 3, 1, 2).astype(np.float64)) for view in views]
        own, targets = [size == sizes[0] for size in sizes], None
        if teacher is not None:
            with torch.no_grad():
                targets = [
                    teacher.log_probabilities(x, settings) for x, large in zip(inputs, own, strict=True) if large
                ]
        log_p = [model.log_probabilities(x, settings) for x in inputs]
        log_t = targets or [
            p.detach() if settings.stop_gradient else p for p, large in zip(log_p, own, strict=True) if large
        ]
        pairs = [(a, b) for a in range(len(sizes)) for b in range(sum(own)) if a != b and (settings.symmetric or a < b)]
        consistency, prior = terms(log_p, log_t, pairs, log_p + (targets if settings.prior_over_targets else []))
        weight = settings.prior_weight
        if isinstance(weight, dict):
            weight = weight["start"] + (weight["end"] - weight["start"]) * min(step / weight["steps"], 1)
        model.zero_grad()
        (consistency + weight * prior).backward()
        assert got.consistency == pytest.approx(consistency.item(), rel=1e-9)
        assert got.prior == pytest.approx(prior.item(), rel=1e-7, abs=1e-10)
        gradients = {key: value.grad.numpy().copy() for key, value in model.named_parameters()}
        whole = math.sqrt(sum((value**2).sum() for value in gradients.values()))
        assert got.gradient_norm == pytest.approx(whole, rel=1e-7)
        for key, value in gradients.items():
            assert np.linalg.norm(reference.gradients[key] - value) <= 1e-7 * np.linalg.norm(value) + 1e-12 * whole, (
                key,
                step,
            )
        accumulated = {key: accumulated.get(key, 0) + value / settings.accumulate for key, value in gradients.items()}
        if (step + 1) % settings.accumulate:
            continue
        for key, parameter in model.named_parameters():
            parameter.grad = torch.tensor(accumulated[key])
        accumulated = {}
        if settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        if settings.optimizer == "lars":
            adapt(model, settings.weight_decay)
        rate = settings.learning_rate
        if step < settings.warmup_steps:
            rate *= (step + 1) / settings.warmup_steps
        elif settings.total_steps:
            run = settings.total_steps - settings.warmup_steps
            rate *= 0.5 * (1 + math.cos(math.pi * min(1, (step - settings.warmup_steps) / run)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        if teacher is not None:
            share = 1 - settings.teacher_momentum
            if settings.total_steps:
                share *= 0.5 * (1 + math.cos(math.pi * min(1, step / settings.total_steps)))
            with torch.no_grad():
                for mine, theirs in zip(teacher.parameters(), model.parameters(), strict=True):
                    mine.lerp_(theirs, share)
    compare(reference.student, model, state)
    if teacher is not None:
        compare(reference.teacher, teacher, other)


def load(model, state):
    given = {key: torch.tensor(value, dtype=torch.float64) for key, value in state.items()}
    missing = model.load_state_dict(given, strict=False)
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys) and not missing.unexpected_keys


def make_optimizer(model, settings):
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(), betas=(settings.momentum, 0.999), weight_decay=settings.weight_decay
        )
    decay = 0 if settings.optimizer == "lars" else settings.weight_decay
    return torch.optim.SGD(model.parameters(), lr=1.0, momentum=settings.momentum, weight_decay=decay)


def adapt(model, decay):
    """LARS before SGD: gradients with decay, of 0.001 times the weight's norm; vectors (biases, batch norms) stay as
    they are."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.grad += decay * parameter
                parameter.grad *= 0.001 * parameter.norm() / parameter.grad.norm()


def compare(got, model, start):
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        want, movement = value.numpy(), value.numpy() - start[key]
        assert got[key].shape == want.shape
        assert (
            not np.any(movement)
            or relative_error(got[key] - start[key], movement) < 2e-6
            or np.abs(got[key] - want).max() < 1e-12
        ), key
