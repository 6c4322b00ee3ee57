"""Carries the version from the file VERSION, the one place that states it, to the files that must hold a copy.

hatchling, the Makefile, carl.pc and the CMake package read VERSION themselves. The copies are what is compiled or
imported without a build step before it: the library's version string, the package's, and the citation. generate.py
writes them, and its --check says when one is stale.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Semantic versions without pre-releases: the shared library's file name and CMake compare three numbers.
FORM = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
#: Each file with a copy, and the line that holds it, with the version in the second group.
COPIES = {
    "Sources/CARLInterface/Library.swift": r'^(private let version: StaticString = ")([^"]*)(")',
    "python/carl/_version.py": r'^(__version__ = ")([^"]*)(")',
    "CITATION.cff": r"^(version: )(\S*)()$",
}


def current(root: Path = ROOT) -> str:
    """What VERSION says; LookupError where that is no version."""
    text = (root / "VERSION").read_text(encoding="utf-8").strip()
    if not FORM.fullmatch(text):
        raise LookupError(f"VERSION: {text!r} is no version such as 1.2.3")
    return text


def copies(root: Path = ROOT) -> dict[Path, str]:
    """The files with a copy, and what each is to hold."""
    version, texts = current(root), {}
    for name, pattern in COPIES.items():
        file = root / name
        text, found = re.subn(
            pattern, lambda line: line[1] + version + line[3], file.read_text(encoding="utf-8"), flags=re.MULTILINE
        )
        if found != 1:
            raise LookupError(f"{name} has {found} lines that state the version, instead of one")
        texts[file] = text
    return texts
