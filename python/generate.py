"""Writes what follows from the schema of the configuration, so that a key is described in one place, the library.

    python python/generate.py                  # writes
    python python/generate.py --check          # writes nothing; status 1 and a message where something is stale
    python python/generate.py --schema FILE    # a schema as JSON, instead of that of the library

Written are python/carl/_parameters.py, python/carl/cli/_help.py and the tables of the documentation between `<!--
generated: GROUP -->` and `<!-- end -->`. The schema is what `carl_config_schema` of carl.h gives, of the library that
the package would load (CARL_LIBRARY); the estimator's own parameters are in estimator_keys.py. This file is not part of
the package.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from estimator_keys import KEYS as OWN_KEYS

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = ROOT / "python" / "carl" / "_parameters.py"
HELP = ROOT / "python" / "carl" / "cli" / "_help.py"
PAGES = [ROOT / "docs" / name for name in ("configuration.md", "finetuning.md")]
#: Columns of a line.
WIDTH = 120
#: Parameters of the estimator that may be given without their name, in this order.
POSITIONAL = ("encoder", "stem", "width")
#: Type of a key's values, by its kind.
TYPES = {
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "choice": "str",
    "choice_or_integer": "str | int",
    "ramp": "float | dict[str, float]",
    "integers": "list[int]",
    "integer_or_integers": "int | list[int]",
    "numbers": "list[float]",
    "number_or_numbers": "float | list[float]",
    "views": "str | list[ViewSpec]",
}

Key = dict[str, Any]


# ---- The schema


def schema_of_library() -> dict[str, list[Key]]:
    """That of the library the package loads; LookupError if it has none."""
    spec = importlib.util.spec_from_file_location("_libpath", ROOT / "python" / "carl" / "_libpath.py")
    assert spec is not None and spec.loader is not None
    libpath = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(libpath)
    for place in libpath.candidates():
        try:
            library = ctypes.CDLL(place)
        except OSError:
            continue
        if not hasattr(library, "carl_config_schema"):
            raise LookupError(f"{place} has no carl_config_schema: give --schema FILE")
        needed = ctypes.c_size_t(0)
        library.carl_config_schema(None, ctypes.c_size_t(0), ctypes.byref(needed))
        buffer = ctypes.create_string_buffer(needed.value)
        if library.carl_config_schema(buffer, needed, ctypes.byref(needed)) != 0:
            raise LookupError(f"{place}: carl_config_schema failed")
        return dict(json.loads(buffer.value.decode("utf-8")))
    raise LookupError("the library was not found: set CARL_LIBRARY, or give --schema FILE")


def groups_of(keys: list[Key]) -> dict[str, list[Key]]:
    groups: dict[str, list[Key]] = {}
    for key in keys:
        groups.setdefault(key["group"], []).append(key)
    return groups


# ---- What a key is, in words with Markdown


def number_text(number: float) -> str:
    """Large limits as powers."""
    if number < 0:
        return f"-{number_text(-number)}"
    for exponent in (20, 24, 31, 53, 63, 64):
        if number in (2**exponent, 2**exponent - 1):
            return f"2^{exponent}" + (" - 1" if number != 2**exponent else "")
    whole = float(number).is_integer()
    if whole and number >= 1e5 and str(int(number)).strip("0") == "1":
        return f"10^{len(str(int(number))) - 1}"
    return str(int(number)) if whole else f"{number:g}".replace("e-0", "e-")


def limits_text(key: Key) -> str:
    """The values that a number may take."""
    low, high = key.get("minimum"), key.get("maximum")
    if low is None or high is None:
        return (
            f"at least {number_text(low)}"
            if low is not None
            else f"at most {number_text(high)}"
            if high is not None
            else ""
        )
    if key.get("above_minimum"):
        return f"above {number_text(low)}, at most {number_text(high)}"
    return f"{number_text(low)} to {number_text(high)}"


def range_text(key: Key) -> str:
    """What a key's value may be."""
    if "range" in key:
        return str(key["range"])
    kind, limits = key["kind"], limits_text(key)
    if kind == "boolean":
        return "true or false"
    if kind in ("choice", "choice_or_integer"):
        choices = ", ".join(f'`"{choice}"`' for choice in key["choices"])
        return choices if kind == "choice" else f"{choices}, or {limits}"
    if kind == "views":
        return "a preset's name, or a list of specifications"
    if kind == "ramp":
        return f'{limits}, or `{{"start": a, "end": b, "steps": n}}`'.removeprefix(", or ")
    least, most = key.get("least"), key.get("most")
    count = "a list" if least is None else f"a list of {least}" + ("" if least == most else f" to {most}")
    if kind in ("integers", "numbers"):
        return f"{count}, each {limits}" if limits else count
    if kind in ("integer_or_integers", "number_or_numbers"):
        return f"{limits}, or {count}" if limits else f"a number, or {count}"
    return limits


def default_text(key: Key) -> str:
    """Its default; empty where that is none."""
    if key.get("default_text"):
        return str(key["default_text"])
    default = key["default"]
    if default is None:
        return ""
    text = json.dumps(default)
    return f"`{text}`" if isinstance(default, (str, list)) else number_text(default) if type(default) is int else text


def plain(text: str) -> str:
    """Without Markdown's marks."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).replace("`", "")


def described(key: Key) -> str:
    """All of it, on one line."""
    facts = [range_text(key)] if range_text(key) else []
    facts += [f"default {default_text(key)}"] if default_text(key) else []
    doc = plain(key["doc"]).rstrip(".")
    return doc + (f" ({plain('; '.join(facts))})" if facts else "") + "."


# ---- The Python module


def annotation(key: Key) -> str:
    return str(key["annotation"]) if "annotation" in key else f"{TYPES[key['kind']]} | None"


def wrapped(text: str, indent: int, more: int = 4) -> list[str]:
    """Lines of a documentation string."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + more),
        break_on_hyphens=False,
        break_long_words=False,
    )


def literal(text: str, indent: int) -> list[str]:
    """Text as Python says it, in lines."""
    parts = textwrap.wrap(text, WIDTH - indent - 6, break_on_hyphens=False, drop_whitespace=False)
    return [" " * indent + quoted(part) for part in parts]


def quoted(text: str) -> str:
    return f"'{text}'" if '"' in text and "'" not in text else json.dumps(text, ensure_ascii=False)


def dataclass_lines(groups: dict[str, list[Key]]) -> Iterator[str]:
    yield from ["@dataclass", "class TrainerKeys:"]
    yield '    """Every key of the configuration.'
    yield from [
        "",
        "    None means the library's default; ``Trainer.config`` shows what that came to.",
        "    Values are checked by the library when a trainer is made, with an error that names the key.",
        "",
    ]
    for group, keys in groups.items():
        yield f"    {group.capitalize()}"
        for key in keys:
            yield from wrapped(f"{key['name']}: {described(key)}", 8)
    yield from ['    """', ""]
    for keys in groups.values():
        yield from (f"    {key['name']}: {annotation(key)} = None" for key in keys)


def constructor_lines(trainer: list[Key]) -> Iterator[str]:
    keyed = {key["name"]: key for key in trainer}
    first = [keyed.pop(name) for name in POSITIONAL]
    keys = [*first, *keyed.values(), *OWN_KEYS]
    yield from [
        "class Parameters:",
        '    """The estimator\'s constructor."""',
        "",
        "    @naming_nearest",
        "    def __init__(",
    ]
    yield "        self,"
    for place, key in enumerate(keys):
        if place == len(first):
            yield "        *,"
        default = repr(key["default"]).replace("'", '"') if key in OWN_KEYS else "None"
        yield f"        {key['name']}: {annotation(key)} = {default},"
    yield from [
        "    ) -> None:",
        '        """The keys of ``carl.TrainerConfig``, where None means the library\'s default, and',
        "",
    ]
    for key in OWN_KEYS:
        yield from wrapped(f"{key['name']}: {described(key)}", 8)
    yield '        """'
    yield from (f"        self.{key['name']} = {key['name']}" for key in keys)


def help_lines(groups: dict[str, list[Key]]) -> Iterator[str]:
    yield "#: Every parameter of carl.CARL that `carl train` takes, by groups."
    yield "HELP: dict[str, dict[str, str]] = {"
    for group, every in groups.items():
        yield f'    "{group}": {{'
        keys = [key for key in every if "option" not in key]
        for key in keys:
            text = literal(described(key), 12)
            line = f'        "{key["name"]}": {text[0].strip()},'
            yield from (
                [line]
                if len(text) == 1 and len(line) <= WIDTH
                else [f'        "{key["name"]}": (', *text, "        ),"]
            )
        yield "    },"
    yield "}"
    yield "#: Those that are Python's alone, and the options in their place."
    yield "OPTIONS: dict[str, str] = {"
    yield from (f'    "{key["name"]}": "{key["option"]}",' for key in OWN_KEYS if "option" in key)
    yield "}"


def module_docstring(summary: str) -> list[str]:
    return [
        f'"""{summary}',
        "",
        "Written by python/generate.py from the library's schema: change that, and run it. One file for all keys.",
        '"""',
    ]


def module_text(schema: dict[str, list[Key]]) -> str:
    groups = groups_of(schema["trainer"])
    views = ", ".join(key["name"] for key in schema["view"])
    limits = {key["name"]: key for key in schema["trainer"] if key["kind"] == "integer"}
    lines = [
        *module_docstring("The keys of the configuration and the parameters of the estimator."),
        "",
        "from __future__ import annotations",
        "",
        "from dataclasses import dataclass",
        "from typing import TYPE_CHECKING, Any",
        "",
        "from ._spelling import naming_nearest",
        "",
        "if TYPE_CHECKING:",
        "    import os",
        "    from collections.abc import Iterable",
        "",
        "    from .callbacks import CallbackLike",
        "",
        *textwrap.wrap(f"One view's specification: {views}.", WIDTH, initial_indent="#: ", subsequent_indent="#: "),
        "ViewSpec = dict[str, Any]",
        "",
        "#: Smallest and largest value of whole numbers.",
        "LIMITS: dict[str, tuple[int, int]] = {",
        *(
            f'    "{name}": ({int(key["minimum"])}, {int(key["maximum"])}),'
            for name, key in limits.items()
            if "maximum" in key
        ),
        "}",
        "",
        "",
        *dataclass_lines(groups),
        "",
        "",
        *constructor_lines(schema["trainer"]),
    ]
    return "\n".join(lines) + "\n"


def help_text(schema: dict[str, list[Key]]) -> str:
    lines = [
        *module_docstring("What the command line says of each parameter."),
        "",
        "from __future__ import annotations",
        "",
        *help_lines({**groups_of(schema["trainer"]), **groups_of(OWN_KEYS)}),
    ]
    return "\n".join(lines) + "\n"


# ---- The tables


def table_text(keys: list[Key]) -> str:
    rows = ["| key | default | range | meaning |", "|---|---|---|---|"]
    rows += [f"| `{key['name']}` | {default_text(key)} | {range_text(key)} | {key['doc']} |" for key in keys]
    return "\n".join(rows)


def page_text(page: str, tables: dict[str, list[Key]], name: str) -> str:
    """A page with its generated tables replaced."""

    def table(found: re.Match[str]) -> str:
        if found[1] not in tables:
            raise LookupError(f"{name}: there is no group {found[1]!r}, only {', '.join(tables)}")
        return f"<!-- generated: {found[1]} -->\n{table_text(tables[found[1]])}\n<!-- end -->"

    return re.sub(r"<!-- generated: (\S+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


def generated(schema: dict[str, list[Key]]) -> dict[Path, str]:
    """All files that are written, and what they are to hold."""
    tables = groups_of([*schema["trainer"], *schema["view"], *schema["classifier"], *OWN_KEYS])
    pages = {page: page_text(page.read_text(encoding="utf-8"), tables, page.name) for page in PAGES}
    return {PARAMETERS: module_text(schema), HELP: help_text(schema), **pages}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and say what is stale")
    parser.add_argument("--schema", type=Path, metavar="FILE", help="the schema as JSON (default: the library's)")
    options = parser.parse_args(arguments)
    try:
        schema = json.loads(options.schema.read_text(encoding="utf-8")) if options.schema else schema_of_library()
        files = generated(schema)
    except LookupError as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 2
    stale = [file for file, text in files.items() if not file.exists() or file.read_text(encoding="utf-8") != text]
    if options.check:
        for file in stale:
            print(f"{file.relative_to(ROOT)} is stale: run python python/generate.py", file=sys.stderr)
        return 1 if stale else 0
    for file in stale:
        file.write_text(files[file], encoding="utf-8")
        print(f"written: {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
