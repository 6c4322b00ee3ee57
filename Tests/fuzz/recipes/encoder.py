"""Making encoders."""

from __future__ import annotations

import ctypes

from ..scenario import Scenario
from . import recipe
from .shared import saved


@recipe("carl_encoder_load", 1)
def load(s: Scenario) -> None:
    _load(s, "carl_encoder_load", {})


@recipe("carl_encoder_load_with", 1)
def load_with(s: Scenario) -> None:
    changes = s.choose(
        [b"", b"{}", b'{"precision": "bf16-emulated"}', b'{"precision": "auto"}', b'{"width": 2}', b"[1"]
    )
    _load(s, "carl_encoder_load_with", {"overrides_json": s.text(changes) if changes else 0})


def _load(s: Scenario, name: str, arguments: dict[str, int]) -> None:
    if len(s.handles) >= 6:
        return
    out = ctypes.c_void_p()
    status = s.call(name, {"path": s.text(saved(s)), **arguments, "threads": s.threads(), "out": ctypes.addressof(out)})
    if status == 0 and (handle := s.adopt("encoder", out.value or 0)) is not None:
        # An encoder does not tell its configuration; its file does, and trainers of one scenario mostly agree in the
        # channels.
        trainer = s.live("trainer")
        s.learn(handle, trainer.config if trainer else {})


@recipe("carl_encoder_from_trainer", 1)
def from_trainer(s: Scenario) -> None:
    if len(s.handles) >= 6:
        return
    trainer = s.need("trainer")
    out = ctypes.c_void_p()
    value = s.handle_argument(trainer)
    status = s.call(
        "carl_encoder_from_trainer",
        {"trainer": value, "teacher": s.int32(s.choose([0, 1])), "out": ctypes.addressof(out)},
    )
    if status == 0 and (handle := s.adopt("encoder", out.value or 0)) is not None:
        source = next((other for other in s.handles if other.value == value), None)
        s.learn(handle, source.config if source else {})
