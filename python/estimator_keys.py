"""The parameters of ``carl.CARL`` that are no keys of the trainer's configuration, in the form of the schema's; for
generate.py.

annotation: the parameter's type. option: of `carl train`, in the place of a parameter that is Python's alone. The group
    is its table in docs/configuration.md.
"""

from __future__ import annotations

from typing import Any

PATH = "str | os.PathLike[str] | None"

KEYS: list[dict[str, Any]] = [
    {
        "name": "weights",
        "group": "run",
        "annotation": PATH,
        "default": None,
        "default_text": "random weights",
        "range": "a safetensors file",
        "doc": "where the encoder begins: weights that another program has trained (torchvision, timm, DINOv2, "
        "transformers); the encoder's keys, `mean` and `std` are then the file's",
    },
    {
        "name": "feature_views",
        "group": "run",
        "annotation": "int",
        "default": 8,
        "kind": "integer",
        "minimum": 0,
        "maximum": 1024,
        "doc": 'with `train_encoder` `"none"`: views of each image whose features are computed once and kept for all '
        "epochs; 0 computes those of new views in every step",
    },
    {
        "name": "budget",
        "group": "run",
        "annotation": "float | str | None",
        "default": None,
        "range": 'text such as `"20m"` or `"1h30m"`, or seconds',
        "doc": "how long `fit` may take, all told: sizes and the number of epochs are chosen for it",
    },
    {
        "name": "memory",
        "group": "run",
        "annotation": "int | str | None",
        "default": None,
        "default_text": "no limit; with `budget` the free memory",
        "range": 'text such as `"4G"`, or bytes',
        "doc": "what the process may hold: smaller batches, `recompute` and smaller views are chosen, in this order",
    },
    {
        "name": "value_range",
        "group": "run",
        "annotation": "tuple[float, float] | list[float] | None",
        "default": None,
        "default_text": "bytes as they are, uint16 divided by 256, others are an error",
        "range": "two numbers, `[low, high]`",
        "doc": "the values that become black and white in images whose pixels are no bytes",
    },
    {
        "name": "on_error",
        "group": "run",
        "annotation": "str",
        "default": "skip",
        "kind": "choice",
        "choices": ["skip", "raise"],
        "doc": "what happens to an image that cannot be read while training: the next one takes its place, or an error "
        "names it.",
    },
    {
        "name": "max_broken",
        "group": "run",
        "annotation": "float",
        "default": 0.05,
        "kind": "number",
        "minimum": 0,
        "maximum": 1,
        "doc": 'largest share of the images that `"skip"` tolerates',
    },
    {
        "name": "cache",
        "group": "run",
        "annotation": PATH,
        "default": None,
        "range": "a folder",
        "doc": "keeps decoded images of reduced size, made by the first fit and read by all later ones",
    },
    {
        "name": "cache_size",
        "group": "run",
        "annotation": "int | None",
        "default": None,
        "kind": "integer",
        "minimum": 1,
        "maximum": 65535,
        "default_text": "8/7 of the largest view",
        "doc": "pixels of the shorter side in the cache",
    },
    {
        "name": "keep_images",
        "group": "run",
        "annotation": "bool",
        "default": True,
        "kind": "boolean",
        "doc": "keeps decoded images in memory, up to a quarter of what is free, so that later epochs need not decode "
        "them again; the same pixels as without",
    },
    {
        "name": "run_dir",
        "group": "run",
        "annotation": PATH,
        "default": None,
        "range": "a folder",
        "doc": "of Python alone: where configuration, metrics, log and checkpoints are written; "
        "`carl train` has `--out`",
        "option": "--out",
    },
    {
        "name": "checkpoint_every",
        "group": "run",
        "annotation": "int | None",
        "default": None,
        "kind": "integer",
        "minimum": 1,
        "maximum": 2**31 - 1,
        "doc": "steps between checkpoints within an epoch; one is written after each epoch in any case",
    },
    {
        "name": "eval_every",
        "group": "run",
        "annotation": "int | str | None",
        "default": None,
        "default_text": "every epoch",
        "range": 'steps, or text such as `"500 steps"` or `"2 epochs"`',
        "doc": "when the model is judged on labelled images, the `eval_set` of `fit` or `--eval` of `carl train`",
    },
    {
        "name": "progress",
        "group": "run",
        "annotation": "bool",
        "default": True,
        "kind": "boolean",
        "doc": "of Python alone: shows a progress bar; `carl train` has `--quiet`",
        "option": "--quiet",
    },
    {
        "name": "callbacks",
        "group": "run",
        "annotation": "CallbackLike | Iterable[CallbackLike] | None",
        "default": None,
        "range": "`carl.Callback` objects, or functions of (model, metrics)",
        "doc": "of Python alone: run after steps, epochs and evaluations; `carl train` has `--logger`",
        "option": "--logger",
    },
]
