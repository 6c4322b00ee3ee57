"""From Markdown as repositories show it to that of MkDocs: blank lines, and equations as MathML."""

from __future__ import annotations

import html
import re

_FENCE = re.compile(r"^\s*(```|~~~)")
_LIST = re.compile(r"^(\s*)([-*+]|\d+\.) ")
#: What may follow on a line of text: an ordered list that begins with another number may not.
_LIST_START = re.compile(r"^([-*+]|1\.) ")
_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def with_blank_lines(text: str) -> str:
    """Blank lines before tables and lists that follow on a line of text, and around comments: without them
    Python-Markdown takes both for text."""
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        before = lines[-1] if lines else ""
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and before.strip():
            starts_table = line.startswith("|") and not before.startswith("|")
            starts_list = _LIST_START.match(line) and not _LIST.match(before) and not before.startswith((" ", "\t"))
            if starts_table or starts_list or line.startswith("<!--") or before.startswith("<!--"):
                lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Plain text as Markdown: what is no code has no tags, and no emphasis from products."""
    parts = re.split(r"(`+[^`]*`+)", text)
    parts[::2] = [re.sub(r"(?<=\s)\*(?=\s)", r"\\*", part).replace("<", "&lt;") for part in parts[::2]]
    return "".join(parts)


def with_mathml(page: str) -> str:
    """The page with its equations, which ``pymdownx.arithmatex`` has marked, as MathML: browsers draw it themselves."""

    import latex2mathml.converter  # of the site's own environment; nothing else here needs a package

    def mathml(match: re.Match[str]) -> str:
        block = match[2] == "["
        return latex2mathml.converter.convert(html.unescape(match[3]).strip(), display="block" if block else "inline")

    return _EQUATION.sub(mathml, page)
