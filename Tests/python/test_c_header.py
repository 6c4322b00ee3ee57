"""carl.h for compilers of C and C++, and that the library exports what it declares, no less and no more."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import carl
from conftest import functions_of_the_header

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = [("c", "c99"), ("c", "c11"), ("c++", "c++17")]
COMPILERS = {"gcc": {"c": "gcc", "c++": "g++"}, "clang": {"c": "clang", "c++": "clang++"}}

PROGRAM = """\
#include "carl.h"
#include "carl.h"

int main(void) {
    carl_metrics metrics;
    carl_image image;
    carl_trainer *trainer = NULL;
    image.reserved = 0;
    metrics.struct_size = sizeof metrics;
    return carl_trainer_step(trainer, &image, 1, NULL, 0, &metrics) == CARL_OK;
}
"""


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize(("language", "standard"), LANGUAGES)
def test_the_header_compiles_without_warnings(tmp_path, compiler, language, standard):
    command = shutil.which(COMPILERS[compiler][language])
    if command is None:
        pytest.skip(f"{COMPILERS[compiler][language]} is not installed")
    source = tmp_path / ("program.c" if language == "c" else "program.cc")
    source.write_text(PROGRAM)
    # As a folder of the project's own, not of the system: there, warnings would not be shown.
    flags = [f"-std={standard}", "-Wall", "-Wextra", "-pedantic", "-Werror", "-I", str(ROOT / "include")]
    done = subprocess.run([command, *flags, "-fsyntax-only", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_the_library_exports_the_header_s_functions_alone():
    library = carl.build_info()["library"]
    listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    # Small letters are local symbols, which nobody can link to (but u, v and w, which are weak or unique); A is the
    # name of the version that the symbols carry.
    symbols = re.findall(r"^\S+ ([B-Zuvw]) ([^@\s]+)", listed, re.M)
    assert {name for _, name in symbols} == functions_of_the_header()
    assert {kind for kind, _ in symbols} == {"T"}
