"""What reads the package for the API reference makes Markdown of its docstrings."""

from __future__ import annotations

from typing import Any

import griffe

from docstring_forms import as_markdown


class MarkdownDocstrings(griffe.Extension):
    """Rewrites each docstring when its object is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)
