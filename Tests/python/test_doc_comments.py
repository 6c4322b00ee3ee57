"""Every public declaration of the Swift library says what it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "Sources" / "CARL"
KINDS = r"(?:func|init|var|let|subscript|struct|class|enum|protocol|typealias|case|associatedtype)\b"
ATTRIBUTES = r"^(?:@\w+(?:\((?:[^()]|\([^()]*\))*\))? *)*"
WORDS = r"(?:[\w()]+ )*?"
#: What the protocols say that these implement: of all types, and of values of settings.
IMPLIED = r"\bvar description\b|\bfunc (?:==|hash\()"
IMPLIED_OF_VALUES = r"\bvar (?:kind|json|choices)\b|\bfunc read\("

pytestmark = pytest.mark.skipif(not SOURCES.is_dir(), reason="the sources are not here")


def lines_of_code(text: str) -> Iterator[tuple[int, str]]:
    """Numbers and lines without those inside of texts of several lines."""
    within = False
    for number, line in enumerate(text.splitlines(), 1):
        within ^= line.count('"""') == 1
        if not within:
            yield number, line


def undocumented(text: str) -> list[int]:
    """Lines of public declarations, cases of public enums and requirements of public protocols with no doc comment
    above. A key's declaration (@Setting) has its text in it."""
    owners: list[tuple[str, int]] = []  # public protocols and enums around the line, with the depth of their bodies
    depth, documented, open_attribute, outer, found = 0, False, 0, "", []
    for number, line in lines_of_code(text):
        documented |= line.strip().startswith(("///", "@Setting("))
        if line.strip().startswith("//"):
            continue
        code = re.sub(r'"(?:\\.|[^"\\])*"', '""', line).split("//")[0].strip()
        head = re.sub(ATTRIBUTES, "", code)
        if open_attribute or (code.startswith("@") and (not head or head.startswith("("))):
            open_attribute += code.count("(") - code.count(")")
            continue
        outer = head if depth == 0 else outer
        of_values = re.search("Setting(?:Value|Choice|Element)", outer) and "protocol " not in outer
        owner = owners[-1][0] if owners and owners[-1][1] == depth else ""
        public = (
            re.match(f"{WORDS}public {WORDS}{KINDS}", head)
            or (owner == "protocol" and re.match(WORDS + KINDS, head))
            or (owner == "enum" and re.match("(?:indirect )?case ", head))
        )
        implied = re.search(IMPLIED, head) or (of_values and re.search(IMPLIED_OF_VALUES, head))
        if public and not documented and not implied:
            found.append(number)
        depth += code.count("{") - code.count("}")
        owners = [each for each in owners if each[1] <= depth]
        kind = re.search(r"public (?:indirect )?(protocol|enum) ", head)
        if kind and code.endswith("{"):
            owners.append((kind[1], depth))
        documented = False
    return found


def test_public_declarations_are_documented():
    missing = [
        f"{file.relative_to(SOURCES)}:{number}"
        for file in sorted(SOURCES.rglob("*.swift"))
        for number in undocumented(file.read_text())
    ]
    assert missing == []


def test_the_rule_sees_what_it_should():
    text = """
    public struct A {
        public let a: Int
        /// Said.
        public var b = 1
        @Setting(
            "key", .group,
            doc: "said")
        public var c = 1
        var d = 1
    }
    /// Said.
    public protocol P {
        func f()
    }
    public enum E { case inline }
    public enum F {
        case one
        /// Said.
        case two
    }
    """
    lines = text.splitlines()
    assert [lines[number - 1].strip() for number in undocumented(text)] == [
        "public struct A {",
        "public let a: Int",
        "func f()",
        "public enum E { case inline }",
        "public enum F {",
        "case one",
    ]
