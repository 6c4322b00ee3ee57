"""Runs workers, sees them crash or hang, and says how to see it again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .journal import Journal
from .targets import TARGETS

_TESTS = Path(__file__).resolve().parents[1]


@dataclass
class Finding:
    kind: str  #: "crash", "hang", or what a worker reported
    target: str
    seed: int
    first: int  #: the numbers that show it: the last one alone when first is last
    last: int
    call: int
    doing: str
    what: str

    @property
    def replay(self) -> str:
        numbers = f"--only {self.last}" if self.first == self.last else f"--first {self.first} --end {self.last + 1}"
        return f"python -m fuzz {self.target} --seed {self.seed} {numbers}"

    def __str__(self) -> str:
        return (
            f"{self.kind.upper()}: {self.what}\n  in {self.doing[:600]}\n  number {self.last}, call {self.call}; "
            f"again: {self.replay}"
        )


@dataclass
class Summary:
    target: str
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0
    slowest: str = ""  #: the longest call

    def line(self) -> str:
        """The closing figures in one line."""
        kinds = Counter(finding.kind for finding in self.findings)
        statuses = ", ".join(
            f"{name[7:]}: {count:,}"
            for name, count in sorted(self.counts.items(), key=lambda item: item[0])
            if name.startswith("status_") and count
        )
        files = (
            f"{self.counts['ended']:,} files ({self.counts['accepted']:,} accepted), "
            if self.target != "interface"
            else ""
        )
        return (
            f"{self.target}: {files}{self.counts['calls']:,} calls in {self.seconds:.0f} s; statuses {{{statuses}}}; "
            f"crashes {kinds.pop('crash', 0)}, hangs {kinds.pop('hang', 0)}, calls beyond their memory class "
            f"{kinds.pop('memory', 0)}, other findings {sum(kinds.values())}; most memory of a call "
            f"{self.counts['peak_growth'] >> 20} MB, longest call "
            f"{self.counts['largest_time_us'] / 1e6:.1f} s" + (f" ({self.slowest[:200]})" if self.slowest else "")
        )


@dataclass
class Runner:
    """Runs numbers of one target from `first` on, in processes of their own."""

    target: str
    library: Path
    header: Path
    seed: int = 0
    hang_seconds: float = 60
    more_memory: int = 3 << 30
    tell: Callable[[Finding], None] = print

    def run(
        self,
        first: int,
        end: int,
        calls: int = 0,
        findings: int = 100,
        progress: Callable[[Summary], None] = lambda summary: None,
    ) -> Summary:
        """Runs numbers up to `end`, or until so many calls were made, or so many findings were told."""
        summary = Summary(self.target)
        begin = time.monotonic()
        share = TARGETS[self.target][1]
        while first < end and not (calls and summary.counts["calls"] >= calls) and len(summary.findings) < findings:
            stop = min(end, first - first % share + share)
            first = self._part(first, stop, summary)
            summary.seconds = time.monotonic() - begin
            progress(summary)
        return summary

    def _part(self, first: int, end: int, summary: Summary) -> int:
        """Runs one worker and tells what it found. Returns the number to go on with."""
        with tempfile.TemporaryDirectory(prefix="carl-fuzz-") as name:
            folder = Path(name)
            outcome, journal = self._work(folder, first, end)
            if journal.counters()["largest_time_us"] > summary.counts["largest_time_us"]:
                summary.slowest = journal.slowest()
            for key, value in journal.counters().items():
                summary.counts[key] = (
                    max(summary.counts[key], value)
                    if key in ("peak_growth", "largest_time_us")
                    else summary.counts[key] + value
                )
            for told in self._reported(folder):
                self._add(
                    summary,
                    Finding(
                        told["kind"],
                        self.target,
                        self.seed,
                        told["number"],
                        told["number"],
                        told["call"],
                        told["doing"],
                        told["what"],
                    ),
                )
            if outcome is None:
                return end
            number, call, _ = journal.place()
            kind = outcome[0]
            if kind == "fuzzer error":
                raise RuntimeError(f"the fuzzer itself failed at number {number}: {outcome[1]}")
            number = max(number, first)  # files to damage are made under numbers below 0
            alone = kind == "hang" or number == first or self._again(number)
            self._add(
                summary,
                Finding(
                    kind, self.target, self.seed, number if alone else first, number, call, journal.text(), outcome[1]
                ),
            )
            return number + 1

    def _add(self, summary: Summary, finding: Finding) -> None:
        summary.findings.append(finding)
        self.tell(finding)

    def _again(self, number: int) -> bool:
        """Whether a number crashes by itself."""
        with tempfile.TemporaryDirectory(prefix="carl-fuzz-") as name:
            return self._work(Path(name), number, number + 1)[0] is not None

    @staticmethod
    def _reported(folder: Path) -> list[dict]:
        path = folder / "findings"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _work(self, folder: Path, first: int, end: int) -> tuple[tuple[str, str] | None, Journal]:
        """Runs a worker to its end: None, or the kind of its failure and what is known of it."""
        journal = Journal(folder / "journal")
        command = [
            sys.executable,
            "-m",
            "fuzz.worker",
            self.target,
            str(self.library),
            str(self.header),
            str(self.seed),
            str(first),
            str(end),
            str(folder),
            str(self.more_memory),
        ]
        python = os.pathsep.join(
            filter(None, [str(_TESTS), os.environ.get("PYTHONPATH", ""), str(_TESTS.parent / "python")])
        )
        environment = {
            **os.environ,
            "PYTHONPATH": python,
            "CARL_LIBRARY": str(self.library),
            "PYTHONWARNINGS": "ignore",
        }
        with open(folder / "output", "wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, stdin=subprocess.DEVNULL)
            try:
                outcome = self._wait(process, journal)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if outcome is not None:
            text = (folder / "output").read_text("utf-8", "replace").strip()
            if outcome[1] == "exit status 1" and "Traceback (most recent call last)" in text:
                outcome = "fuzzer error", outcome[1]
            told = text[-4000:] if outcome[0] == "fuzzer error" else _told(text)
            outcome = outcome[0], f"{outcome[1]}; {told}" if told else outcome[1]
        return outcome, journal

    def _wait(self, process: subprocess.Popen[bytes], journal: Journal) -> tuple[str, str] | None:
        place, since = journal.place(), time.monotonic()
        while True:
            try:
                status = process.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                pass
            if journal.place() != place:
                place, since = journal.place(), time.monotonic()
            elif time.monotonic() - since > (
                self.hang_seconds if place[2] > 1 else max(self.hang_seconds, 120)
            ):  # loading may take a while
                return "hang", f"no end after {self.hang_seconds:.0f} s; {stack(process.pid)}"
        if status == 0:
            return None
        if status < 0:
            return "crash", signal.Signals(-status).name
        return "crash", f"exit status {status}"


def _told(text: str) -> str:
    """What a dying process said: Swift's fatal error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [
        line for line in lines if "atal error" in line or "failed to allocate" in line or "terminate called" in line
    ]
    return (fatal or lines or [""])[-1][:300]


def stack(process: int) -> str:
    """Where a process is, if gdb can tell."""
    gdb = shutil.which("gdb")
    if gdb is None:
        return "gdb would tell where"
    try:
        command = [gdb, "-p", str(process), "-batch", "-ex", "bt 12"]
        text = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL).stdout
    except subprocess.TimeoutExpired:
        return "gdb did not answer"
    frames = [re.match(r"#\d+\s+(?:0x[0-9a-f]+ in )?(\S+)", line) for line in text.splitlines()]
    return "in " + " < ".join(frame[1] for frame in frames if frame)
