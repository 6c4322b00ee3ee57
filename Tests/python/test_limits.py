"""Limits are the library's: what is too large is its error, wherever Python passes it on."""

from __future__ import annotations

import numpy as np
import pytest

import carl
from carl.evaluate import knn, nearest_neighbours, retrieval

#: More than the library has threads for, and larger than any view.
MANY, LARGE = 1025, 4097
x, y = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
pixels = np.zeros((2, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda path: carl.Encoder(path, threads=MANY), "threads: got 1025, want 0 .. 1024"),
        (lambda path: carl.assignment_loss([x, x], x, threads=MANY), "threads: got 1025, want 0 .. 1024"),
        (lambda path: carl.make_views(pixels, {"size": 4}, threads=MANY), "threads: got 1025, want 0 .. 1024"),
        (lambda path: knn(x, y, x, y, k=1, threads=MANY), "threads: got 1025, want 0 .. 1024"),
        (lambda path: nearest_neighbours(x, x, 1, threads=MANY), "threads: got 1025, want 0 .. 1024"),
        (lambda path: retrieval(x, y, k=1, threads=MANY), "threads: got 1025, want 0 .. 1024"),
        (lambda path: carl.Encoder(path).embed_images(pixels, size=LARGE), "size: got 4097, want 0 .. 4096"),
        (lambda path: carl.expand_views("simclr", view_size=LARGE), "view_size: got 4097, want 1 .. 4096"),
        (lambda path: carl.expand_views("simclr", channels=MANY), "channels: got 1025, want 1 .. 1024"),
        (lambda path: carl.view_sizes("simclr", channels=MANY), "channels: got 1025, want 1 .. 1024"),
        (lambda path: carl.Encoder(path, threads=2**31), "threads: got 2147483648"),
        (lambda path: carl.Encoder(path, threads=0), "threads: got 0, want at least 1"),
    ],
)
def test_what_is_too_large_is_the_librarys_error(trainer, tmp_path, call, words):
    trainer.save(tmp_path / "model.carl")
    with pytest.raises(carl.InvalidArgumentError, match=words):
        call(tmp_path / "model.carl")


@pytest.mark.parametrize("key", ["threads", "view_size", "in_channels", "batch_size", "epochs"])
def test_the_limits_that_were_written_down_are_the_librarys(key):
    from carl._parameters import LIMITS

    for value in (LIMITS[key][0] - 1, LIMITS[key][1] + 1):
        with pytest.raises(
            carl.ConfigurationError, match=f'"{key}" must be a whole number from {LIMITS[key][0]} to {LIMITS[key][1]}'
        ):
            carl.Trainer({key: value})
