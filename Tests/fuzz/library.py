"""The shared library as the header describes it: functions that take plain numbers, structs for ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from .header import Header, Type

ROOT = Path(__file__).resolve().parents[2]

_SCALARS: dict[str, Any] = {
    "char": ctypes.c_char,
    "int": ctypes.c_int,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "size_t": ctypes.c_size_t,
    "ptrdiff_t": ctypes.c_ssize_t,
    **{
        name + "_t": getattr(ctypes, "c_" + name)
        for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    },
}


def library_path(named: str | None = None) -> Path:
    """The library to test: the one named, else CARL_LIBRARY, else the build of this checkout."""
    name = named or os.environ.get("CARL_LIBRARY")
    path = Path(name).expanduser() if name else ROOT / ".build" / "release" / "libcarl.so"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such library; build it, or name one by --library or CARL_LIBRARY")
    return path.resolve()


def exported_functions(path: Path) -> set[str]:
    """The functions that the library offers to the linker, by nm."""
    nm = shutil.which("nm")
    if nm is None:
        raise FileNotFoundError("nm (binutils) is needed to list the library's symbols")
    lines = subprocess.run(
        [nm, "-D", "--defined-only", str(path)], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    symbols = [line.split() for line in lines]
    return {parts[2].partition("@")[0] for parts in symbols if len(parts) == 3 and parts[1] == "T"}


class Library:
    """libcarl, loaded. `library.call(name, values)` makes a call with one number for each parameter."""

    def __init__(self, path: Path, header: Header):
        self.path, self.header = path, header
        self.structs: dict[str, type[ctypes.Structure]] = {}
        for name, fields in header.structs.items():
            members = [(field.name, self._type(field.type)) for field in fields]
            self.structs[name] = type(name, (ctypes.Structure,), {"_fields_": members})
        self._library = ctypes.CDLL(str(path), mode=os.RTLD_LOCAL)
        self._functions: dict[str, Any] = {}
        for name, function in header.functions.items():
            bound = getattr(self._library, name)
            bound.argtypes = [self._type(parameter.type) for parameter in function.parameters]
            bound.restype = None if function.result == Type("void") else self._type(function.result)
            self._functions[name] = bound

    def _type(self, type: Type) -> Any:
        resolved = self.header.resolve(type.name)
        if type.depth or resolved in self.header.callbacks:
            return ctypes.c_void_p
        base = self.structs[resolved] if resolved in self.structs else _SCALARS[resolved]
        return base * type.length if type.length else base

    def call(self, name: str, *values: Any) -> Any:
        return self._functions[name](*values)

    def text(self, name: str, *values: Any) -> str:
        """The text that a function returns, which is never NULL."""
        address = self.call(name, *values)
        if not address:
            raise AssertionError(f"{name} returned NULL")
        return ctypes.string_at(address).decode("utf-8")

    def size(self, type: Type) -> int:
        """Bytes of what a pointer of this type points to."""
        return ctypes.sizeof(ctypes.c_void_p if type.depth > 1 else self._type(Type(type.name)))
