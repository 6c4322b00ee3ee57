"""Damaged checkpoints and classifier files, and the use of what could be read from them."""

from __future__ import annotations

import ctypes
import json
import struct
from pathlib import Path
from typing import Any

from .journal import Journal
from .library import Library
from .models import Handle, too_long
from .mutations import mutated, split
from .recipes import perform
from .scenario import Scenario, World

#: Calls with an object that could be read.
_USES = {
    "trainer": [
        "carl_trainer_step",
        "carl_trainer_step_views",
        "carl_trainer_embed",
        "carl_trainer_embed_images",
        "carl_trainer_save",
        "carl_trainer_config",
    ],
    "encoder": ["carl_encoder_embed", "carl_encoder_embed_images", "carl_encoder_output_width"],
    "classifier": [
        "carl_classifier_step",
        "carl_classifier_step_batch",
        "carl_classifier_embed_images",
        "carl_classifier_embed",
        "carl_classifier_save",
    ],
}
_KINDS = 12


class CheckpointFuzzer:
    def __init__(self, library: Library, journal: Journal, folder: Path, report: Any):
        self.world = World(library, journal, folder, report)
        self._path = folder / "mutated.safetensors"
        #: Content of good files: trainers of several kinds, and classifiers.
        self._good: list[tuple[str, bytes]] = []
        for number in range(_KINDS):
            self._good += self._saved(number)

    def _saved(self, number: int) -> list[tuple[str, bytes]]:
        """Files of a trainer that made some steps, and of a classifier around its encoder."""
        s = Scenario(self.world, -1, -1 - number)
        s.harsh, s.condition, s.diverging = False, "", False
        s.odd = lambda probability=0.0: False  # type: ignore[method-assign]  # good files come from right calls
        found = []
        for kind in ("trainer", "classifier"):
            handle = s.need(kind)
            if handle is None:
                continue
            for _ in range(3):
                perform(s, f"carl_{kind}_step")
            path = self.world.folder / f"good-{kind}-{number}"
            status = s.call(
                f"carl_{kind}_save",
                {kind: handle.value, "path": s.text(bytes(path)), "notes_json": s.text(b'{"note": "x"}')},
            )
            if status == 0:
                found.append((kind, path.read_bytes()))
        s.close()
        return found

    def run(self, seed: int, number: int) -> None:
        """One damaged file, read as what it is, or was, or as something else."""
        s = Scenario(self.world, seed, number)
        s.condition = s.condition if s.random.random() < 0.2 else ""
        kind, data = s.choose(self._good)
        for _ in range(s.choose([1, 1, 1, 2])):
            try:
                data = mutated(s.random, data)
            except (ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error):
                break  # damaged beyond what a second mutation understands
        self._path.write_bytes(data)
        reader = s.choose([kind, kind, kind, "encoder", "encoder", *_USES])
        self._read(s, reader, data)
        s.close()

    def _read(self, s: Scenario, kind: str, data: bytes) -> None:
        out = ctypes.c_void_p()
        path = s.text(bytes(self._path))
        name, arguments = {
            "trainer": (
                "carl_trainer_resume",
                {"overrides_json": 0 if s.random.random() < 0.7 else s.text(b'{"threads": 1}')},
            ),
            "classifier": ("carl_classifier_load", {"overrides_json": 0}),
            "encoder": ("carl_encoder_load", {"threads": 1}),
        }[kind]
        status = s.call(name, {"path": path, **arguments, "out": ctypes.addressof(out)})
        if status != 0 or not out.value:
            return
        self.world.journal.add("accepted")
        handle = s.adopt(kind, out.value)
        if handle is None:
            return
        s.learn(handle, _encoder_config(data))
        if kind == "classifier":
            handle.own = s.own_config(kind, handle.value)
        if _small(handle):
            for _ in range(s.choose([1, 2, 4])):
                perform(s, s.choose(_USES[kind]))


def _encoder_config(data: bytes) -> dict[str, Any]:
    """The configuration in a file that the library could read; {} where Python cannot."""
    try:
        metadata = split(data)[0]["__metadata__"]
        return json.loads(metadata.get("encoder_config", metadata["config"]))
    except (ValueError, KeyError, TypeError):
        return {}


def _small(handle: Handle) -> bool:
    """Whether using the object takes no longer than the others."""
    try:
        return bool(handle.config) and not too_long(handle.config, 8, handle.view_sizes)
    except (KeyError, TypeError, ValueError):
        return False
