"""One scenario: some tens of calls on models of its own, all drawn from (seed, number).

Scenarios depend on nothing but their number and what the process keeps (threads, buffers), so one can be repeated by
itself.
"""

from __future__ import annotations

import ctypes
import json
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import conditions, values
from .journal import Journal
from .library import Library
from .memory import Arena, Buffer, Vast
from .models import KINDS_MADE_BY, Handle
from .patience import Patience

#: Scenarios whose number is a multiple of this begin a process.
BATCH = 100
#: Largest buffer that is really made; calls that claim more get the vast region.
_REAL = 4 << 20
_GIGABYTE = 1 << 30
#: Bytes from which on no process can have a buffer.
_IMPOSSIBLE = 1 << 47


class TooMuch(Exception):
    """A call would claim more memory than can be shown to it, and less than no process has: it is not made."""


class World:
    """What all scenarios of a process share."""

    def __init__(
        self,
        library: Library,
        journal: Journal,
        folder: Path,
        report: Callable[[dict[str, Any]], None],
        check_memory: bool = True,
    ):
        self.library, self.journal, self.folder, self.report = library, journal, folder, report
        self.patience = Patience(library, journal)
        self.meter = conditions.MemoryMeter() if check_memory else None
        self.vast = Vast(64 * _GIGABYTE, 16 << 20)
        self._pixels = Buffer(1024)
        #: Arrays of 2^31 images of one pixel, by their number of channels.
        self.vast_images = {
            channels: Vast(64 * _GIGABYTE, 16 << 20, self.one_pixel(channels)) for channels in (3, 1024)
        }
        #: Lives as long as the process: the library may keep the address.
        self.cancel_flag = Buffer(4)
        prototype = ctypes.CFUNCTYPE(None, ctypes.c_int32, ctypes.c_char_p, ctypes.c_void_p)
        self.on_message = prototype(lambda level, message, context: None)
        self.log_address = ctypes.cast(self.on_message, ctypes.c_void_p).value

    def one_pixel(self, channels: int) -> bytes:
        image = self.library.structs["carl_image"]
        return bytes(image(self._pixels.address, 1, 1, channels, 0, channels))


class Scenario:
    def __init__(self, world: World, seed: int, number: int):
        self.world, self.number = world, number
        self.random = random.Random(f"{seed}/{number}")
        self.library, self.header = world.library, world.library.header
        self.harsh = self.random.random() < 0.5
        self.diverging = self.random.random() < 0.15
        self.handles: list[Handle] = []
        self.freed: list[int] = []
        self.files: list[str] = []
        self.arena = Arena()
        self.calls = 0
        self._constant: dict[int, Buffer] = {}
        self._outputs: list[Buffer] = []
        self._claimed_vast = False
        self.condition = self._draw_condition()
        world.journal.note(number, 0, "(drawing the first call)")

    def _draw_condition(self) -> str:
        first = self.number % BATCH == 0  # of a process: threads, descriptors and buffers are not there yet
        if self.random.random() < (0.6 if first else 0.06):
            return self.random.choice(["short of memory", "no descriptors", "small files"])
        return ""

    @property
    def can_cancel(self) -> bool:
        """Whether calls that take too long can be ended."""
        return "carl_cancel" in self.header.functions

    # ---- Drawing

    def odd(self, probability: float = 0.12) -> bool:
        """Whether to do something wrong now."""
        return self.random.random() < (probability if self.harsh else probability / 5)

    def choose(self, options: Any) -> Any:
        return self.random.choice(options)

    def int32(self, right: int, probability: float = 0.12) -> int:
        return values.wrapped(values.size(self.random, right) if self.odd(probability) else right, 32, True)

    def int64(self, right: int, probability: float = 0.12) -> int:
        return values.wrapped(values.size(self.random, right) if self.odd(probability) else right, 64, True)

    def size_t(self, right: int, probability: float = 0.12) -> int:
        return values.wrapped(values.size(self.random, right) if self.odd(probability) else right, 64, False)

    def threads(self) -> int:
        return self.int32(self.choose([1, 1, 1, 2, 2, 0, 3, 7, 64, 1024]))

    def real(self, right: float) -> float:
        return self.choose(values.NUMBERS) if self.odd(0.15) else right

    def json(self, value: Any, probability: float = 0.3) -> int:
        """The address of a JSON text."""
        return self.text(values.json_text(self.random, value, self.odd(probability)))

    # ---- Memory

    def input(self, data: bytes | np.ndarray) -> int:
        """The address of memory that the library may only read."""
        data = data if isinstance(data, bytes) else data.tobytes()
        buffer = self.arena.take(len(data), self._misaligned(), self.odd(0.1))
        buffer.write(data)
        self._constant[buffer.address] = buffer
        return buffer.address

    def output(self, size: int) -> int:
        """The address of memory for results; now and then it is that of other memory of the call."""
        size = max(size, 0)
        if self._outputs and self.odd(0.04):
            fitting = [buffer for buffer in self._outputs + list(self._constant.values()) if buffer.size >= size]
            if fitting:
                buffer = self.choose(fitting)
                self._constant.pop(buffer.address, None)
                return buffer.address
        buffer = self.arena.take(size, self._misaligned(), self.odd(0.1))
        self._outputs.append(buffer)
        return buffer.address

    def _misaligned(self) -> int:
        # carl.h asks for no alignment beyond that of the types; processors of this kind allow less, and callers get it
        # wrong.
        return self.choose([1, 2, 3, 4, 8]) if self.odd(0.05) else 0

    def text(self, data: bytes) -> int:
        """The address of a string, whose 0 is the last byte that may be read."""
        return self.input(data + b"\0")

    def claimed_input(self, size: int, make: Callable[[], Any]) -> int:
        """Memory of so many bytes, filled by `make` unless it is enormous."""
        if size <= 0:
            return self.input(b"")
        if size <= _REAL:
            return self.input(make())
        if self.world.vast.size < size < _IMPOSSIBLE:
            raise TooMuch
        return self._enormous(size)

    def claimed_output(self, size: int) -> int:
        return self.output(size) if size <= _REAL else self._enormous(size)

    def _enormous(self, size: int) -> int:
        self._claimed_vast = True
        # No process has as much as the second kind: the call has to be refused before it looks.
        return self.world.vast.address if size < _IMPOSSIBLE else self.output(4096)

    def floats(self, count: int) -> int:
        wild = self.odd(0.4)
        return self.claimed_input(4 * count, lambda: values.floats(self.random, count, wild))

    def pointers(self, addresses: list[int]) -> int:
        return self.input(np.array(addresses, np.uint64))

    def struct(self, name: str, **fields: Any) -> ctypes.Structure:
        return self.library.structs[name](**fields)

    def sized_struct(self, name: str, fill: bytes = b"") -> int:
        """Memory for a struct that begins with struct_size: as this header has it, or as an older or newer one
        would."""
        right = ctypes.sizeof(self.library.structs[name])
        claimed = right
        if self.odd(0.2):
            claimed = self.choose(
                [
                    0,
                    1,
                    7,
                    8,
                    9,
                    16,
                    right - 8,
                    right - 1,
                    right + 1,
                    right + 8,
                    right + 4096,
                    2**31,
                    2**40,
                    2**63,
                    2**64 - 1,
                ]
            )
        data = bytearray((fill + bytes(right))[:right])
        data[:8] = claimed.to_bytes(8, "little")
        room = min(max(claimed, 8), right + 8192)
        buffer = self.arena.take(room)
        buffer.write(bytes(data[:room]))
        return buffer.address

    # ---- Handles

    def live(self, kind: str) -> Handle | None:
        found = [handle for handle in self.handles if handle.kind == kind]
        return self.choose(found) if found else None

    def need(self, kind: str) -> Handle | None:
        """A live object, made if there is none; None when the library refuses to make one (which a condition may
        cause)."""
        from .recipes import make  # recipes need this module

        handle = self.live(kind)
        if handle is None or (len(self.handles) < 4 and self.random.random() < 0.03):
            make(self, kind)
        return self.live(kind)

    def handle_argument(self, handle: Handle | None) -> int:
        if handle is None or self.odd(0.05):
            others = [other.value for other in self.handles if handle is None or other.kind != handle.kind]
            return self.choose([0, 1, 8, 0x1000, 2**63, 2**64 - 1, 0x0CA2_1000_0000_0001, *self.freed, *others])
        return handle.value

    def adopt(self, kind: str, value: int) -> Handle | None:
        """Notes a new object and learns about it, by calls that must not fail."""
        if not value:
            self.finding("no handle", f"a call that makes a {kind} returned CARL_OK and no handle")
            return None
        handle = Handle(kind, value, {})
        self.handles.append(handle)
        return handle

    def learn(self, handle: Handle, config: dict[str, Any]) -> None:
        """Fills in what drawing arguments needs; `config` is the encoder's."""
        handle.config = config
        width = ctypes.c_int64()
        for output in range(4):
            if (
                self.library.call(f"carl_{handle.kind}_output_width", handle.value, output, ctypes.addressof(width))
                == 0
            ):
                handle.widths[output] = width.value
        if handle.kind == "encoder":
            return
        count = ctypes.c_int64()
        self.library.call(f"carl_{handle.kind}_state_size", handle.value, ctypes.addressof(count))
        info = self.struct("carl_tensor_info")
        for index in range(count.value):
            if self.library.call(f"carl_{handle.kind}_state_info", handle.value, index, ctypes.addressof(info)) == 0:
                handle.names.append((ctypes.string_at(info.name).decode(), info.count))

    def own_text(self, function: str, handle: int) -> str:
        """What a function of the form (handle, buffer, capacity, needed) gives."""
        needed = ctypes.c_size_t()
        self.library.call(function, handle, None, 0, ctypes.addressof(needed))
        buffer = ctypes.create_string_buffer(max(needed.value, 1))
        status = self.library.call(function, handle, ctypes.addressof(buffer), len(buffer), ctypes.addressof(needed))
        return buffer.value.decode() if status == 0 else ""

    def own_config(self, kind: str, handle: int) -> dict[str, Any]:
        text = self.own_text(f"carl_{kind}_config", handle)
        return json.loads(text) if text else {}

    # ---- Calls

    def run(self, count: int) -> None:
        """Draws and makes so many calls, frees everything and looks what is left."""
        from .recipes import draw

        while self.calls < count:
            draw(self)
        self.close()

    def close(self) -> None:
        self.condition = ""
        for function in ("carl_set_cancel_flag", "carl_set_log_callback"):
            if function in self.header.functions:
                self.library.call(function, *[None for _ in self.header.functions[function].parameters])
        for handle in self.handles:
            if (status := self.library.call(f"carl_{handle.kind}_free", handle.value)) != 0:
                self.finding("not freed", f"carl_{handle.kind}_free of a live handle returned {status}")
        self.handles = []
        if (left := self.library.call("carl_live_objects")) != 0:
            self.finding("leak", f"{left} objects alive after every handle was freed")
        for path in self.files:
            Path(path).unlink(missing_ok=True)

    def drop(self) -> None:
        """Forgets the call that was being drawn."""
        self._constant, self._outputs, self._claimed_vast = {}, [], False
        self.arena.clear()

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Makes a call, some pointer perhaps NULL, and checks what must hold after any call."""
        parameters = self.header.functions[name].parameters
        if set(arguments) != {parameter.name for parameter in parameters}:
            raise AssertionError(
                f"{name}: the recipe gives {sorted(arguments)}, carl.h wants {[p.name for p in parameters]}"
            )
        drawn = [arguments[parameter.name] for parameter in parameters]
        # Handles are spoiled where they are drawn, so that the recipe knows which one it passed.
        pointers = [
            i for i, parameter in enumerate(parameters) if parameter.type.depth and parameter.name not in KINDS_MADE_BY
        ]
        if pointers and self.odd(0.12):
            drawn[self.choose(pointers)] = 0
        for buffer in self._constant.values():
            buffer.protect()
        described = ", ".join(f"{p.name}={hex(v) if p.type.depth and v else v}" for p, v in zip(parameters, drawn)) + (
            f" [{self.condition}]" if self.condition else ""
        )
        self.world.journal.note(self.number, self.calls, f"{name}({described})")
        self.calls += 1
        result = self._measured(name, drawn)
        self._check(name, result)
        self.drop()
        if self.random.random() < 0.3:
            self.world.cancel_flag.write(bytes(4))
        return result

    def _measured(self, name: str, drawn: list[Any]) -> Any:
        meter = self.world.meter
        if meter is not None:
            meter.start()
        begin = time.monotonic()
        result = self._conditioned(name, drawn)
        self.world.journal.took(time.monotonic() - begin)
        if meter is not None and not self._claimed_vast:
            growth = meter.growth()
            self.world.journal.raise_to("peak_growth", growth)
            if growth > (allowed := self._memory_class(name, result)):
                self.finding("memory", f"grew by {growth >> 20} MB, its class is {allowed >> 20} MB (status {result})")
        return result

    def _memory_class(self, name: str, result: Any) -> int:
        """What a call may take: models are small, so some megabytes beside a multiple of what it was passed. Models
        that were asked for and made may be as large as the limit of the address space."""
        if result in (0, self.header.constants.get("CARL_CANCELLED")) and (
            "create" in name or "resume" in name or "load" in name or "from_trainer" in name
        ):
            return 1 << 40
        return (192 << 20) + 16 * self.arena.bytes + max((handle.step_bytes() for handle in self.handles), default=0)

    def _conditioned(self, name: str, drawn: list[Any]) -> Any:
        if self.condition == "short of memory":
            room = self.random.choice([24, 28, 32, 40, 64, 100, 200, 400]) << 20
            with conditions.limited(resource.RLIMIT_AS, conditions.address_space() + room):
                return self.library.call(name, *drawn)
        if self.condition == "no descriptors":
            with conditions.limited(resource.RLIMIT_NOFILE, 3):
                return self.library.call(name, *drawn)
        if self.condition == "small files":
            with conditions.limited(resource.RLIMIT_FSIZE, self.random.choice([0, 1, 5000, 20_000])):
                return self.library.call(name, *drawn)
        return self.library.call(name, *drawn)

    def _check(self, name: str, result: Any) -> None:
        journal = self.world.journal
        journal.add("calls")
        if self.header.functions[name].result.name == "carl_status":
            if result not in self.header.statuses():
                self.finding("status", f"returned {result}, which is none of carl.h's")
                return
            journal.add(f"status_{result}")
            if result == self.header.constants["CARL_INTERNAL_ERROR"]:
                self.finding("internal error", self.library.text("carl_last_error"))
            elif result != 0 and not self.library.text("carl_last_error"):
                self.finding("no message", f"status {result} without a message")
        if not self.arena.intact():
            self.finding("write outside", "bytes beside a buffer have changed")

    def finding(self, kind: str, what: str) -> None:
        """Reports something wrong that was no crash."""
        self.world.report(
            {
                "kind": kind,
                "number": self.number,
                "call": self.calls - 1,
                "doing": self.world.journal.text(),
                "what": what,
            }
        )
