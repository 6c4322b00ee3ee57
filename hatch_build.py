"""Builds libcarl with Swift and puts it into the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: A library built before; then neither Swift nor the OpenBLAS headers are needed.
PREBUILT = "CARL_PREBUILT_LIBRARY"
LIBRARY = "libcarl.dylib" if sys.platform == "darwin" else "libcarl.so"


class LibraryHook(BuildHookInterface):
    """Adds carl/lib/libcarl.so to the wheel and gives it the platform's tag: any Python 3 can load it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        library = _library(Path(self.root))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        if version == "editable":
            # The package is used in place and finds the library in the checkout's .build/release.
            return
        build_data["force_include"][str(library)] = f"carl/lib/{LIBRARY}"


def _library(root: Path) -> Path:
    prebuilt = os.environ.get(PREBUILT)
    if prebuilt:
        path = Path(prebuilt)
        if not path.is_file():
            _fail(f"{PREBUILT} names {path}, which is not a file")
        return path.resolve()
    _check_tools()
    command = ["swift", "build", "-c", "release", "--product", "carl"]
    print("carl:", " ".join(command), file=sys.stderr, flush=True)
    # Standard output belongs to the build backend's protocol.
    if subprocess.run(command, cwd=root, stdout=sys.stderr).returncode != 0:
        _fail("`" + " ".join(command) + "` failed; its messages are above")
    path = root / ".build" / "release" / LIBRARY
    if not path.is_file():
        _fail(f"the build ended without an error but {path} is not there")
    return path


def _check_tools() -> None:
    if shutil.which("swift") is None:
        _fail(
            "building carl needs Swift 6.2 or later, and `swift` is not on the PATH. Install it, "
            f"or name a library built before in {PREBUILT}"
        )
    if sys.platform == "darwin":
        return
    if shutil.which("pkg-config") is None:
        _fail("building carl needs pkg-config: on Debian and Ubuntu, apt install pkg-config libopenblas-dev")
    if subprocess.run(["pkg-config", "--exists", "openblas"]).returncode != 0:
        _fail("building carl needs OpenBLAS: on Debian and Ubuntu, apt install libopenblas-dev")


def _fail(message: str) -> None:
    print(f"\ncarl: {message}\n", file=sys.stderr, flush=True)
    raise SystemExit(1)
