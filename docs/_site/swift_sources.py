"""The public Swift declarations of Sources/CARL with their doc comments, as a page of Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from page_forms import with_deeper_lists

_PUBLIC = re.compile(r"^\s*(?:@\w+(?:\([^)]*\))?\s+)*public\s")
_TYPE = re.compile(r"\b(struct|class|enum|protocol|extension)\s+([A-Z][\w.]*)")
_CASE = re.compile(r"^\s*case\s")
#: Folders in the order of their use, and what they are for.
FOLDERS = {
    "Training": "Training",
    "Model": "Configuration and model",
    "Pretrained": "Weights of other programs",
    "Inference": "Inference",
    "Views": "Views",
    "Objectives": "Objectives",
    "Encoders": "Encoders",
    "Optimization": "Optimization",
    "Evaluation": "Evaluation",
    "Formats": "Files, JSON and settings",
    "Kernels": "Memory, threads, random numbers",
    "": "Errors",
}


@dataclass
class Declaration:
    """A public declaration: `head` is its source up to its body, `doc` its comment, `members` those inside of it."""

    head: str
    doc: str
    members: list[Declaration] = field(default_factory=list)


def page(folder: Path) -> str:
    """The reference of all public declarations below `folder`, by the folders that are in it."""
    lines: list[str] = []
    for name, title in FOLDERS.items():
        files = sorted((folder / name).rglob("*.swift")) if name else sorted(folder.glob("*.swift"))
        found = [declaration for file in files for declaration in declarations(file.read_text(encoding="utf-8"))]
        if found:
            lines += [f"## {title}", ""]
            for declaration in found:
                lines += _written(declaration)
    return "\n".join(lines) + "\n"


def declarations(source: str) -> list[Declaration]:
    """Public declarations of a file, and extensions that have public members. Members of a public protocol and cases of
    a public enumeration are public with it."""
    lines = source.splitlines()
    found, _ = _body(lines, 0, everything=False)
    return found


def _body(lines: list[str], place: int, everything: bool) -> tuple[list[Declaration], int]:
    """Declarations until the brace that closes the present body, and the line behind it."""
    found: list[Declaration] = []
    comment: list[str] = []
    while place < len(lines):
        line = lines[place]
        text = line.strip()
        if text.startswith("///"):
            comment.append(text[3:].removeprefix(" "))
            place += 1
            continue
        if text.startswith("}"):
            return found, place + 1
        if text.startswith("@") and not _PUBLIC.match(line) and " " not in text:  # an attribute on a line of its own
            place += 1
            continue
        head, end, opens = _head(lines, place)
        type_match = _TYPE.search(head) if "func " not in head.split("(")[0] else None
        public = bool(_PUBLIC.match(line)) or (everything and _is_member(head))
        is_extension = bool(type_match and type_match[1] == "extension")
        if opens and type_match and (public or is_extension):
            open_to_all = type_match[1] == "protocol"
            members, place = _body(lines, end, open_to_all)
            if type_match[1] == "enum":
                members = _cases(lines[end : place - 1]) + members
            if not is_extension or members:
                found.append(Declaration(head, "\n".join(comment), members))
        else:
            if public:
                found.append(Declaration(head, "\n".join(comment)))
            place = _behind(lines, end) if opens else end
        comment = []
    return found, place


def _is_member(head: str) -> bool:
    return bool(re.match(r"^\s*(?:static |mutating )*(func|var|init|subscript|associatedtype)\b", head))


def _cases(lines: list[str]) -> list[Declaration]:
    """Cases of an enumeration, with their comments."""
    found, comment, depth = [], [], 0
    for line in lines:
        text = line.strip()
        if depth == 0 and text.startswith("///"):
            comment.append(text[3:].removeprefix(" "))
        elif depth == 0 and _CASE.match(line):
            found.append(Declaration(text, "\n".join(comment)))
            comment = []
        else:
            comment = []
        code = _code(line)
        depth += code.count("{") - code.count("}")
    return found


def _head(lines: list[str], place: int) -> tuple[str, int, bool]:
    """A declaration's lines until its body begins or it ends; the line behind; whether a body is open there."""
    parts: list[str] = []
    depth = 0
    while True:
        code = _code(lines[place])
        for index, character in enumerate(code):
            depth += (character in "([") - (character in ")]")
            if character == "{" and depth == 0:
                parts.append(code[:index])
                inside = code[index:]
                return _joined(parts), place + 1, inside.count("{") > inside.count("}")
        parts.append(code)
        place += 1
        # A requirement or where clause may follow on the next line.
        following = lines[place].strip() if place < len(lines) else ""
        goes_on = following.startswith(("where ", "{", ")", "->")) or code.rstrip().endswith((",", "="))
        if place >= len(lines) or (depth <= 0 and not goes_on):
            return _joined(parts), place, False


def _behind(lines: list[str], place: int) -> int:
    """The line behind the body that is open at `place`."""
    depth = 1
    while place < len(lines) and depth > 0:
        code = _code(lines[place])
        depth += code.count("{") - code.count("}")
        place += 1
    return place


def _code(line: str) -> str:
    """A line without its comment and without what its strings hold."""
    line = re.sub(r'"(?:\\.|[^"\\])*"', lambda match: match[0].translate({ord(c): " " for c in "{}()[]/"}), line)
    return line.split("//")[0].rstrip()


def _joined(parts: list[str]) -> str:
    margin = len(parts[0]) - len(parts[0].lstrip())
    return "\n".join(part[margin:] if part[:margin].isspace() or not margin else part for part in parts).rstrip()


def _written(declaration: Declaration) -> list[str]:
    type_match = _TYPE.search(declaration.head)
    lines = []
    if type_match and "func " not in declaration.head.split("(")[0]:
        lines += [f"### {'Extension of ' if type_match[1] == 'extension' else ''}`{type_match[2]}`", ""]
    lines += ["```swift", declaration.head, "```", ""]
    if declaration.doc:
        lines += [_markdown(declaration.doc), ""]
    for member in declaration.members:
        nested = bool(_TYPE.search(member.head)) and "func " not in member.head.split("(")[0]
        if nested and not member.head.lstrip().startswith("case"):
            lines += _written(member)
            continue
        lines += ["```swift", member.head, "```", ""]
        if member.doc:
            lines += [_markdown(member.doc), ""]
    return lines


def _markdown(doc: str) -> str:
    return re.sub(r"(?<=\s)\*(?=\s)", r"\\*", with_deeper_lists(doc)).replace("<", "&lt;")
