"""The layout that docs/architecture.md states: no folder of the Swift library knows one below; long files say why."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "Sources" / "CARL"
#: Lines from which on a file says why.
LONGEST = {".swift": 300, ".py": 400}
#: Columns of a line of prose or code. Rows of a table cannot be wrapped, nor a line that an error prints; texts of the
#: Swift tests are data.
COLUMNS = 120
UNWRAPPED = ("|", 'python -c "import torch')

DECLARATION = re.compile(
    r"^(?:(?:public|package|final|indirect|@\w+(?:\([^)]*\))?) )*"
    r"(?:struct|class|enum|protocol|actor|typealias|func) ([A-Za-z_]\w*)",
    re.MULTILINE,
)

pytestmark = pytest.mark.skipif(not SOURCES.is_dir(), reason="the sources are not here")


def folders() -> list[str]:
    """In the order of the table, each once."""
    rows = re.findall(r"^\| `(\w+)(?:/\w+)?` \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    return list(dict.fromkeys(rows))


def code(file: Path) -> str:
    """Without comments and texts."""
    text = re.sub(r"//.*", "", file.read_text())
    return re.sub(r'"(?:\\.|[^"\\])*"', '""', text)


def violations(order: list[str], files: dict[str, dict[str, str]]) -> list[str]:
    """Names that a file uses and that only a folder below its own declares."""
    homes = defaultdict(set)
    for folder, texts in files.items():
        for text in texts.values():
            for name in DECLARATION.findall(text):
                homes[name].add(folder)
    found = []
    for folder, texts in files.items():
        for file, text in texts.items():
            for name in set(re.findall(r"\b[A-Za-z_]\w*\b", text)):
                if len(homes.get(name, ())) == 1:
                    (home,) = homes[name]
                    if order.index(home) > order.index(folder):
                        found.append(f"{folder}/{file} uses {name} of {home}")
    return sorted(found)


def sources() -> dict[str, dict[str, str]]:
    files: dict[str, dict[str, str]] = defaultdict(dict)
    for file in sorted(SOURCES.rglob("*.swift")):
        parts = file.relative_to(SOURCES).parts
        if len(parts) > 1:
            files[parts[0]]["/".join(parts[1:])] = code(file)
    return files


def tracked(*paths: str) -> list[str]:
    """Names of files; none outside a checkout."""
    run = subprocess.run(["git", "ls-files", *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stdout.split()


def test_the_table_lists_the_folders():
    assert sorted(folders()) == sorted(sources())


def test_what_is_low_knows_nothing_of_what_is_high():
    assert violations(folders(), sources()) == []


def test_the_check_finds_an_upward_reference():
    files = {"Low": {"a.swift": "struct A { let b: B }"}, "High": {"b.swift": "struct B { let a: A }"}}
    assert violations(["Low", "High"], files) == ["Low/a.swift uses B of High"]


def test_long_files_say_why():
    long = []
    for name in tracked("Sources", "python"):
        file = ROOT / name
        if file.suffix in LONGEST and file.exists():
            text = file.read_text()
            if len(text.splitlines()) > LONGEST[file.suffix] and "One file" not in text:
                long.append(name)
    assert long == []


def test_lines_are_not_too_long():
    long = []
    for name in tracked("*.md", "*.py", "*.swift", "*.c", "*.h"):
        if name.startswith("Tests/CARLTests/") or not (ROOT / name).exists():
            continue
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > COLUMNS and not (name.endswith(".md") and line.lstrip().startswith(UNWRAPPED)):
                long.append(f"{name}:{number}")
    assert long == []
