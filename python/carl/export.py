"""Models as files for other programs: safetensors, ONNX, torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _arrays
from ._checkpoint import is_classifier, is_weights
from ._encoder_of import encoder_of
from ._onnx import PIXELS, onnx_file
from ._weights_out import PARTS, export_weights
from ._writing import make_folder, replace_file, replacing
from .classifier import Classifier
from .encoder import Encoder
from .errors import InvalidArgumentError, missing_package
from .runs import checkpoint_path
from .trainer import Trainer

if TYPE_CHECKING:
    import numpy as np

#: Formats, and the endings of files that stand for them.
FORMATS = {"safetensors": (".safetensors",), "onnx": (".onnx",), "torch": (".pt", ".pth")}


def export_model(
    model: Any,
    path: str | os.PathLike[str],
    format: str | None = None,
    part: str = "encoder",
    *,
    teacher: bool = False,
    fold: bool = True,
    pixels: str = "normalized",
    size: int | tuple[int, int] | None = None,
) -> Path:
    """Writes a model for other programs into a file, which appears only when complete, and returns its path::

        carl.export.export_model(model, "encoder.safetensors")
        carl.export.export_model(model, "model.onnx", part="model", pixels="bytes")

    model: carl.CARL, carl.Trainer, carl.Encoder, carl.Classifier, or the path of a checkpoint, run folder or weights
        file.
    format: "safetensors", "onnx" (needs the onnx package) or "torch" (a state_dict for ``torch.load`` with
        ``weights_only=True``; needs torch); None: by the ending of `path`, .safetensors, .onnx, .pt or .pth.
    part: "encoder": its tensors by the names of torchvision (ResNets) or timm (vision transformers), in ONNX the output
        "features" (N, F). "model": what follows it too. Tensors then have the names of ``Trainer.state_dict``; outputs
        are also "projection" (N, D), "logits" and "probabilities" (N, K). Of a classifier it adds the linear layer, by
        the names "fc." or "head." of the same programs, and the outputs "logits" and "probabilities" (N, classes).
    teacher: the EMA teacher instead; InvalidArgumentError if there is none.

    Of ONNX alone, whose input is "images" (N, C, H, W), N any number:

    fold: BatchNorm and LayerScale become part of the layers in front of them.
    pixels: what images are: "normalized" float32, as for ``embed``; "unit", float32 from 0 to 1, and "bytes", uint8,
        which the graph normalises with the model's mean and std. They are resized and cropped before.
    size: of the images, a number or (height, width). None: a ResNet takes any, a vision transformer those of the
        model's first view; its positions are resampled for others here.
    """
    kind = format_of(path, format)
    if part not in list(PARTS):
        raise InvalidArgumentError(f"part: got {part!r}, want one of {', '.join(map(repr, PARTS))}")
    if pixels not in list(PIXELS):
        raise InvalidArgumentError(f"pixels: got {pixels!r}, want one of {', '.join(map(repr, PIXELS))}")
    sides = _size(size)
    if kind != "onnx" and (not fold or pixels != "normalized" or sides is not None):
        raise InvalidArgumentError(f'fold, pixels and size are of format "onnx", got format {kind!r}')
    _require(kind)
    file = Path(os.fsdecode(os.fspath(path))).expanduser()
    make_folder(file.parent)
    with _opened(model, teacher) as opened:
        if kind == "safetensors":
            export_weights(opened, file, part, teacher)
            return file
        tensors, keys = _tensors_of(opened, part, teacher)
    if kind == "torch":
        _write_torch(file, tensors)
    else:
        replace_file(file, onnx_file(tensors, keys, fold=bool(fold), pixels=pixels, size=sides))
    return file


def format_of(path: str | os.PathLike[str], given: str | None = None) -> str:
    """The format that is given, or that the ending of the path says; InvalidArgumentError where neither does."""
    _arrays.c_path(path)  # for its errors
    if given is not None:
        if given not in list(FORMATS):
            raise InvalidArgumentError(f"format: got {given!r}, want one of {', '.join(map(repr, FORMATS))}")
        return given
    ending = os.path.splitext(os.fsdecode(os.fspath(path)))[1].lower()
    found = next((name for name, endings in FORMATS.items() if ending in endings), None)
    if found is None and os.path.isdir(path):
        return "safetensors"  # told when it is opened
    if found is None:
        known = ", ".join(each for endings in FORMATS.values() for each in endings)
        got = f"the ending {ending}" if ending else "no ending"
        raise InvalidArgumentError(
            f"{os.fspath(path)!r} has {got}, want one of {known}, or a format, one of {', '.join(FORMATS)}"
        )
    return found


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = list(size) if isinstance(size, (list, tuple)) else [size, size]
    if len(sides) != 2:
        raise InvalidArgumentError(f"size: got {size!r}, want a number of pixels, or height and width")
    height, width = (_arrays.integer(side, "size", 1, 4096) for side in sides)
    return height, width


def _require(kind: str) -> None:
    """MissingPackageError before any work is done."""
    if kind == "onnx":
        from ._onnx_graph import require_onnx

        require_onnx()
    if kind == "torch":
        _torch()


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise missing_package(
            "a file of torch (which reads format safetensors too, by the safetensors package)", "torch"
        ) from None
    return torch


@contextmanager
def _opened(model: Any, teacher: bool) -> Iterator[Trainer | Encoder | Classifier]:
    """The model behind whatever stands for it; closed again if it was read from a file."""
    if isinstance(model, (str, os.PathLike)):
        file = checkpoint_path(model)
        if is_classifier(file):
            handle: Any = Classifier.load(file)
        elif is_weights(file):
            handle = Encoder.from_weights(file)
        else:
            handle = Trainer.resume(file) if teacher else Encoder(file)
        with handle:
            _check_teacher(handle, teacher)
            yield handle
        return
    handle = getattr(model, "trainer_", model)
    if isinstance(handle, (Trainer, Classifier)):
        _check_teacher(handle, teacher)
        yield handle
    else:
        with encoder_of(handle) as encoder:
            _check_teacher(encoder, teacher)
            yield encoder


def _check_teacher(handle: Any, teacher: bool) -> None:
    if teacher and not isinstance(handle, Trainer):
        raise InvalidArgumentError(f"teacher: a carl.{type(handle).__name__} has none; a trainer or checkpoint may")


def _tensors_of(model: Trainer | Encoder | Classifier, part: str, teacher: bool) -> tuple[dict[str, np.ndarray], Any]:
    import tempfile

    from ._tensors import read_tensors

    with tempfile.TemporaryDirectory(prefix="carl-") as folder:
        file = os.path.join(folder, "weights.safetensors")
        export_weights(model, file, part, teacher)
        return read_tensors(file)


def _write_torch(file: Path, tensors: dict[str, np.ndarray]) -> None:
    torch = _torch()
    with replacing(file) as out:
        torch.save({name: torch.from_numpy(values) for name, values in tensors.items()}, out)


__all__ = ["FORMATS", "PARTS", "PIXELS", "export_model", "format_of"]
