"""Memory of the machine and of this process."""

from __future__ import annotations

import os
from contextlib import suppress


def available_memory() -> int:
    """Bytes that can be had without swapping, by the machine and by the control groups around this process, as far as
    is known."""
    return min([_machine(), *_groups()])


def resident_memory() -> int:
    """Bytes of this process that are in memory; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(_text("/proc/self/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _machine() -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in _text("/proc/meminfo").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 2**63


def _groups(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> list[int]:
    """Bytes that each control group has left: its limit less what is in use and cannot be reclaimed. Version 2 and
    1."""
    folders = {(root, True), (f"{root}/memory", False)}
    with suppress(OSError):
        for line in _text(membership).splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                place = root if not controllers else f"{root}/memory"
                for name in path.strip("/").split("/"):
                    place = f"{place}/{name}"
                    folders.add((place, not controllers))
    left = []
    for folder, unified in folders:
        names = (
            ("memory.max", "memory.current", "inactive_file")
            if unified
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            limit, used = (int(_text(f"{folder}/{name}")) for name in names[:2])
            dropped = 0
            with suppress(OSError, ValueError):
                dropped = sum(
                    int(line.split()[1])
                    for line in _text(f"{folder}/memory.stat").splitlines()
                    if line.split()[0] == names[2]
                )
            left.append(max(0, limit - max(0, used - dropped)))
    return left


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
