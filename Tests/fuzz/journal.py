"""What a worker is about to do, in a file that outlives it: a crash is then one line with seed and number.

The file is mapped, so that noting a call costs no system call and the last note is there even after a kill.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_SIZE = 8192
_TEXT = 1024  # place of the text
_COUNTERS = 64  # place of the counters
_PLACE = struct.Struct("<qqq")
_LENGTH = struct.Struct("<q")

#: Counters, by name: of calls, of those whose status was n, of files and of those that could be read.
COUNTERS = ["calls", "ended", "accepted", "peak_growth", "largest_time_us"] + [f"status_{n}" for n in range(32)]


class Journal:
    """Shared by a worker, which writes, and the runner, which reads."""

    def __init__(self, path: Path):
        if not path.exists():
            path.write_bytes(bytes(_SIZE))
        self._slowest = path.with_name("slowest")
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._places = {name: _COUNTERS + 8 * i for i, name in enumerate(COUNTERS)}

    def note(self, number: int, call: int, text: str) -> None:
        """About to make call `call` of scenario `number`."""
        data = text.encode("utf-8", "replace")[: _SIZE - _TEXT - 8]
        _PLACE.pack_into(self._map, 0, number, call, self.place()[2] + 1)
        _LENGTH.pack_into(self._map, _TEXT, len(data))
        self._map[_TEXT + 8 : _TEXT + 8 + len(data)] = data

    def place(self) -> tuple[int, int, int]:
        """Scenario, call, and a number that grows with each note."""
        return _PLACE.unpack_from(self._map, 0)  # type: ignore[return-value]

    def text(self) -> str:
        length = _LENGTH.unpack_from(self._map, _TEXT)[0]
        return self._map[_TEXT + 8 : _TEXT + 8 + length].decode("utf-8", "replace")

    def add(self, name: str, amount: int = 1) -> None:
        place = self._places[name]
        _LENGTH.pack_into(self._map, place, _LENGTH.unpack_from(self._map, place)[0] + amount)

    def raise_to(self, name: str, value: int) -> bool:
        """Keeps the largest value; whether this is it."""
        place = self._places[name]
        larger = value > _LENGTH.unpack_from(self._map, place)[0]
        if larger:
            _LENGTH.pack_into(self._map, place, value)
        return larger

    def took(self, seconds: float) -> None:
        """The call that was noted last took so long. The text of the longest one is kept."""
        if self.raise_to("largest_time_us", int(seconds * 1e6)) and seconds > 1:
            self._slowest.write_text(f"number {self.place()[0]}, {self.text()}")

    def slowest(self) -> str:
        """The longest call, "" if all were short."""
        return self._slowest.read_text() if self._slowest.exists() else ""

    def counters(self) -> dict[str, int]:
        return {name: _LENGTH.unpack_from(self._map, place)[0] for name, place in self._places.items()}

    def close(self) -> None:
        self._map.close()
