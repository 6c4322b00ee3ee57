"""Reads carl.h: every function with its parameters, every struct with its fields.

The header is regular, so a plain parser does. What it does not understand is an error: a declaration that is skipped
would be a function that nobody tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

SCALARS = {
    "void",
    "char",
    "int",
    "float",
    "double",
    "size_t",
    "ptrdiff_t",
    "int8_t",
    "uint8_t",
    "int16_t",
    "uint16_t",
    "int32_t",
    "uint32_t",
    "int64_t",
    "uint64_t",
}


class HeaderError(ValueError):
    """A declaration that this parser does not understand."""


@dataclass(frozen=True)
class Type:
    """A type as declared: `const float *const *` is name "float", depth 2, constant True."""

    name: str
    depth: int = 0
    constant: bool = False  #: of what lies behind all pointers
    length: int = 0  #: of an array inside a struct; 0 for others


@dataclass(frozen=True)
class Variable:
    """A parameter, or a struct's field."""

    name: str
    type: Type


@dataclass(frozen=True)
class Function:
    name: str
    result: Type
    parameters: tuple[Variable, ...]


@dataclass
class Header:
    """What a header declares, in its order."""

    functions: dict[str, Function] = field(default_factory=dict)
    structs: dict[str, tuple[Variable, ...]] = field(default_factory=dict)
    opaque: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    callbacks: dict[str, tuple[Variable, ...]] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    _status_names: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, path: str | Path) -> Header:
        return cls.parse(Path(path).read_text(encoding="utf-8"))

    @classmethod
    def parse(cls, text: str) -> Header:
        header = cls()
        for statement in statements(header._preprocessed(text)):
            header._declare(statement)
        if not header.functions:
            raise HeaderError("the header declares no function")
        return header

    def statuses(self) -> dict[int, str]:
        """The values a call returns, with their names: the enumeration that CARL_OK begins."""
        return {value: name for name, value in self.constants.items() if name in self._status_names}

    def _preprocessed(self, text: str) -> str:
        """The text without comments and directives; constants of #define are kept."""
        text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
        if "/*" in text:
            raise HeaderError("a comment does not end")
        kept = []
        cplusplus = False
        for line in text.splitlines():
            words = line.split()
            if not words or not words[0].startswith("#"):
                if not cplusplus:
                    kept.append(line)
                continue
            if line.rstrip().endswith("\\"):
                raise HeaderError(f"a directive of several lines: {line}")
            directive = words[0] if words[0] != "#" else "#" + words[1]
            if directive == "#ifdef" and words[1:] == ["__cplusplus"]:
                cplusplus = True
            elif directive == "#endif":
                cplusplus = False
            elif (
                directive == "#define"
                and len(words) == 3
                and re.fullmatch(r"\w+", words[1])
                and re.fullmatch(r"-?(0x)?[0-9a-fA-F]+", words[2])
            ):
                self.constants[words[1]] = int(words[2], 0)
            elif not (directive in ("#include", "#ifndef") or directive == "#define" and len(words) == 2):
                raise HeaderError(f"directive not understood: {line}")
        return "\n".join(kept)

    def _declare(self, statement: str) -> None:
        if match := re.fullmatch(r"enum \{(.*)\}", statement):
            self._enumerate(match[1])
        elif match := re.fullmatch(r"typedef struct (\w+) \{(.*)\} (\w+)", statement):
            if match[1] != match[3]:
                raise HeaderError(f"struct and typedef differ: {match[1]}, {match[3]}")
            self._add_struct(match[1], match[2])
        elif match := re.fullmatch(r"typedef struct (\w+) (\w+)", statement):
            if match[1] != match[2]:
                raise HeaderError(f"struct and typedef differ: {match[1]}, {match[2]}")
            self.opaque.add(match[1])
        elif match := re.fullmatch(r"typedef void \(\s*\*\s*(\w+)\s*\)\s*\((.*)\)", statement):
            self.callbacks[match[1]] = self._parameters(match[2], statement)
        elif match := re.fullmatch(r"typedef (\w+) (\w+)", statement):
            if self.resolve(match[1]) not in SCALARS:
                raise HeaderError(f"unknown type: {statement}")
            self.aliases[match[2]] = match[1]
        elif match := re.fullmatch(r"([\w *]+?)\b(\w+)\s*\((.*)\)", statement):
            if match[2] in self.functions:
                raise HeaderError(f"declared twice: {match[2]}")
            result = self._variable(match[1] + " result", statement).type
            self.functions[match[2]] = Function(match[2], result, self._parameters(match[3], statement))
        else:
            raise HeaderError(f"declaration not understood: {statement}")

    def _enumerate(self, body: str) -> None:
        names = set()
        for member in filter(None, (part.strip() for part in body.split(","))):
            match = re.fullmatch(r"(\w+) = (-?\w+)", member)
            if match is None:
                raise HeaderError(f"enumeration member not understood: {member}")
            self.constants[match[1]] = int(match[2], 0)
            names.add(match[1])
        if "CARL_OK" in names:
            self._status_names = names

    def _add_struct(self, name: str, body: str) -> None:
        fields: list[Variable] = []
        for line in filter(None, (part.strip() for part in body.split(";"))):
            first, *others = (part.strip() for part in line.split(","))
            variable = self._variable(first, line)
            fields.append(variable)
            if others and (variable.type.depth or variable.type.length):
                raise HeaderError(f"several declarators with pointers or arrays: {line}")
            for other in others:
                if not re.fullmatch(r"\w+", other):
                    raise HeaderError(f"field not understood: {line}")
                fields.append(Variable(other, variable.type))
        self.structs[name] = tuple(fields)

    def _parameters(self, text: str, statement: str) -> tuple[Variable, ...]:
        if text.strip() == "void":
            return ()
        parameters = tuple(self._variable(part.strip(), statement) for part in text.split(","))
        if len({parameter.name for parameter in parameters}) != len(parameters):
            raise HeaderError(f"parameters of the same name: {statement}")
        return parameters

    def _variable(self, text: str, statement: str) -> Variable:
        match = re.fullmatch(
            r"(?P<before>(?:(?:const|volatile) )*)(?P<type>\w+)\s*(?P<pointers>(?:\*\s*(?:const\b\s*)?)*)(?P<name>\w+)"
            r"(?:\[(?P<length>\d+)\])?",
            text.strip(),
        )
        if match is None or match["name"] in ("const", "volatile"):
            raise HeaderError(f"'{text.strip()}' not understood in: {statement}")
        known = self.resolve(match["type"])
        if (
            known not in SCALARS
            and known not in self.structs
            and known not in self.opaque
            and known not in self.callbacks
        ):
            raise HeaderError(f"unknown type '{match['type']}' in: {statement}")
        depth = match["pointers"].count("*")
        if depth == 0 and known in self.opaque:
            raise HeaderError(f"an opaque struct by value in: {statement}")
        return Variable(
            match["name"], Type(match["type"], depth, "const" in match["before"], int(match["length"] or 0))
        )

    def resolve(self, name: str) -> str:
        """The type behind an alias."""
        while name in self.aliases:
            name = self.aliases[name]
        return name


def statements(text: str) -> list[str]:
    """The declarations of a text without comments, each on one line and without its semicolon."""
    found, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        elif character == ";" and depth == 0:
            found.append(re.sub(r"\s+", " ", text[start:place]).strip())
            start = place + 1
    if depth != 0 or text[start:].strip():
        raise HeaderError(f"text behind the last declaration: {text[start:].strip()[:80]}")
    return found
