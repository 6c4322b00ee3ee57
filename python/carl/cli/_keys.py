"""The parameters of ``carl train``: what each is, for the help, and as options besides key=value."""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

#: All parameters of carl.CARL, by what they are about. docs/configuration.md says more.
KEYS: dict[str, dict[str, str]] = {
    "encoder": {
        "encoder": "resnet18, resnet34 or resnet50",
        "stem": "small (below 64 pixels) or imagenet",
        "width": "factor on the numbers of channels, such as 0.25",
        "in_channels": "channels of the images; default: theirs",
        "zero_init_residual": "true or false",
    },
    "head and assignment": {
        "projector": "widths of the head's layers, such as [512,128]",
        "projector_activation": "relu or gelu",
        "prototypes": "their number, K (128; 300 with objective=carl)",
        "objective": "carl-contrast, carl or carp: a name for defaults (carl-contrast)",
        "temperature": "of the softmax (0.1), or {\"start\": a, \"end\": b, \"steps\": n}",
        "prior_weight": "lambda, or as temperature; default: by the number of prototypes (2.5 for 128)",
        "contrast_weight": "of the contrast between images (4; 0 with objective=carl or carp), or as temperature",
        "contrast_temperature": "of that contrast (0.1)",
        "partition_size": "prototypes in a block; 0: one softmax over all",
        "teacher_momentum": "above 0: targets come from a moving average",
        "normalize_embedding": "true or false",
        "normalize_prototypes": "true or false",
        "stop_gradient": "true or false",
        "symmetric": "true or false",
        "prior_over_targets": "true or false",
        "freeze_prototypes": "steps at the beginning without changes of the prototypes",
        "used_window": "steps over which used prototypes are counted (100)",
    },
    "optimization": {
        "budget": "how long the run may take, such as 20m: chooses sizes and epochs",
        "memory": "what the process may hold, such as 4G",
        "epochs": "times through the images (100)",
        "batch_size": "images of a step (128)",
        "optimizer": "lars, sgd or adamw (lars)",
        "learning_rate": "the value used; the default follows the batch size (0.2 for 128 images)",
        "min_learning_rate": "at the end of the schedule",
        "momentum": "of sgd and lars; of adamw the first beta (0.9)",
        "weight_decay": "of the optimizer",
        "trust_coefficient": "of lars (0.02)",
        "schedule": "cosine, trapezoid or constant",
        "warmup_steps": "steps of linear warm-up; default: a twentieth of all",
        "total_steps": "of the schedule; default: those of all epochs",
        "decay_steps": "of a trapezoid: the last steps, in which the rate falls",
        "clip_norm": "largest norm of the gradient",
        "accumulate": "steps whose gradients are summed",
        "seed": "of everything random (0)",
        "threads": "default: all processors",
        "recompute": "true: less memory, more time",
    },
    "images": {
        "view_size": "pixels of the views; default: the images' shorter side, at most 224",
        "views": "a preset's name or a list of specifications",
        "on_error": "skip or raise: an image that cannot be read (skip)",
        "max_broken": "largest share of such images, 0 .. 1 (0.05)",
        "cache": "a folder for decoded images of reduced size",
        "cache_size": "pixels of the shorter side there",
    },
    "run": {
        "checkpoint_every": "steps between checkpoints within an epoch; one is written after each epoch in any case",
        "eval_every": "500 or '500 steps' or '2 epochs', with --eval; default: every epoch",
        "run_dir": "the run folder: --out on the command line",
        "progress": "the progress bar: --quiet on the command line",
        "callbacks": "loggers: --logger on the command line",
    },
}


def names() -> list[str]:
    return [key for group in KEYS.values() for key in group]


def text() -> str:
    """All keys, a line each, for the help."""
    width = max(map(len, names())) + 2
    lines = ["parameters, as key=value or --key value (docs/configuration.md says more):"]
    for group, keys in KEYS.items():
        lines.append(f"  {group}")
        for key, what in keys.items():
            lines += textwrap.wrap(f"{key:<{width}}{what}", 100, initial_indent=" " * 4, subsequent_indent=" " * (4 + width))
    return "\n".join(lines)


def add_options(parser: Any) -> None:
    """--key value for every key=value, with dashes or underscores. The help lists the keys once, not as options too."""
    parser.set_defaults(options=[])
    for key in names():
        forms = dict.fromkeys([f"--{key.replace('_', '-')}", f"--{key}"])
        parser.add_argument(*forms, dest=key, action=_Option, metavar="VALUE", help=argparse.SUPPRESS, default=argparse.SUPPRESS)


class _Option(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        # A new list: the default one is shared by all calls of the parser.
        namespace.options = [*namespace.options, f"{self.dest}={values}"]
