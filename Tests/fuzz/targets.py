"""What is fuzzed, by name. A target is prepared once a process and then given numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .journal import Journal
from .library import Library
from .scenario import BATCH, Scenario, World

Report = Callable[[dict[str, Any]], None]
Run = Callable[[int, int], None]

#: Calls of a scenario.
CALLS = 25


def _interface(library: Library, journal: Journal, folder: Path, report: Report) -> Run:
    """Calls of all functions of carl.h."""
    from .recipes import missing

    if untested := missing(library.header):
        raise SystemExit(f"carl.h declares functions that no recipe calls: {', '.join(sorted(untested))}")
    make_odd_files(folder)
    world = World(library, journal, folder, report)

    def run(seed: int, number: int) -> None:
        Scenario(world, seed, number).run(CALLS)

    return run


def _checkpoints(library: Library, journal: Journal, folder: Path, report: Report) -> Run:
    from .checkpoints import CheckpointFuzzer

    return CheckpointFuzzer(library, journal, folder, report).run


def _sources(library: Library, journal: Journal, folder: Path, report: Report) -> Run:
    from .sources import SourceFuzzer

    return SourceFuzzer(journal, folder, report).run


#: Name -> how to prepare it, and how many numbers a process gets.
TARGETS: dict[str, tuple[Callable[[Library, Journal, Path, Report], Run], int]] = {
    "interface": (_interface, BATCH),
    "checkpoints": (_checkpoints, 1000),
    "sources": (_sources, 1000),
}


def make_odd_files(folder: Path) -> None:
    """What a path may lead to beside a proper file."""
    (folder / "empty").touch()
    (folder / "text").write_text("no checkpoint\n")
    for name, make in (
        ("pipe", os.mkfifo),
        ("loop", lambda path: os.symlink("loop", path)),
        ("readonly", lambda path: os.mkdir(path, 0o500)),
    ):
        if not os.path.lexists(folder / name):
            make(folder / name)
