"""Misspelt words: errors name the nearest known one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec

Arguments = ParamSpec("Arguments")

#: What torch and scikit-learn call it.
_ELSEWHERE = {
    "prototypes": ("n_clusters", "num_clusters", "n_components", "n_prototypes", "num_prototypes"),
    "epochs": ("max_iter", "n_epochs", "num_epochs", "max_epochs", "n_iter"),
    "learning_rate": ("lr", "learning_rate_init", "base_lr", "eta"),
    "min_learning_rate": ("eta_min", "min_lr"),
    "weight_decay": ("wd", "alpha"),
    "clip_norm": ("max_grad_norm", "grad_clip", "gradient_clip_val"),
    "accumulate": ("accumulate_grad_batches", "gradient_accumulation_steps"),
    "batch_size": ("bs", "train_batch_size"),
    "total_steps": ("max_steps", "num_steps"),
    "warmup_steps": ("warmup", "num_warmup_steps", "warmup_epochs"),
    "seed": ("random_state", "random_seed", "manual_seed", "generator"),
    "threads": ("n_jobs", "num_workers", "num_threads", "n_threads", "workers"),
    "progress": ("verbose", "verbosity", "progress_bar"),
    "precision": ("dtype", "amp"),
    "encoder": ("backbone", "arch", "architecture"),
    "weights": ("pretrained",),
    "view_size": ("img_size", "image_size", "input_size", "crop_size"),
    "in_channels": ("n_channels", "num_channels", "in_chans"),
    "temperature": ("tau",),
    "run_dir": ("log_dir", "output_dir", "out_dir", "save_dir", "checkpoint_dir"),
}
_OURS = {theirs: ours for ours, names in _ELSEWHERE.items() for theirs in names}
#: What they have and this package has not.
_NOWHERE = {"device": "everything runs on the processor", "gpus": "everything runs on the processor"}


def elsewhere(word: str, known: Iterable[object]) -> str:
    """ "; did you mean 'x'?" for a word by which torch or scikit-learn know one of the known, or nothing."""
    if word in known:
        return ""
    if word in _NOWHERE:
        return f"; there is none: {_NOWHERE[word]}"
    return f"; did you mean {_OURS[word]!r}?" if _OURS.get(word) in known else ""


def nearest(word: str, known: Iterable[object]) -> str:
    """ "; did you mean 'x'?" for a misspelt word, or one of another package, or nothing."""
    import difflib

    known = list(known)
    named = elsewhere(word, known)
    if named:
        return named
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def naming_nearest(initialise: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """A constructor whose error for a misspelt keyword names the nearest parameter."""
    known = list(inspect.signature(initialise).parameters)[1:]

    @functools.wraps(initialise)
    def checked(*arguments: Arguments.args, **params: Arguments.kwargs) -> None:
        for key in params:
            if key not in known:
                name = type(arguments[0]).__name__
                raise TypeError(f"{name}() got an unexpected parameter {key!r}{nearest(key, known)}")
        initialise(*arguments, **params)

    return checked
