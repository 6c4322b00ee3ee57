"""Finds libcarl, the shared library written in Swift."""

from __future__ import annotations

import os
import sys

#: Environment variable that names the library's file and goes before every other place.
ENVIRONMENT_VARIABLE = "CARL_LIBRARY"

FILE_NAME = "libcarl.dylib" if sys.platform == "darwin" else "libcarl.so"
SYSTEM_NAMES = ("libcarl.0.dylib", "libcarl.dylib") if sys.platform == "darwin" else ("libcarl.so.0", "libcarl.so")


#: Where, beside the library, the one for processors with AVX-512 lies: the folder that glibc's loader searches for
#: linked programs.
AVX512_FOLDER = os.path.join("glibc-hwcaps", "x86-64-v4")


def candidates() -> list[str]:
    """The places to try, in order. Names without a slash are left to the system's loader."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        # A path that somebody chose is used or is an error: falling back would hide a spelling mistake.
        return [os.path.abspath(os.path.expanduser(named))]
    package = os.path.dirname(os.path.realpath(__file__))
    folders = [os.path.join(package, "lib")]
    checkout = os.path.dirname(os.path.dirname(package))
    if os.path.isfile(os.path.join(checkout, "Package.swift")):
        folders.append(os.path.join(checkout, ".build", "release"))
    places = []
    for folder in folders:
        wide = os.path.join(folder, AVX512_FOLDER, FILE_NAME)
        if os.path.isfile(wide) and processor_has_avx512():
            places.append(wide)
        places.append(os.path.join(folder, FILE_NAME))
    places.extend(SYSTEM_NAMES)
    return places


def processor_has_avx512() -> bool:
    """Whether this processor has what x86-64-v4 consists of; False where the system does not say."""
    try:
        with open("/proc/cpuinfo", "rb") as lines:
            # The first processor's lines; a file of hundreds of processors takes long to read.
            words = lines.read(1 << 13).split()
    except OSError:
        return False
    return all(word in words for word in (b"avx512f", b"avx512bw", b"avx512cd", b"avx512dq", b"avx512vl"))


def refuse_command(error: Exception) -> None:
    """Ends the process with the error in one line if it is the command `carl` or `python -m carl`: the package is
    imported before any code of the command, which tells all other errors so."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    as_module = program == "-m" and ("-m", "carl") in zip(sys.orig_argv, sys.orig_argv[1:])
    if program == "carl" or as_module:
        lines = str(error).splitlines()
        tried = "; ".join(line.strip() for line in lines if line.startswith(" "))
        others = [line for line in lines if not line.startswith(" ")]
        sys.exit(" ".join(["carl:", others[0], *([f"{tried}."] if tried else []), *others[1:]]))


def not_found_message(attempts: list[tuple[str, str]]) -> str:
    """The error text: every place tried and why it failed, then what to do."""
    lines = ["libcarl could not be loaded. Tried:"]
    lines += [f"  {place}: {reason}" for place, reason in attempts]
    lines.append(
        f"Build it with `swift build -c release --product carl`, install the package with `pip install .`, "
        f"or name the file in the environment variable {ENVIRONMENT_VARIABLE}."
    )
    return "\n".join(lines)
