"""The header of a checkpoint: a safetensors file begins with the length of a JSON object, then the object."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ._native_path import readable
from ._reading import Reader, parse_json
from ._values import checked_range
from .errors import FileError

#: The longest header that the library writes and reads; a longer one is of a damaged file.
_LONGEST = 4 << 20


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a safetensors file: tensor names with dtype, shape and offsets, and ``__metadata__``."""
    try:
        with Reader(path) as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(_LONGEST, file.size - 8):
                raise FileError(f"{os.fspath(path)}: not a safetensors file")
            header = parse_json(file.read(length))
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{os.fspath(path)}: cannot read its header: {error}") from None
    if not isinstance(header, dict):
        raise FileError(f"{os.fspath(path)}: not a safetensors file")
    return header


def is_classifier(path: str | os.PathLike[str]) -> bool:
    """Whether a file was written by ``Classifier.save``. What cannot be read is not: loading it tells why."""
    try:
        return bool(read_header(path)["__metadata__"]["format"] == "carl-classifier")
    except (OSError, KeyError, TypeError):
        return False


def is_weights(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a safetensors file of another program."""
    try:
        metadata = read_header(os.path.expanduser(path)).get("__metadata__", {})
    except OSError:
        return False
    return not (isinstance(metadata, dict) and str(metadata.get("format")).startswith("carl-"))


@contextmanager
def checkpoint_file(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """A checkpoint's path for a function of the library that reads it. The error for a weights file, which is none,
    says by Python's names what reads it."""
    try:
        with readable(path) as file:
            yield file
    except FileError as error:
        check_kind(path, error, "no model: want a run folder, or a .carl file such as runs/train/checkpoints/last.carl")
        if "carl_encoder_from_weights" not in str(error):
            raise
        raise FileError(
            f"{os.fsdecode(os.fspath(path))}: weights of another program, not a model of this one: "
            "carl.Encoder.from_weights(path) and `carl embed --weights FILE` embed with them, carl.CARL(weights=path) "
            "and `carl train DATA weights=FILE` train from them, carl.weights_info(path) tells what they are"
        ) from None


def check_kind(path: Any, error: FileError, what: str) -> None:
    """FileError that says that a file is `what`, where the library found that it does not even begin like a safetensors
    file and its name is none of one; `error` is the library's, of a length that nobody has written."""
    name = os.fsdecode(os.fspath(path))
    strange = any(part in str(error) for part in ("the header would have", "of the header's length"))
    if strange and not name.lower().endswith((".carl", ".safetensors")):
        raise FileError(f"{name} is {what}") from None


def checkpoint_images(path: str | os.PathLike[str]) -> tuple[int | None, tuple[float, float] | None]:
    """Channels and value_range of the images that a checkpoint's model was trained on; None for what cannot be told."""
    channels, value_range = None, None
    with suppress(OSError, KeyError, TypeError, ValueError):
        metadata = read_header(path)["__metadata__"]
        with suppress(KeyError, TypeError, ValueError):
            found = parse_json(metadata["config"])["in_channels"]
            channels = found if isinstance(found, int) else None
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            notes = parse_json(metadata["notes"])["carl"]
            value_range = checked_range(notes.get("value_range", notes.get("params", {}).get("value_range")))
    return channels, value_range


def checkpoint_channels(path: str | os.PathLike[str]) -> int | None:
    """Channels of the images that a checkpoint's model takes; None where it cannot be told."""
    return checkpoint_images(path)[0]


def steps_taken(path: str | os.PathLike[str]) -> int:
    """The step counter of a checkpoint."""
    try:
        step = int(parse_json(read_header(path)["__metadata__"]["counters"])["step"])
        if not 0 <= step < 2**63:
            raise ValueError
        return step
    except FileError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError):
        raise FileError(f"{os.fspath(path)}: not a checkpoint: it has no step counter") from None
