"""The public Swift declarations of Sources/CARL with their doc comments, as a page of Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from page_forms import escaped

_PUBLIC = re.compile(r"^\s*(?:@\w+(?:\([^)]*\))?\s+)*public\s")
_MEMBER = re.compile(r"^\s*(?:static |mutating )*(func|var|init|subscript|associatedtype)\b")
_TYPE = re.compile(r"\b(struct|class|enum|protocol|extension)\s+([A-Z][\w.]*)")
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

    @property
    def type(self) -> tuple[str, str] | None:
        """("struct", its name) of a type, ("extension", the type's name) of an extension; None of all else."""
        before = re.split(r"[(:={]", self.head)[0]
        match = None if re.search(r"\b(func|var|let|case)\b", before) else _TYPE.search(before)
        return (match[1], match[2]) if match else None


@dataclass
class TypeEntry:
    """A type of the reference: its declaration, and all of its members, those of extensions among them."""

    head: str = ""
    doc: str = ""
    members: list[Declaration] = field(default_factory=list)


def page(folder: Path) -> str:
    """The reference of all public declarations below `folder`, by the folders that are in it.

    Raises ValueError for a folder with public declarations that `FOLDERS` does not name.
    """
    found = {name: _of_files(folder, name) for name in FOLDERS}
    others = {path.name for path in folder.iterdir() if path.is_dir()} - set(FOLDERS)
    if unnamed := [name for name in sorted(others) if _of_files(folder, name)]:
        raise ValueError(f"{folder / unnamed[0]}: has public declarations, and no title among FOLDERS")
    entries: dict[str, TypeEntry] = {}
    for declarations_there in found.values():
        _collect(declarations_there, "", entries)
    lines: list[str] = []
    for name, title in FOLDERS.items():
        own: dict[str, TypeEntry] = {}
        _collect(found[name], "", own)
        # An extension stands with the type that it extends; one of a foreign type where it is written.
        types = [type_name for type_name, entry in own.items() if entry.head or not entries[type_name].head]
        free = [declaration for declaration in found[name] if not declaration.type]
        if types or free:
            lines += [f"## {title}", ""]
            lines += _code(free) if free else []
            for type_name in types:
                lines += _written(type_name, entries[type_name])
    return "\n".join(lines) + "\n"


def declarations(source: str) -> list[Declaration]:
    """Public declarations of a file, and extensions that have public members. Members of a public protocol and cases of
    a public enumeration are public with it."""
    found, _ = _body(source.splitlines(), 0, everything=False)
    return found


def _of_files(folder: Path, name: str) -> list[Declaration]:
    files = sorted((folder / name).rglob("*.swift")) if name else sorted(folder.glob("*.swift"))
    return [declaration for file in files for declaration in declarations(file.read_text(encoding="utf-8"))]


def _collect(found: list[Declaration], outer: str, entries: dict[str, TypeEntry]) -> None:
    """Puts the types and extensions among `found`, and the types inside of them, into `entries` by their full names."""
    for declaration in found:
        if not declaration.type:
            continue
        kind, name = declaration.type
        entry = entries.setdefault(f"{outer}{name}", TypeEntry())
        if kind != "extension":
            entry.head, entry.doc = declaration.head, declaration.doc
        elif not entry.head:
            entry.doc = entry.doc or declaration.doc
        entry.members += [member for member in declaration.members if not member.type]
        _collect(declaration.members, f"{outer}{name}.", entries)


def _body(lines: list[str], place: int, everything: bool) -> tuple[list[Declaration], int]:
    """Declarations until the brace that closes the present body, and the line behind it."""
    found: list[Declaration] = []
    comment: list[str] = []
    while place < len(lines):
        text = lines[place].strip()
        if text.startswith("///"):
            comment.append(text[3:].removeprefix(" "))
            place += 1
            continue
        if text.startswith("}"):
            return found, place + 1
        if text.startswith("@") and " " not in text:  # an attribute on a line of its own
            place += 1
            continue
        head, end, opens = _head(lines, place)
        public = bool(_PUBLIC.match(lines[place])) or (everything and bool(_MEMBER.match(head)))
        declaration = Declaration(head, "\n".join(comment))
        kind = declaration.type[0] if declaration.type else None
        if opens and kind and (public or kind == "extension"):
            declaration.members, place = _body(lines, end, everything=kind == "protocol")
            if kind == "enum":
                declaration.members = _cases(lines[end : place - 1]) + declaration.members
            public = kind != "extension" or bool(declaration.members)
        else:
            place = _behind(lines, end) if opens else end
        if public:
            found.append(declaration)
        comment = []
    return found, place


def _cases(lines: list[str]) -> list[Declaration]:
    """Cases of an enumeration, with their comments."""
    found: list[Declaration] = []
    comment: list[str] = []
    depth = 0
    for line in lines:
        text = line.strip()
        if depth == 0 and text.startswith("///"):
            comment.append(text[3:].removeprefix(" "))
        else:
            if depth == 0 and text.startswith("case "):
                found.append(Declaration(text, "\n".join(comment)))
            comment = []
        code = _without_text(line)
        depth += code.count("{") - code.count("}")
    return found


def _head(lines: list[str], place: int) -> tuple[str, int, bool]:
    """A declaration's lines until its body begins or it ends; the line behind; whether a body is open there."""
    parts: list[str] = []
    depth = 0
    while True:
        code = _without_text(lines[place])
        written = lines[place][: len(code)]
        for index, character in enumerate(code):
            depth += (character in "([") - (character in ")]")
            if character == "{" and depth == 0:
                parts.append(written[:index])
                inside = code[index:]
                return _joined(parts), place + 1, inside.count("{") > inside.count("}")
        parts.append(written)
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
        code = _without_text(lines[place])
        depth += code.count("{") - code.count("}")
        place += 1
    return place


def _without_text(line: str) -> str:
    """A line without its comment, and with blanks for what brackets and slashes its strings hold."""
    line = re.sub(r'"(?:\\.|[^"\\])*"', lambda match: re.sub(r"[{}()\[\]/]", " ", match[0]), line)
    return line.split("//")[0].rstrip()


def _joined(parts: list[str]) -> str:
    margin = len(parts[0]) - len(parts[0].lstrip())
    return "\n".join(part[margin:] for part in parts).rstrip()


def _written(name: str, entry: TypeEntry) -> list[str]:
    lines = [f"### `{name}`", ""]
    if entry.doc:
        lines += [_prose(entry.doc), ""]
    return lines + _code([Declaration(entry.head or f"extension {name}", "")] + entry.members)


def _code(found: list[Declaration]) -> list[str]:
    """Declarations with their comments, as in an interface file; the first is what the others are inside of."""
    lines = ["```{.swift .wide}"]
    for place, declaration in enumerate(found):
        margin = "    " if place and found[0].type else ""
        if place and declaration.doc:
            lines.append("")
        lines += [f"{margin}/// {line}".rstrip() for line in declaration.doc.split("\n") if declaration.doc]
        lines += [margin + line for line in declaration.head.split("\n")]
    return [*lines, "```", ""]


def _prose(doc: str) -> str:
    """A comment as Markdown: lists inside lists are indented by four columns."""
    deeper = "\n".join(re.sub(r"^( +)", r"\1\1", line) for line in doc.split("\n"))
    return escaped(deeper)
