"""include/carl.h as a page of Markdown: its sections, its declarations, and the comments above them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from page_forms import escaped

_SECTION = re.compile(r"^/\* -{3,} (\d+\. .+?) -{3,} \*/$")
_FUNCTION = re.compile(r"\b(carl_\w+)\s*\(")
_TYPE = re.compile(r"\btypedef\s+(?:struct\s+(carl_\w+)|\w+\s+(carl_\w+);|void\s*\(\*(carl_\w+)\))")
_MACRO = re.compile(r"^#define (CARL_\w+) ")


@dataclass
class Part:
    """A comment, as its text, or a declaration, as its lines."""

    comment: str = ""
    code: str = ""


def page(header: str) -> str:
    """The reference. `header` is the text of carl.h.

    Raises ValueError for a header without sections, or with a declaration before the first of them.
    """
    introduction, sections = _read(header)
    names = [name for _, parts in sections for part in parts for name in declared(part.code)]
    title, _, rest = introduction.partition("\n")
    what = title.partition(" - ")[2]
    lines = ["# C reference", "", f"Written from `include/carl.h`, {what}", "", _prose(rest, names)]
    for head, parts in sections:
        lines += ["", f"## {head}", ""]
        comment = ""
        for part in parts:
            if part.comment:
                if comment:  # a comment that no declaration followed
                    lines += [_prose(comment, names), ""]
                comment = part.comment
                continue
            found = declared(part.code)
            if found:
                lines += [f"### `{found[0]}` {{ #{found[0]} }}", ""]
                lines += [f'<a id="{name}"></a>' for name in found[1:]] + [""]
            lines += ["```{.c .wide}", part.code, "```", ""]
            if comment:
                lines += [_prose(comment, names), ""]
            comment = ""
        if comment:
            lines += [_prose(comment, names), ""]
    return "\n".join(lines) + "\n"


def declared(code: str) -> list[str]:
    """Names of functions, types and macros that a piece of the header declares, in their order and once each."""
    names: list[str] = []
    flat = re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL)
    for line in re.sub(r"\{.*?\}", "{}", flat, flags=re.DOTALL).split("\n"):
        for match in (_TYPE.search(line), _MACRO.match(line)):
            if match:
                names += [name for name in match.groups() if name]
        if not line.startswith((" ", "typedef")) and (match := _FUNCTION.search(line)):
            names.append(match[1])
    return list(dict.fromkeys(names))


def _read(header: str) -> tuple[str, list[tuple[str, list[Part]]]]:
    """The comment at the top, and the parts of each section."""
    introduction = ""
    sections: list[tuple[str, list[Part]]] = []
    for block in _blocks(header):
        head = _SECTION.match(block)
        if head:
            sections.append((head[1], []))
        elif not introduction and block.startswith("/*"):
            introduction = _uncommented(block)
        elif sections:
            # What closes the header: #ifdef __cplusplus, #endif.
            if not block.startswith(("#ifdef", "#endif")):
                part = Part(comment=_uncommented(block)) if block.startswith("/*") else Part(code=block)
                sections[-1][1].append(part)
        elif declared(block) and not block.startswith("#"):
            raise ValueError(f"carl.h: a declaration before the first section: {block}")
    if not sections:
        raise ValueError("carl.h: no sections /* ---- 1. Name ---- */")
    return introduction, sections


def _blocks(header: str) -> Iterator[str]:
    """Comments that begin a line, and what lies between them and blank lines."""
    lines = header.splitlines()
    place = 0
    while place < len(lines):
        start = place
        if lines[place].startswith("/*"):
            while "*/" not in lines[place]:
                place += 1
            place += 1
        elif lines[place].strip():
            depth = 0
            while place < len(lines) and (depth > 0 or lines[place].strip()) and not lines[place].startswith("/*"):
                depth += lines[place].count("{") - lines[place].count("}")
                place += 1
        else:
            place += 1
            continue
        yield "\n".join(lines[start:place])


def _uncommented(block: str) -> str:
    body = block.strip().removeprefix("/*").removesuffix("*/").rstrip()
    return "\n".join(re.sub(r"^ \* ?", "", line) for line in body.strip("\n").split("\n")).strip()


def _prose(comment: str, names: list[str]) -> str:
    """A comment as Markdown: indented `name   meaning` lines are a list, names that the header declares are links."""
    result: list[str] = []
    in_list = False
    for line in comment.split("\n"):
        entry = re.match(r"^ {1,3}(\d+\.|[\w, ]+?)(?: {2,}| (?=[A-Z]))(\S.*)$", line)
        if entry and entry[1].rstrip(".").isdigit():
            result += [*([] if in_list else [""]), f"{entry[1]} {re.sub(' {2,}', ': ', entry[2])}"]
            in_list = True
        elif entry and re.match(r"^ {2,3}\S.*?\S {2,}", line):
            result += ["", f"- `{entry[1]}`: {entry[2]}"]
            in_list = True
        elif in_list and line.strip():
            result.append("    " + line.strip())
        else:
            in_list = False
            result.append(line.strip())
    return _linked(escaped(textwrap.dedent("\n".join(result)).strip()), names)


def _linked(text: str, names: list[str]) -> str:
    def link(match: re.Match[str]) -> str:
        word = match[0]
        return f"[`{word}`](#{word})" if word in names else f"`{word}`"

    return re.sub(r"(?<![`\w])(?:carl|CARL)_\w+\b(?!`)", link, text)
