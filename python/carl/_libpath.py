"""Finds libcarl, the shared library written in Swift."""

from __future__ import annotations

import os
import sys

#: Environment variable that names the library's file and goes before every other place.
ENVIRONMENT_VARIABLE = "CARL_LIBRARY"

FILE_NAME = "libcarl.dylib" if sys.platform == "darwin" else "libcarl.so"
SYSTEM_NAMES = ("libcarl.0.dylib", "libcarl.dylib") if sys.platform == "darwin" else ("libcarl.so.0", "libcarl.so")


def candidates() -> list[str]:
    """The places to try, in order. Names without a slash are left to the system's loader."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        # A path that somebody chose is used or is an error: falling back would hide a spelling mistake.
        return [os.path.abspath(os.path.expanduser(named))]
    package = os.path.dirname(os.path.realpath(__file__))
    places = [os.path.join(package, "lib", FILE_NAME)]
    checkout = os.path.dirname(os.path.dirname(package))
    if os.path.isfile(os.path.join(checkout, "Package.swift")):
        places.append(os.path.join(checkout, ".build", "release", FILE_NAME))
    places.extend(SYSTEM_NAMES)
    return places


def not_found_message(attempts: list[tuple[str, str]]) -> str:
    """The error text: every place tried and why it failed, then what to do."""
    lines = ["libcarl could not be loaded. Tried:"]
    lines += [f"  {place}: {reason}" for place, reason in attempts]
    lines.append(
        f"Build it with `swift build -c release --product carl`, install the package with `pip install .`, "
        f"or name the file in the environment variable {ENVIRONMENT_VARIABLE}."
    )
    return "\n".join(lines)
