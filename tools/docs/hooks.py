"""What MkDocs calls while it builds the site: pages that are written from sources, links, equations."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

import c_header
import docstring_forms  # noqa: F401  (docstrings.py finds it: MkDocs has this folder on the path for hooks alone)
import swift_sources
from page_forms import with_blank_lines, with_mathml

ROOT = Path(__file__).resolve().parents[2]
#: Pages that are files elsewhere in the project.
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "Benchmarks/README.md": "benchmarks.md",
}
#: Pages that are written from sources; a link to the source is a link to the page.
WRITTEN = {"include/carl.h": "c-reference.md", "Sources/CARL": "swift-reference.md"}
#: What a page would load from another host, or lead to.
_HOST = re.compile(r"""<(?:script|link|img|iframe|a|source)\b[^>]*\b(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""")
_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that are not in docs/."""
    header = (ROOT / "include" / "carl.h").read_text(encoding="utf-8")
    swift = (ROOT / "tools" / "docs" / "swift-reference.md").read_text(encoding="utf-8")
    pages = {name: (ROOT / source).read_text(encoding="utf-8") for source, name in ELSEWHERE.items()}
    pages["c-reference.md"] = c_header.page(header)
    pages["swift-reference.md"] = swift + "\n" + swift_sources.page(ROOT / "Sources" / "CARL")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has its pages, blank lines as MkDocs wants them."""
    sources = {name: source for source, name in ELSEWHERE.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        name = ELSEWHERE.get(target) or WRITTEN.get(target) or target.removeprefix("docs/")
        if name == target and not target.startswith("docs/"):
            return match[0]  # leads out of the site: the strict build names it
        relative = posixpath.relpath(name, posixpath.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{relative}{match[3] or ''})"

    return with_blank_lines(_LINK.sub(link, markdown))


def on_page_content(html: str, **_: Any) -> str:
    return with_mathml(html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """The site works without a network, and names no host.

    Raises PluginError for a page that does.
    """
    found = _HOST.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri}: names {found[1]}, want nothing of another host")
    return output
