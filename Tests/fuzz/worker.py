"""The process that makes the calls: one part of the numbers, under limits, watched by the runner."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from . import conditions
from .header import Header
from .journal import Journal
from .library import Library
from .targets import TARGETS


def work(target: str, library: Path, header: Path, seed: int, numbers: range, folder: Path, more_memory: int) -> None:
    """Runs some numbers of a target in this process. Findings that are no crash go to folder/findings."""
    # Python ignores these two; a program in C does not.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    journal = Journal(folder / "journal")
    journal.note(numbers.start, 0, "(preparing)")

    def report(finding: dict[str, Any]) -> None:
        with open(folder / "findings", "a", encoding="utf-8") as file:
            file.write(json.dumps(finding) + "\n")

    run = TARGETS[target][0](Library(library, Header.read(header)), journal, folder, report)
    conditions.limit_worker(more_memory)
    for number in numbers:
        run(seed, number)
        journal.add("ended")


if __name__ == "__main__":
    name, library, header, seed, first, end, folder, memory = sys.argv[1:]
    work(name, Path(library), Path(header), int(seed), range(int(first), int(end)), Path(folder), int(memory))
