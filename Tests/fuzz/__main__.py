"""python -m fuzz: see README.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .library import ROOT, library_path
from .runner import Runner, Summary
from .targets import TARGETS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description="Fuzzes libcarl: calls of its C interface, files that it reads, data files of the Python package.",
    )
    parser.add_argument("target", nargs="?", choices=[*TARGETS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=0, help="numbers of one seed are the same everywhere (default 0)")
    parser.add_argument("--calls", type=int, default=500_000, help="calls of the C interface (default 500,000)")
    parser.add_argument(
        "--files", type=int, default=100_000, help="mutated files, a fifth of them data files (default 100,000)"
    )
    parser.add_argument("--only", type=int, metavar="N", help="run number N alone, to see a finding again")
    parser.add_argument("--first", type=int, default=0, help="the number to begin with")
    parser.add_argument("--end", type=int, help="the number to stop before")
    parser.add_argument("--here", action="store_true", help="with --only: in this process, for a debugger")
    parser.add_argument("--library", help="the library's file (default: CARL_LIBRARY, else this checkout's build)")
    parser.add_argument("--header", type=Path, default=ROOT / "include" / "carl.h")
    parser.add_argument("--hang-seconds", type=float, default=60, help="a call that takes longer hangs (default 60)")
    parser.add_argument(
        "--memory",
        type=float,
        default=3,
        metavar="GB",
        help="address space of a worker beyond what it begins with (default 3)",
    )
    parser.add_argument("--findings", type=int, default=100, help="stop after so many findings (default 100)")
    parser.add_argument("--log", type=Path, help="append findings and figures to this file too")
    options = parser.parse_args(arguments)
    library = library_path(options.library)
    if options.only is not None:
        options.first, options.end = options.only, options.only + 1
    if (options.only is not None or options.end is not None) and options.target == "all":
        parser.error("name a target with --only and --end")
    if options.here:
        return _here(options, library)

    def say(text: object) -> None:
        print(text, flush=True)
        if options.log:
            with open(options.log, "a", encoding="utf-8") as file:
                file.write(f"{text}\n")

    found = 0
    for target in TARGETS if options.target == "all" else [options.target]:
        runner = Runner(
            target,
            library,
            options.header,
            options.seed,
            options.hang_seconds,
            int(options.memory * (1 << 30)),
            lambda finding: say(finding),
        )
        wanted = {"checkpoints": options.files - options.files // 5, "sources": options.files // 5}.get(target)
        end = options.end if options.end is not None else options.first + wanted if wanted is not None else 1 << 62
        calls = options.calls if options.end is None and target == "interface" else 0
        summary = runner.run(options.first, end, calls, options.findings, _progress())
        found += len(summary.findings)
        say(summary.line())
    say(f"{library}, seed {options.seed}: {'nothing found' if found == 0 else f'{found} findings'}")
    return 1 if found else 0


def _progress():
    last = time.monotonic()

    def tell(summary: Summary) -> None:
        nonlocal last
        if time.monotonic() - last > 60:
            last = time.monotonic()
            print(f"  {summary.line()}", file=sys.stderr, flush=True)

    return tell


def _here(options: argparse.Namespace, library: Path) -> int:
    from .worker import work

    with tempfile.TemporaryDirectory(prefix="carl-fuzz-") as name:
        folder = Path(name)
        work(
            options.target,
            library,
            options.header,
            options.seed,
            range(options.first, options.end),
            folder,
            int(options.memory * (1 << 30)),
        )
        findings = folder / "findings"
        print(findings.read_text() if findings.exists() else "nothing found")
        return int(findings.exists())


if __name__ == "__main__":
    sys.exit(main())
