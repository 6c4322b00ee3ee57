"""What objects show of themselves: a line in a console, a table in a notebook."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

#: Entries of a list or mapping that are shown, and signs of a text.
_ENTRIES, _SIGNS = 8, 200
#: Longest line, and width of the lines that a longer one becomes.
_LINE, _WIDTH = 300, 100


def shown(value: Any, digits: int | None = 6) -> str:
    """A value in some words: an array larger than a few numbers by its dtype and shape, the first entries of a long
    list.

    digits: of a float; None for all of them, for what is to be typed again.
    """
    if isinstance(value, np.ndarray):
        if value.ndim == 1 and value.size <= _ENTRIES and value.dtype != object:
            return shown(value.tolist(), digits)
        return f"<{value.dtype} {value.shape}>"
    if isinstance(value, np.generic):
        return shown(value.item(), digits)
    if isinstance(value, float) and digits is not None:
        text = f"{value:.{digits}g}"
        return text if set(text) & set(".en") else f"{text}.0"
    if inspect.isroutine(value):
        return value.__qualname__
    if isinstance(value, list) and digits is not None and len(value) > 2 and isinstance(value[0], dict):
        return f"<{len(value)} rows>"
    if type(value) in (list, tuple):
        inner = ", ".join([shown(item, digits) for item in value[:_ENTRIES]] + _more(value))
        if isinstance(value, list):
            return f"[{inner}]"
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if type(value) is dict:
        items = list(value.items())
        pairs = [f"{shown(key, digits)}: {shown(item, digits)}" for key, item in items[:_ENTRIES]]
        return "{" + ", ".join(pairs + _more(items)) + "}"
    text = repr(value)
    return text if len(text) <= _SIGNS else f"{text[: _SIGNS // 2]}…{text[-_SIGNS // 2 :]}"


def _more(items: Any) -> list[str]:
    return [f"… {len(items) - _ENTRIES} more"] if len(items) > _ENTRIES else []


def line(name: str, values: Mapping[str, Any], digits: int | None = 6) -> str:
    """Name(key=value, ...), in several lines where one would be a long one."""
    parts = [f"{key}={shown(value, digits)}" for key, value in values.items()]
    if sum(map(len, parts)) <= _LINE:
        return f"{name}({', '.join(parts)})"
    lines = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) > _WIDTH:
            lines.append("")
        lines[-1] += f"{part}, "
    return "\n    ".join([f"{name}(", *(each.rstrip() for each in lines)]) + "\n)"


class ShownFields:
    """A dataclass that shows its fields in some words; the dataclass is made with ``repr=False``."""

    def __repr__(self) -> str:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return line(type(self).__name__, {field.name: getattr(self, field.name) for field in fields})


def count_text(count: int) -> str:
    """11173962 -> "11.2 million"."""
    return f"{count / 1e6:.1f} million" if count >= 1_000_000 else f"{count:,}"


#: Only what a notebook's own rules would do otherwise: its colours stay, so that light and dark themes are legible.
_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0;border:none;background:none;white-space:normal"


def table(title: str, state: str, rows: Iterable[tuple[str, object]]) -> str:
    """An HTML table: what an object is, the state it is in, and a row for each fact. All text is escaped."""
    from html import escape

    cells = "".join(
        f'<tr style="background:none"><th style="{_CELL};font-weight:normal;opacity:.7">{escape(name)}</th>'
        f'<td style="{_CELL}">{escape(str(value))}</td></tr>'
        for name, value in rows
    )
    return (
        '<div style="display:inline-block;border:1px solid rgba(128,128,128,.5);border-radius:4px;padding:6px 12px">'
        f"<strong>{escape(title)}</strong>"
        f'<span style="opacity:.7"> &nbsp;{escape(state)}</span>'
        '<table style="color:inherit;border-collapse:collapse;margin:4px 0 0;font-size:90%;border:none">'
        f"{cells}</table></div>"
    )
