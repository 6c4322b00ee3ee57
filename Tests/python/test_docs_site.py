"""The scripts that write the site's references: what is declared is there, and what is written is Markdown."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADER = (ROOT / "include" / "carl.h").read_text(encoding="utf-8")


@pytest.fixture
def script(monkeypatch):
    """Imports one of tools/docs."""

    def imported(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(ROOT / "tools" / "docs"))
        return importlib.import_module(name)

    yield imported
    for name in ("c_header", "page_forms", "swift_sources", "docstring_forms"):
        sys.modules.pop(name, None)


def test_the_c_reference_has_every_declaration(script):
    page = script("c_header").page(HEADER)
    functions = set(re.findall(r"^(?:const )?\w+ \*?(carl_\w+)\(", HEADER, re.MULTILINE))
    types = set(re.findall(r"^(?:\} |typedef (?:struct \w+|int32_t) )(carl_\w+);", HEADER, re.MULTILINE))
    assert len(functions) > 60 and {"carl_metrics", "carl_trainer", "carl_output"} <= types
    headed = set(re.findall(r"\{ #(\w+) \}", page)) | set(re.findall(r'<a id="(\w+)">', page))
    assert functions | types <= headed
    assert len(re.findall(r"^## \d+\. ", page, re.MULTILINE)) == len(re.findall(r"^/\* ---- \d", HEADER, re.MULTILINE))


def test_comments_of_the_c_reference_follow_their_declaration(script):
    page = script("c_header").page(HEADER)
    part = page.split("{ #carl_trainer_step }")[1].split("\n### ")[0]
    assert part.index("```{.c .wide}") < part.index("One training step on")
    assert "- `indices`: the images' places" in part and "- `epoch`: 0 .. 2^24 - 1" in part
    assert "[`carl_trainer_config`](#carl_trainer_config)" in page
    assert "#endif" not in page


def test_a_header_without_sections_is_refused(script):
    with pytest.raises(ValueError, match="no sections"):
        script("c_header").page("/* carl.h - a header */\n#ifdef __cplusplus\n#endif\n")
    with pytest.raises(ValueError, match="before the first section"):
        script("c_header").page("/* carl.h - a header */\n\nint carl_early(void);\n")


SWIFT = """
/// A box
/// of numbers < 3.
public struct Box: Equatable {
    /// How many.
    public var count = 0 { didSet { check() } }
    var hidden = "} {"
    public init() {}

    private func check() {
        if count < 0 { fatalError("{") }
    }

    /// A kind.
    public enum Kind: Int {
        case small = 1
        /// More than that.
        case large

        public var isLarge: Bool {
            switch self {
            case .small: return false
            case .large: return true
            }
        }
    }
}

/// What fills.
public protocol Filling {
    /// Fills.
    func fill(_ box: inout Box)
}

extension Box {
    /// Adds, with `body`.
    public func add(
        _ other: Box, body: (Int) -> Int = { $0 }
    ) throws -> Box {
        self
    }
    func secret() {}
}

extension Box { func nothing() {} }

/// Twice.
public func twice<T>(_ x: T) -> T where T: Numeric { x }
struct Hidden { public var never = 1 }
"""


def test_public_swift_declarations_are_found(script):
    found = script("swift_sources").declarations(SWIFT)
    assert [declaration.head.split("\n")[0] for declaration in found] == [
        "public struct Box: Equatable",
        "public protocol Filling",
        "extension Box",
        "public func twice<T>(_ x: T) -> T where T: Numeric",
    ]
    box, filling, more, _ = found
    assert [member.head for member in box.members] == ["public var count = 0", "public init()", "public enum Kind: Int"]
    assert (box.doc, box.members[0].doc) == ("A box\nof numbers < 3.", "How many.")
    kind = box.members[2]
    assert [member.head for member in kind.members] == ["case small = 1", "case large", "public var isLarge: Bool"]
    assert kind.members[1].doc == "More than that."
    assert [member.head for member in filling.members] == ["func fill(_ box: inout Box)"]
    assert [member.head for member in more.members] == [
        "public func add(\n    _ other: Box, body: (Int) -> Int = { $0 }\n) throws -> Box"
    ]


def test_the_swift_page_puts_extensions_with_their_type(script, tmp_path):
    (tmp_path / "Model").mkdir()
    (tmp_path / "Model" / "Box.swift").write_text(SWIFT, encoding="utf-8")
    page = script("swift_sources").page(tmp_path)
    assert re.findall(r"^###? (.*)$", page, re.MULTILINE) == [
        "Configuration and model",
        "`Box`",
        "`Box.Kind`",
        "`Filling`",
    ]
    assert "numbers &lt; 3." in page and "hidden" not in page and "secret" not in page and "never" not in page
    box = page.split("### `Box`")[1].split("###")[0]
    assert "    /// How many.\n    public var count = 0\n" in box and "    /// Adds, with `body`.\n" in box
    (tmp_path / "Elsewhere").mkdir()
    (tmp_path / "Elsewhere" / "More.swift").write_text("public struct More {}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="Elsewhere"):
        script("swift_sources").page(tmp_path)


def test_the_swift_page_has_the_library(script):
    page = script("swift_sources").page(ROOT / "Sources" / "CARL")
    heads = re.findall(r"^### `(.*)`$", page, re.MULTILINE)
    assert {"Trainer", "Configuration", "Evaluator", "Classifier", "NearestNeighbours", "SourceImage"} <= set(heads)
    assert len(heads) == len(set(heads))
    public = 0
    for file in (ROOT / "Sources" / "CARL").rglob("*.swift"):
        for name in re.findall(r"^ *public (?:static )?func (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            assert f"func {name}" in page, f"{file}: {name}"
            public += 1
    assert public > 50
    assert page.count("```") % 2 == 0


DOCSTRING = """Learns.

    ::

        model = carl.CARL()
        model.fit(images)

    Keys are these:

    images: uint8 (B, H, W), values <
        256.
    k, temperature: both
        of them.
    See projector.<i>.weight and `a < b`.

    Encoder
        width: a factor.
    """


def test_docstrings_become_markdown(script):
    text = script("docstring_forms").as_markdown(DOCSTRING)
    assert "```python\nmodel = carl.CARL()\nmodel.fit(images)\n```" in text
    assert "- `images`: uint8 (B, H, W), values &lt; 256." in text
    assert "- `k`, `temperature`: both of them." in text
    assert "projector.&lt;i>.weight and `a < b`" in text
    assert "**Encoder**\n\n- `width`: a factor." in text


def test_blank_lines_are_put_where_markdown_wants_them(script):
    text = "Text\n| a | b |\n|---|---|\n| 1 | 2 |\nand prior\n0. Only\nso:\n- one\n  more\n- two\n<!-- x -->\n| c |\n"
    code = "```sh\nText\n| a\n- b\n```\n"
    found = script("page_forms").with_blank_lines(text + "\n" + code)
    assert "Text\n\n| a | b |\n|---|---|\n| 1 | 2 |\n" in found
    assert "and prior\n0. Only\nso:\n\n- one\n  more\n- two\n" in found
    assert "\n\n<!-- x -->\n\n| c |\n" in found
    assert found.endswith(code)


def test_plain_text_has_neither_tags_nor_emphasis(script):
    escaped = script("page_forms").escaped
    assert escaped("a * b * c < d, `x * y < z`") == r"a \* b \* c &lt; d, `x * y < z`"


def test_equations_become_mathml(script):
    pytest.importorskip("latex2mathml.converter")
    page = r'<p>k <span class="arithmatex">\(K &lt; 3\)</span></p><div class="arithmatex">\[\frac{a}{b}\]</div>'
    found = script("page_forms").with_mathml(page)
    assert "arithmatex" not in found and found.count("<math") == 2
    assert "<mfrac>" in found and 'display="block"' in found and 'display="inline"' in found
