"""What tools/check_wheel.py says of wheels that are not for other machines."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

import carl

ROOT = Path(__file__).resolve().parents[2]
BASE = "carl/lib/libcarl.so"
NAME = f"libcarl-0.1.0-py3-none-manylinux_2_34_{platform.machine()}.whl"


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_wheel", ROOT / "tools" / "check_wheel.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel(folder: Path, libraries: dict[str, bytes], name: str = NAME) -> Path:
    with zipfile.ZipFile(folder / name, "w") as archive:
        for place, content in libraries.items():
            archive.writestr(place, content)
    return folder / name


def test_the_base_library_is_for_every_processor(check, tmp_path):
    info = carl.build_info()
    complaints = check.complaints(wheel(tmp_path, {BASE: Path(info["library"]).read_bytes()}))
    if info["target"] == "x86-64-v4":
        assert complaints == [f"{BASE} is built for x86-64-v4, not for x86-64-v3: some processors could not run it"]
    else:
        assert complaints == []


@pytest.mark.skipif(platform.machine() != "x86_64" or shutil.which("cc") is None, reason="compiles for x86-64")
@pytest.mark.parametrize(("target", "passes"), [("x86-64-v3", True), ("x86-64-v4", False)])
def test_the_target_is_what_the_library_says(check, tmp_path, target, passes):
    source = "const char *carl_build_info(void) { return %s; }" % json.dumps(json.dumps({"target": target}))
    built = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", tmp_path / "library.so"]
    subprocess.run(built, input=source, text=True, check=True)
    complaints = check.complaints(wheel(tmp_path, {BASE: (tmp_path / "library.so").read_bytes()}))
    assert (complaints == []) == passes and all(target in complaint for complaint in complaints)


def test_a_library_that_cannot_be_asked(check, tmp_path):
    (complaint,) = check.complaints(wheel(tmp_path, {BASE: b"no library"}))
    assert f"{BASE} cannot be loaded here: " in complaint


def test_names_and_contents(check, tmp_path):
    missing, tag = check.complaints(wheel(tmp_path, {}, "libcarl-0.1.0-py3-none-linux_x86_64.whl"))[::-1]
    assert missing == f"{BASE} is missing" and "manylinux" in tag
