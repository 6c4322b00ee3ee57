"""Builds libcarl with Swift and puts it into the wheel."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: A library built before; then Swift is not needed.
PREBUILT = "CARL_PREBUILT_LIBRARY"
#: Beside the library, one for processors with AVX-512: the folder that glibc's loader searches for it.
WIDE = "glibc-hwcaps/x86-64-v4"
LIBRARY = "libcarl.dylib" if sys.platform == "darwin" else "libcarl.so"


class LibraryHook(BuildHookInterface):
    """Adds carl/lib/libcarl.so to the wheel and gives it the platform's tag: any Python 3 can load it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        editable = version == "editable"
        library = _library(root, editable)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        if editable:
            # The package is used in place and looks for the library where a build of the checkout puts it.
            place = root / ".build" / "release" / LIBRARY
            if library.resolve() != place.resolve():
                _fail(
                    f"an editable installation uses {place}, and {PREBUILT} names {library}: "
                    "build without it, or leave the package uninstalled and set PYTHONPATH=python and CARL_LIBRARY"
                )
            return
        build_data["force_include"][str(library)] = f"carl/lib/{LIBRARY}"
        # Beside the name that was given, else beside the file that this name is a link to.
        wide = next((w for w in (p.parent / WIDE / LIBRARY for p in (library, library.resolve())) if w.is_file()), None)
        if wide is not None:
            _check_is_ours(wide)
            build_data["force_include"][str(wide)] = f"carl/lib/{WIDE}/{LIBRARY}"


def _library(root: Path, editable: bool) -> Path:
    prebuilt = os.environ.get(PREBUILT)
    if prebuilt:
        path = Path(prebuilt)
        if not path.is_file():
            _fail(f"{PREBUILT} names {path}, which is not a file")
        _check_is_ours(path)
        return path.absolute()
    _check_tools()
    path = _build(root, ".build", {})
    # A wheel is for other machines too; what is used in place is for this one.
    if sys.platform == "linux" and platform.machine() == "x86_64" and (not editable or _processor_is_wide()):
        wide = path.parent / WIDE
        wide.mkdir(parents=True, exist_ok=True)
        shutil.copy2(_build(root, ".build-avx512", {"CARL_X86_64_LEVEL": "4"}), wide / LIBRARY)
    return path.absolute()


def _processor_is_wide() -> bool:
    try:
        return "avx512vl" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _build(root: Path, folder: str, environment: dict[str, str]) -> Path:
    """The library built in `folder` of the checkout."""
    command = ["swift", "build", "-c", "release", "--product", "carl", "--scratch-path", folder]
    print("carl:", " ".join(command), file=sys.stderr, flush=True)
    # Standard output belongs to the build backend's protocol.
    if subprocess.run(command, cwd=root, stdout=sys.stderr, env={**os.environ, **environment}).returncode != 0:
        _fail("`" + " ".join(command) + "` failed; its messages are above")
    path = root / folder / "release" / LIBRARY
    if not path.is_file():
        _fail(f"the build ended without an error but {path} is not there")
    return path


def _check_is_ours(path: Path) -> None:
    content = path.read_bytes()
    # ELF, or Mach-O of 64 bits; and a function of carl.h by name.
    if not content.startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe")) or b"carl_abi_version" not in content:
        _fail(f"{path} is not a build of {LIBRARY}")


def _check_tools() -> None:
    if shutil.which("swift") is None:
        _fail(
            "building carl needs Swift 6.3 or later, and `swift` is not on the PATH. Install it, "
            f"or name a library built before in {PREBUILT}"
        )


def _fail(message: str) -> None:
    print(f"\ncarl: {message}\n", file=sys.stderr, flush=True)
    raise SystemExit(1)
