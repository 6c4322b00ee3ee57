"""Docstrings of the package as Markdown."""

from __future__ import annotations

import re
import textwrap

from page_forms import escaped

#: "name: meaning" or "name, name: meaning" at the beginning of a line.
_ENTRY = re.compile(r"^([a-z]\w*(?:, [a-z]\w*)*): (\S.*)$")


def as_markdown(docstring: str) -> str:
    """``::`` and the indented lines behind it become a block of code, lines "name: meaning" a list, and a line with
    indented lines below it a heading of those."""
    lines = textwrap.dedent(_first_dedented(docstring)).split("\n")
    result: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        if line.endswith("::"):
            block, place = _indented(lines, place + 1)
            result += [line[:-2].rstrip() + ":"] if line[:-2].strip() else []
            result += ["", "```python", *block, "```", ""]
            continue
        following = lines[place + 1] if place + 1 < len(lines) else ""
        entry = _ENTRY.match(line)
        if entry and _ends(result):
            block, place = _indented(lines, place + 1)
            names = ", ".join(f"`{name}`" for name in entry[1].split(", "))
            meaning = " ".join([entry[2], *(text.strip() for text in block if text.strip())])
            result += ["", f"- {names}: {escaped(meaning)}"]
            continue
        is_head = line and not line.startswith((" ", "-")) and ":" not in line and following.startswith("    ")
        if is_head and _ENTRY.match(following.strip()):
            block, place = _indented(lines, place + 1)
            result += ["", f"**{line}**", "", as_markdown("\n".join(block)), ""]
            continue
        result.append(escaped(line))
        place += 1
    return "\n".join(result).strip() + "\n"


def _first_dedented(docstring: str) -> str:
    """The first line stands behind the quotes, so its own margin says nothing."""
    first, _, rest = docstring.partition("\n")
    return first.strip() + "\n" + textwrap.dedent(rest)


def _ends(result: list[str]) -> bool:
    """Whether a new entry may begin: nothing, a blank line or the end of a sentence is above."""
    before = result[-1].rstrip() if result else ""
    return not before or before.endswith((".", ":", ";")) or before.startswith("- ")


def _indented(lines: list[str], place: int) -> tuple[list[str], int]:
    """The indented lines from `place` on, blank ones among them, without their margin; and the place behind them."""
    start = place
    while place < len(lines) and (not lines[place].strip() or lines[place].startswith((" ", "\t"))):
        place += 1
    while place > start and not lines[place - 1].strip():
        place -= 1
    block = textwrap.dedent("\n".join(lines[start:place])).strip("\n")
    return (block.split("\n") if block else []), place
