"""What trainers, encoders and classifiers have in common: free, embedding, state, saving, notes and configuration."""

from __future__ import annotations

import os

import numpy as np

from .. import values
from ..models import too_long
from ..scenario import Scenario
from . import recipe
from .images import batch, image_count, images, out_count, output_kind


def path(s: Scenario, suffix: str = ".safetensors") -> bytes:
    """A path inside the scenario's folder, good or bad. Never one outside: saving replaces what is there."""
    folder = os.fsencode(s.world.folder)
    if s.odd(0.25):
        return s.choose(
            [
                b"",
                folder,
                folder + b"/missing/x",
                folder + b"/" + b"n" * 300,
                folder + b"/" + b"d/" * 3000,
                folder + b"/\xff\xfe\x80",
                folder + b"/pipe",
                folder + b"/loop",
                folder + b"/empty",
                folder + b"/text",
                folder + b"/readonly/x",
                b"no-folder-" + b"x" * 5000 + b"/y",
            ]
        )
    return folder + f"/{s.number}-{s.random.randrange(3)}{suffix}".encode()


def saved(s: Scenario) -> bytes:
    """A path of a file that this scenario wrote, mostly."""
    if s.files and not s.odd(0.15):
        return os.fsencode(s.choose(s.files))
    return path(s)


def notes(s: Scenario) -> int:
    return 0 if s.random.random() < 0.4 else s.json({"a": [1, None, {"b": "\u00e9\n"}], "k": 1e300}, 0.3)


def _embed_size(s: Scenario, handle, count: int) -> int:
    size = s.int32(s.choose([0, 1, 7, 8, 16]), 0.1)
    if handle and handle.config and 0 < size <= 4096 and too_long(handle.config, min(count, 1 << 20), [size]):
        return 8
    return size


def _register(kind: str) -> None:
    prefix = f"carl_{kind}_"

    @recipe(prefix + "free", 0.5)
    def free(s: Scenario) -> None:
        handle = s.live(kind) if s.random.random() < 0.4 else None
        value = s.handle_argument(handle)
        status = s.call(prefix + "free", {kind: value})
        if status == 0 and value:
            gone = [other for other in s.handles if other.value == value]
            if not gone or gone[0].kind != kind:
                s.finding("freed", f"{prefix}free accepted {value:#x}, which is no live {kind}")
            s.handles = [other for other in s.handles if other.value != value]
            s.freed.append(value)

    @recipe(prefix + "output_width")
    def output_width(s: Scenario) -> None:
        s.call(
            prefix + "output_width",
            {kind: s.handle_argument(s.need(kind)), "output": output_kind(s), "width": s.output(8)},
        )

    @recipe(prefix + "embed", 4)
    def embed(s: Scenario) -> None:
        handle = s.need(kind)
        one = batch(s, handle)
        output = output_kind(s)
        count, out = out_count(s, one.batch, handle, output)
        s.call(
            prefix + "embed",
            {
                kind: s.handle_argument(handle),
                "images": s.input(bytes(one)),
                "output": output,
                "out": out,
                "out_count": count,
            },
        )

    @recipe(prefix + "embed_images", 4)
    def embed_images(s: Scenario) -> None:
        handle = s.need(kind)
        count, output = image_count(s, 1), output_kind(s)
        room, out = out_count(s, count, handle, output)
        channels = handle.channels if handle and handle.config else 3
        s.call(
            prefix + "embed_images",
            {
                kind: s.handle_argument(handle),
                "images": images(s, count, channels),
                "count": count,
                "size": _embed_size(s, handle, count),
                "output": output,
                "out": out,
                "out_count": room,
            },
        )

    @recipe(prefix + "export", 0.7)
    def export(s: Scenario) -> None:
        arguments = {kind: s.handle_argument(s.need(kind)), "path": s.text(path(s)), "part": s.int32(s.choose([0, 1]))}
        s.call(
            prefix + "export", {**arguments, **({"teacher": s.int32(s.choose([0, 1]))} if kind == "trainer" else {})}
        )

    if kind == "encoder":
        return

    @recipe(prefix + "save", 1.5)
    def save(s: Scenario) -> None:
        name = path(s)
        status = s.call(
            prefix + "save", {kind: s.handle_argument(s.need(kind)), "path": s.text(name), "notes_json": notes(s)}
        )
        if status == 0 and os.path.isfile(name) and os.fsdecode(name) not in s.files and b"safetensors" in name:
            s.files.append(os.fsdecode(name))

    def copied(what: str) -> None:
        @recipe(prefix + what, 0.7)
        def copy(s: Scenario) -> None:
            handle = s.need(kind)
            right = len(s.own_text(prefix + what, handle.value).encode()) + 1 if handle else 10
            capacity = s.choose([right, right, right - 1, right + 1, 0, 1, s.size_t(right, 0.3)])
            s.call(
                prefix + what,
                {
                    kind: s.handle_argument(handle),
                    "buffer": s.claimed_output(capacity),
                    "capacity": capacity,
                    "needed": s.output(8),
                },
            )

    for what in ["notes", "config"] + (["profile", "terms"] if kind == "trainer" else []):
        copied(what)

    @recipe(prefix + "state_size", 0.5)
    def state_size(s: Scenario) -> None:
        s.call(prefix + "state_size", {kind: s.handle_argument(s.need(kind)), "count": s.output(8)})

    @recipe(prefix + "state_info")
    def state_info(s: Scenario) -> None:
        handle = s.need(kind)
        index = s.int64(s.random.randrange(len(handle.names)) if handle and handle.names else 0)
        s.call(prefix + "state_info", {kind: s.handle_argument(handle), "index": index, "out": s.output(56)})

    def tensor(s: Scenario) -> tuple[int, bytes, int]:
        """Handle, name and number of values of a tensor, right or nearly."""
        handle = s.need(kind)
        name, count = s.choose(handle.names) if handle and handle.names else ("encoder.conv1.weight", 27)
        text = values.noise(s.random) if s.odd(0.1) else name.encode()
        return s.handle_argument(handle), text, s.size_t(count)

    def read(what: str, weight: float) -> None:
        @recipe(prefix + what, weight)
        def get(s: Scenario) -> None:
            handle, name, count = tensor(s)
            s.call(
                prefix + what, {kind: handle, "name": s.text(name), "out": s.claimed_output(4 * count), "count": count}
            )

    read("state_get", 1)
    read("gradient_get", 1)

    @recipe(prefix + "state_set", 1.5)
    def state_set(s: Scenario) -> None:
        handle, name, count = tensor(s)
        if b"running_var" in name and s.random.random() < 0.3 and 0 < count < 10_000:
            address = s.input(np.full(count, s.choose([-1, 0, -1e-5, 1e-45, 3e38]), np.float32))
        else:
            address = s.floats(count)
        s.call(prefix + "state_set", {kind: handle, "name": s.text(name), "values": address, "count": count})


for _kind in ("trainer", "encoder", "classifier"):
    _register(_kind)
