"""Names as plots can draw them: in a font that has their signs, or with escapes, and not too long."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from .._notes import as_utf8

#: Columns of a name at most: longer ones leave no room for the picture.
MOST_SIGNS = 24


class Drawn(NamedTuple):
    """Names in signs that the fonts have, and the fonts, the first that has a sign draws it."""

    names: list[str]
    fonts: list[str]


def drawn(names: Iterable[str], most: int = MOST_SIGNS) -> Drawn:
    """Signs that matplotlib's own font lacks, such as CJK ones, come from any font that is installed; those that none
    has become escapes such as \\u732b. Names of more than `most` columns have an ellipsis in their middle."""
    fonts: list[str] = []
    texts = []
    for name in names:
        text = []
        for sign in as_utf8(name):
            font = "" if sign.isascii() else _font_of(sign)
            text.append(sign if font is not None else sign.encode("ascii", "backslashreplace").decode("ascii"))
            if font and font not in fonts:
                fonts.append(font)
        texts.append(_shortened(text, most))
    return Drawn(texts, [_own_font(), *fonts])


def _shortened(signs: Sequence[str], most: int) -> str:
    """Signs, or escapes of them, as one text of at most `most` columns: its beginning and its end."""
    widths = [len(sign) * (2 if unicodedata.east_asian_width(sign[0]) in "WF" else 1) for sign in signs]
    if sum(widths) <= most:
        return "".join(signs)
    first, room = 0, (most - 1) // 2
    while widths[first] <= room:
        room -= widths[first]
        first += 1
    last, room = len(signs), most - 1 - sum(widths[:first])
    while widths[last - 1] <= room:
        last -= 1
        room -= widths[last]
    return "".join([*signs[:first], "\u2026", *signs[last:]])


@cache
def _font_of(sign: str) -> str | None:
    """The family of a font that has a sign: "" for the plots' own, None where no font has it."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    if ord(sign) in _glyphs(findfont(FontProperties())):
        return ""
    # Upright ones of usual weight first: that is what a family's name finds again. A font of last resort has boxes that
    # tell a sign's block.
    usual = (each for each in fontManager.ttflist if "lastresort" not in each.name.replace(" ", "").lower())
    for entry in sorted(usual, key=lambda each: (each.style != "normal", each.weight != 400, each.fname)):
        if ord(sign) in _glyphs(entry.fname):
            return str(entry.name)
    return None


@cache
def _glyphs(file: str) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(file).get_charmap())
    except (OSError, RuntimeError):  # no font that can be read
        return frozenset()


def _own_font() -> str:
    from matplotlib.font_manager import FontProperties

    return str(FontProperties().get_family()[0])
