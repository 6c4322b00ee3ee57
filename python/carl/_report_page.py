"""The HTML of a report: no script, no other file, no network."""

from __future__ import annotations

import html
import io
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pixels an inch: sharp on dense screens too, which show the pictures at half size.
_DPI = 160
#: Lines of the log that are shown.
_LOG_LINES = 200
#: Mappings inside of mappings that become rows of their own.
_DEPTH = 8

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
       color: #1c1c1e; background: #f5f5f3; margin: 0; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 2px; }
h3 { font-size: 15px; margin: 18px 0 4px; font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-weight: 600; }
p { margin: 0 0 10px; color: #55555a; overflow-wrap: anywhere; }
section { background: #fff; border: 1px solid #e2e2de; border-radius: 8px; padding: 18px 22px; margin-top: 18px; }
img { display: block; max-width: 100%; height: auto; margin: 6px auto 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 10px; margin-top: 18px; }
.cards div { background: #fff; border: 1px solid #e2e2de; border-radius: 8px; padding: 10px 14px; }
.cards b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
.cards span { color: #6a6a70; font-size: 13px; }
.banner { background: #fdecea; border: 1px solid #e6a49c; color: #8a1c10; border-radius: 8px;
          padding: 10px 16px; margin-top: 18px; }
.parts { display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); gap: 0 32px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
td { border-top: 1px solid #ececea; padding: 3px 12px 3px 0; vertical-align: top; overflow-wrap: anywhere; }
td:first-child { white-space: nowrap; color: #55555a; width: 1%; }
th { text-align: left; font-weight: 600; padding: 3px 12px 3px 0; }
.grid td { white-space: normal; width: auto; }
td:last-child, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 13px; }
pre { overflow-x: auto; margin: 8px 0 0; }
summary { cursor: pointer; font-size: 19px; font-weight: 600; }
"""


def document(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def heading(title: str, subtitle: str) -> str:
    return f"<h1>{html.escape(title)}</h1>\n<p>{html.escape(subtitle)}</p>"


def banner(text: str) -> str:
    return f'<div class="banner">{html.escape(text)}</div>' if text else ""


def cards(figures: Mapping[str, str]) -> str:
    """A small box for each figure."""
    boxes = (
        f"<div><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>" for name, value in figures.items()
    )
    return f'<div class="cards">{"".join(boxes)}</div>' if figures else ""


def picture(name: str, title: str, explanation: str, figure: Figure) -> str:
    """A figure inside the page, as a PNG image."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    data = b64encode(stream.getvalue()).decode("ascii")
    width = round(figure.get_figwidth() * 100)
    return (
        "<section "
        f'id="{html.escape(name.replace(" ", "-"))}"><h2>{html.escape(title)}</h2>\n<p>{html.escape(explanation)}</p>\n'
        f'<img alt="{html.escape(title)}" width="{width}" src="data:image/png;base64,{data}"></section>'
    )


def left_out(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return ""
    return f"<section><h2>Not shown</h2>\n{_table(reasons)}</section>"


def tables(title: str, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """A section with a table for each part, under the part's name."""
    if not any(parts.values()):
        return ""
    return f"<section><h2>{html.escape(title)}</h2>\n{_parts(parts)}</section>"


def _parts(parts: Mapping[str, Mapping[str, Any]]) -> str:
    body = [
        (f"<h3>{html.escape(name)}</h3>" if name else "") + _table(dict(_flat(values)))
        for name, values in parts.items()
    ]
    return body[0] if len(body) == 1 else f'<div class="parts"><div>{"</div><div>".join(body)}</div></div>'


def grid(title: str, explanation: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A section with a table of several columns."""
    head = "".join(f"<th>{html.escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<section><h2>{html.escape(title)}</h2>\n<p>{html.escape(explanation)}</p>\n"
        f'<table class="grid"><tr>{head}</tr>{body}</table></section>'
    )


def folded(title: str, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """``tables`` that opens when it is clicked on."""
    if not any(parts.values()):
        return ""
    return f"<section><details><summary>{html.escape(title)}</summary>\n{_parts(parts)}</details></section>"


def log(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    note = f"(the last {_LOG_LINES} of {len(lines)} lines)\n" if len(lines) > _LOG_LINES else ""
    text = html.escape(note + "\n".join(lines[-_LOG_LINES:]))
    return f"<section><details><summary>train.log</summary><pre>{text}</pre></details></section>"


def _table(rows: Mapping[str, Any]) -> str:
    cells = (
        f"<tr><td>{html.escape(str(name))}</td><td>{html.escape(_text(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{''.join(cells)}</table>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Mappings inside mappings as one list, their names joined."""
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value and prefix.count(" / ") < _DEPTH:
            rows += _flat(value, f"{prefix}{name} / ")
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value)
