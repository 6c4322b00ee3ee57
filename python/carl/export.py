"""The encoder's tensors in a file of their own, for other programs."""

from __future__ import annotations

import os
from pathlib import Path

from ._writing import make_folder, replace_file
from .errors import InvalidArgumentError, missing_package
from .trainer import Trainer

#: Parts that can be exported, and the prefix that is removed from the tensors' names.
PARTS = {"encoder": "encoder.", "model": ""}


def export_encoder(
    trainer: Trainer, path: str | os.PathLike[str], part: str = "encoder", teacher: bool = False
) -> Path:
    """Writes tensors into a safetensors file, which appears only when complete. Needs the safetensors package.

    part: "encoder" writes it under torchvision's names, such as layer1.0.conv1.weight; "model" writes the projection
        head and the prototypes too, under the names of ``Trainer.state_dict``.
    teacher: exports the EMA teacher instead of the model; an error if there is none.
    """
    try:
        from safetensors.numpy import save
    except ImportError:
        raise missing_package("an export", "safetensors") from None
    if part not in PARTS:
        raise InvalidArgumentError(f"part: got {part!r}, want one of {', '.join(PARTS)}")
    state = trainer.state_dict()
    of_teacher = {name.removeprefix("teacher."): value for name, value in state.items() if name.startswith("teacher.")}
    if teacher and not of_teacher:
        raise InvalidArgumentError("teacher: this model has none, its teacher_momentum is 0")
    chosen = (
        of_teacher if teacher else {name: value for name, value in state.items() if not name.startswith("teacher.")}
    )
    prefix = PARTS[part]
    tensors = {name.removeprefix(prefix): value for name, value in chosen.items() if name.startswith(prefix)}
    file = Path(path).expanduser()
    make_folder(file.parent)
    # Not by save_file, whose temporary files are not cleaned up after a kill, and which restricts the file's
    # permissions.
    replace_file(file, save(tensors, metadata={"format": "pt"}))
    return file
