"""Says what is in a wheel, and fails where it is not one for other machines.

python tools/check_wheel.py dist/libcarl-*.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

#: Bytes that a wheel may have.
LIMIT = 40_000_000
LIBRARIES = ("carl/lib/libcarl.so", "carl/lib/glibc-hwcaps/x86-64-v4/libcarl.so")


def complaints(wheel: Path) -> list[str]:
    """What is wrong with it."""
    found = []
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    if "-manylinux_" not in wheel.name:
        found.append("its tag is not that of manylinux: only machines like this one would take it")
    if LIBRARIES[0] not in names:
        found.append(f"{LIBRARIES[0]} is missing")
    if wheel.stat().st_size >= LIMIT:
        found.append(f"it has {wheel.stat().st_size:,} bytes, and {LIMIT:,} is the limit")
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("check_wheel.py takes one wheel, got: " + (" ".join(arguments) or "none"), file=sys.stderr)
        return 2
    wheel = Path(arguments[0])
    found = complaints(wheel)
    for complaint in found:
        print(f"{wheel.name}: {complaint}", file=sys.stderr)
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if ".so" in entry.filename:
                print(f"{entry.filename}: {entry.file_size:,} bytes")
        levels = sum(name in archive.namelist() for name in LIBRARIES)
    print(f"{wheel}: {wheel.stat().st_size:,} bytes, {levels} processor level{'s' if levels != 1 else ''}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
