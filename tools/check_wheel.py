"""Says what is in a wheel, and fails where it is not one for other machines.

python tools/check_wheel.py dist/libcarl-*.whl
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

#: Bytes that a wheel may have.
LIMIT = 40_000_000
LIBRARIES = ("carl/lib/libcarl.so", "carl/lib/glibc-hwcaps/x86-64-v4/libcarl.so")
#: What the first of them is to be built for, by the end of the wheel's name.
TARGETS = {"_x86_64.whl": "x86-64-v3", "_aarch64.whl": "arm64"}
#: Asks a library by a process of its own, which one for another processor may end.
ASK = """import ctypes, sys
ask = ctypes.CDLL(sys.argv[1]).carl_build_info
ask.restype = ctypes.c_char_p
print(ask().decode())"""


def complaints(wheel: Path) -> list[str]:
    """What is wrong with it."""
    found = []
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        library = archive.read(LIBRARIES[0]) if LIBRARIES[0] in names else None
    if "-manylinux_" not in wheel.name:
        found.append("its tag is not that of manylinux: only machines like this one would take it")
    if library is None:
        found.append(f"{LIBRARIES[0]} is missing")
    else:
        found += _complaints_of_target(library, next((t for end, t in TARGETS.items() if wheel.name.endswith(end)), ""))
    if wheel.stat().st_size >= LIMIT:
        found.append(f"it has {wheel.stat().st_size:,} bytes, and {LIMIT:,} is the limit")
    return found


def _complaints_of_target(library: bytes, wanted: str) -> list[str]:
    with tempfile.NamedTemporaryFile(suffix=".so") as file:
        file.write(library)
        file.flush()
        asked = subprocess.run([sys.executable, "-c", ASK, file.name], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        why = (asked.stderr.strip().splitlines() or [f"the process ended with {asked.returncode}"])[-1]
        return [f"{LIBRARIES[0]} cannot be loaded here: {why}"]
    target = json.loads(asked.stdout)["target"]
    if target == wanted:
        return []
    return [f"{LIBRARIES[0]} is built for {target}, not for {wanted}: some processors could not run it"]


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
