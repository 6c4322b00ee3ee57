"""Configurations of small models, and what it would cost to use one."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

#: Float operations beyond which a call is left out as too long, and bytes from which no machine could serve it.
TOO_LONG, IMPOSSIBLE = 2e9, 1 << 38

#: The plainest call that makes an object of a kind.
KINDS_MADE_BY = {
    "trainer": "carl_trainer_create",
    "encoder": "carl_encoder_from_trainer",
    "classifier": "carl_classifier_create",
}


@dataclass
class Handle:
    """A live object of the library."""

    kind: str  #: "trainer", "encoder" or "classifier"
    value: int
    config: dict[str, Any]  #: complete, of the encoder
    own: dict[str, Any] = field(default_factory=dict)  #: a classifier's own
    names: list[tuple[str, int]] = field(default_factory=list)  #: tensors with their numbers of values
    widths: dict[int, int] = field(default_factory=dict)  #: values an image, by output

    @property
    def channels(self) -> int:
        return int(self.config["in_channels"])

    @property
    def view_sizes(self) -> list[int]:
        views = self.config["views"]
        if isinstance(views, str):
            return [int(self.config["view_size"])] * 2 + (
                [int(self.config["view_size"])] * 6 if views == "multicrop" else []
            )
        return [int(view["size"]) for view in views for _ in range(int(view["count"]))]

    def step_bytes(self) -> int:
        """What a step or an embedding of some images may take at most: its activations, and the parameters as often as
        they are held."""
        try:
            side = max([*self.view_sizes, int(self.own.get("view", {}).get("size", 1))])
            pixels = 20 * len(self.view_sizes) * side**2
            channels = 64 * float(self.config["width"]) * {"resnet18": 1, "resnet34": 1}.get(
                self.config["encoder"], 4
            ) + int(self.config["in_channels"])
            parameters = int(self.config["prototypes"]) * self.config["projector"][-1] + sum(
                count for _, count in self.names
            )
            return int(4 * (100 * pixels * channels + 10 * parameters + 200 * int(self.config["prototypes"])))
        except (KeyError, TypeError, ValueError, IndexError):
            return 0


def trainer_config(random: random.Random, diverging: bool = False) -> dict[str, Any]:
    """A valid configuration that takes milliseconds a step; `diverging` ones leave the finite numbers soon."""
    choose = random.choice
    prototypes = choose([1, 2, 5, 7, 8, 9, 12, 13, 17, 31, 100])
    config: dict[str, Any] = {
        "width": choose([1 / 64, 1 / 64, 1 / 64, 1 / 32, 3 / 64, 1 / 8]),
        "prototypes": prototypes,
        "projector": choose([[4, 3], [3], [8, 8], [5, 1], [9, 6, 4]]),
        "threads": choose([1, 1, 2, 2, 3, 0]),
    }
    if random.random() < 0.8:
        config["view_size"] = choose([4, 7, 8, 8, 9, 12, 16])
        config["views"] = choose(["auto", "auto", "weak", "gray", "multicrop", "byol"])
    else:
        config["views"] = [
            {"size": choose([5, 8, 11])},
            {"size": choose([4, 8]), "count": choose([1, 2, 3]), "blur_p": 1, "solarize": 0.5},
        ]
    if random.random() < 0.4:
        config["partition_size"] = random.randint(1, prototypes)
    if random.random() < 0.4:
        config["teacher_momentum"] = choose([0.5, 0.99, 1])
        config["prior_over_targets"] = random.random() < 0.5
    options: list[tuple[str, list[Any]]] = [
        ("in_channels", [1, 2, 5]),
        ("accumulate", [2, 3]),
        ("recompute", [True]),
        ("optimizer", ["lars", "adamw"]),
        ("stem", ["small", "imagenet"]),
        ("objective", ["carp"]),
        ("encoder", ["resnet18", "resnet34", "resnet50"]),
        ("projector_activation", ["gelu"]),
        ("stop_gradient", [False]),
        ("symmetric", [False]),
        ("normalize_embedding", [False]),
        ("normalize_prototypes", [False]),
        ("clip_norm", [1e-3, 1, 1e12]),
        ("temperature", [1e-3, 1, {"start": 1, "end": 0.1, "steps": 3}]),
        ("prior_weight", [0, 1e3, {"start": 0, "end": 2, "steps": 2}]),
        ("used_window", [1, 2]),
        ("freeze_prototypes", [2]),
        ("total_steps", [1, 4]),
        ("learning_rate", [0, 1e-3, 0.5, 1e6]),
        ("seed", [1, 2**53]),
        ("zero_init_residual", [False]),
        ("weight_decay", [0, 1e3]),
        ("train_encoder", ["none", 1, 3]),
        ("layer_decay", [0.5]),
        ("mean", [[0.5]]),
        ("threads", [5, 64, 1024]),
    ]
    for key, values in random.sample(options, random.choice([0, 0, 1, 2, 3])):
        config[key] = choose(values)
    if diverging:
        config["learning_rate"] = choose([1e4, 1e6])
    if config.get("objective") == "carp" and "learning_rate" not in config:
        config["learning_rate"] = choose([0.1, 1e6])
    if config["views"] == "multicrop" and config.get("view_size", 8) < 8:
        config["view_size"] = 8
    return config


def classifier_config(random: random.Random) -> dict[str, Any]:
    config: dict[str, Any] = {"classes": random.choice([1, 2, 3, 7, 10, 17])}
    options: list[tuple[str, list[Any]]] = [
        ("freeze_encoder", [True]),
        ("from_scratch", [True]),
        ("label_smoothing", [0.1, 1]),
        ("head_learning_rate", [0, 1e6]),
        ("momentum", [0, 0.5]),
        ("weight_decay", [0, 1e3]),
        ("total_steps", [1, 5]),
        ("warmup_steps", [2]),
        ("view", [{"size": 6}, {"flip": 1, "jitter": [1, 1, 1, 0.5]}]),
        ("threads", [1, 2, 64]),
        ("seed", [5]),
    ]
    for key, values in random.sample(options, random.choice([0, 1, 2, 3])):
        config[key] = random.choice(values)
    if not config.get("freeze_encoder") and random.random() < 0.3:
        config["learning_rate"] = random.choice([0, 0.01, 1e6])
    config.setdefault("threads", random.choice([1, 2]))
    return config


def view_spec(random: random.Random) -> Any:
    """A valid "views" value of small views."""
    choose = random.choice
    if random.random() < 0.3:
        return choose(["simclr", "byol", "multicrop", "weak", "gray", "auto"])

    def one() -> dict[str, Any]:
        options: dict[str, list[Any]] = {
            "size": [1, 2, 5, 8, 17],
            "scale": [[1e-6, 1e-6], [0.2, 1], [1, 1]],
            "ratio": [[1e-3, 1e3], [1, 1]],
            "interpolation": ["bilinear", "bicubic"],
            "flip": [0, 1],
            "jitter": [[0.4, 0.4, 0.2, 0.1], [10, 10, 10, 0.5]],
            "jitter_p": [1],
            "gray": [1],
            "blur": [[1e-3, 1e3], [1, 1]],
            "blur_p": [1],
            "blur_kernel": [1, 3, 99, 8191],
            "solarize": [1],
            "mean": [[0.5], [-1e6]],
            "std": [[1e-6], [1e6]],
            "count": [1, 2, 3],
        }
        return {key: choose(options[key]) for key in random.sample(sorted(options), random.randrange(len(options)))}

    return one() if random.random() < 0.5 else [one() for _ in range(random.randint(1, 3))]


def too_long(config: dict[str, Any], images: int, sizes: list[int]) -> bool:
    """Whether a call on so many images would take too long to wait for, without being so large that it has to be
    refused at once."""
    try:
        channels = 64 * float(config["width"])
        pixels = images * sum(size * size for size in sizes)
        depth = {"resnet18": 1, "resnet34": 2}.get(config["encoder"], 3)
        prototypes = int(config["prototypes"]) * max(config["projector"])
        projector = sum(a * b for a, b in zip([channels * 8, *config["projector"]], config["projector"]))
        inputs = int(config["in_channels"])
    except (KeyError, TypeError, ValueError):
        return True
    work = (
        pixels * (1000 * depth * channels**2 + 100 * channels * inputs + 1000 * inputs)
        + images * len(sizes) * (prototypes + projector) * 10
    )
    work += 100 * prototypes + 1e4 * channels**2 * 64 * depth / 64
    return work > TOO_LONG and pixels * channels * 4 < IMPOSSIBLE
