"""The package as a whole: what import does and does not do, versions, how the library is found."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import carl
from carl import _c_api, _libpath
from conftest import functions_of_the_header, run_python

ROOT = Path(__file__).resolve().parents[2]


def test_versions_agree():
    # Copies in source files are held by test_release.py, those of an installation by test_c_install.py.
    version = (ROOT / "VERSION").read_text().strip()
    assert version == carl.__version__ == carl.build_info()["version"] == carl.build_info()["package"]
    if not (Path(carl.__file__).resolve().is_relative_to(ROOT)):
        assert importlib.metadata.version("libcarl") == version


def test_build_info_names_the_library():
    info = carl.build_info()
    assert info["abi"] == _c_api.ABI_VERSION
    assert Path(info["library"]).name.startswith("libcarl")


def test_package_is_typed():
    assert (Path(carl.__file__).parent / "py.typed").is_file()


def test_every_function_of_the_header_is_declared():
    assert functions_of_the_header() == set(_c_api.SIGNATURES)


def test_structs_have_the_header_s_fields():
    header = (ROOT / "include" / "carl.h").read_text()
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    for struct in (
        _c_api.carl_image,
        _c_api.carl_batch,
        _c_api.carl_metrics,
        _c_api.carl_tensor_info,
        _c_api.carl_assignment_options,
        _c_api.carl_assignment_result,
    ):
        body = re.search(r"typedef struct " + struct.__name__ + r" \{(.*?)\}", header, re.S).group(1)
        names = []
        for statement in filter(str.strip, body.split(";")):
            first, *more = statement.split(",")
            names += [re.search(r"(\w+)(\[\d+\])?\s*$", part).group(1) for part in (first, *more)]
        assert names == [name for name, *_ in struct._fields_]


def test_import_installs_no_signal_handler():
    code = """
def caught():
    # But 32 and 33, the C library's own, whose handlers it installs with the first thread.
    lines = [line.split() for line in open("/proc/self/status") if line.startswith(("SigCgt", "SigIgn", "SigBlk"))]
    return [(name, int(mask, 16) & ~(3 << 31)) for name, mask in lines]
import numpy
before = caught()
import carl
assert caught() == before, (before, caught())
carl.Trainer(width=0.125, prototypes=4).close()
assert caught() == before, (before, caught())
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_import_needs_numpy_alone():
    # Neither an optional package nor one that is needed later.
    code = """
import sys, numpy
before = set(sys.modules)
import carl
added = {name.partition(".")[0] for name in set(sys.modules) - before}
assert "carl" in added and added <= {"carl", *sys.stdlib_module_names}, added - sys.stdlib_module_names
assert "argparse" not in sys.modules
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("order", ["import torch, carl", "import carl, torch"])
def test_lives_beside_torch(order):
    code = f"""
{order}
import numpy as np
x = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
with carl.Trainer(width=0.125, prototypes=4, view_size=12) as trainer:
    a = trainer.step(x)
    torch.ones(300, 300) @ torch.ones(300, 300)
    trainer.step(torch.from_numpy(x))
    state = {{k: torch.from_numpy(v) for k, v in trainer.state_dict().items()}}
    state["encoder.bn1.num_batches_tracked"] = torch.tensor(3)
    trainer.load_state_dict(state)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_missing_library_lists_what_was_tried(monkeypatch, tmp_path):
    monkeypatch.setenv(_libpath.ENVIRONMENT_VARIABLE, str(tmp_path / "nowhere.so"))
    done = run_python("import carl", CARL_LIBRARY=str(tmp_path / "nowhere.so"))
    assert done.returncode != 0
    assert "nowhere.so" in done.stderr and "CARL_LIBRARY" in done.stderr and "LibraryError" in done.stderr


def test_the_command_says_in_a_line_that_the_library_is_missing(tmp_path):
    (tmp_path / "carl").write_text("import sys\nfrom carl.cli import main\nsys.exit(main())\n")
    for library, words in ((tmp_path / "nowhere.so", "Tried: "), (tmp_path / "carl", "invalid ELF header|too short")):
        for command in ([str(tmp_path / "carl")], ["-m", "carl"]):
            done = subprocess.run(
                [sys.executable, *command, "info"],
                env={**os.environ, "CARL_LIBRARY": str(library), "PYTHONPATH": str(Path(carl.__file__).parents[1])},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
            assert re.match(f"carl: libcarl could not be loaded.*({words}).*CARL_LIBRARY", done.stderr)


def test_every_place_is_tried(monkeypatch):
    monkeypatch.delenv(_libpath.ENVIRONMENT_VARIABLE, raising=False)
    places = _libpath.candidates()
    plain = [place for place in places if _libpath.AVX512_FOLDER not in place]
    assert plain[0].endswith(f"carl/lib/{_libpath.FILE_NAME}")
    assert places[-1] == _libpath.SYSTEM_NAMES[-1]
    message = _libpath.not_found_message([(place, "because") for place in places])
    assert all(place in message for place in places)


@pytest.mark.parametrize("wide", [False, True])
def test_the_library_for_avx512_goes_first_where_it_can_run(monkeypatch, tmp_path, wide):
    monkeypatch.delenv(_libpath.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(_libpath, "__file__", str(tmp_path / "_libpath.py"))
    monkeypatch.setattr(_libpath, "processor_has_avx512", lambda: wide)
    folder = tmp_path / "lib" / _libpath.AVX512_FOLDER
    folder.mkdir(parents=True)
    assert str(folder / _libpath.FILE_NAME) not in _libpath.candidates()
    (folder / _libpath.FILE_NAME).touch()
    places = _libpath.candidates()
    assert (places[0] == str(folder / _libpath.FILE_NAME)) == wide
    assert str(tmp_path / "lib" / _libpath.FILE_NAME) in places


def test_the_loaded_library_suits_the_processor():
    # CI builds both where both can run; a build for AVX-512 alone must never be loaded elsewhere.
    target = carl.build_info()["target"]
    assert target != "x86-64-v4" or _libpath.processor_has_avx512()


def test_a_foreign_library_is_refused(tmp_path):
    libc = ctypes.util.find_library("c") if hasattr(ctypes, "util") else None
    name = libc or "libc.so.6"
    path = next(
        (p for p in ("/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64") if Path(p, name).exists()), None
    )
    if path is None:
        pytest.skip("no libc to try")
    done = run_python("import carl", CARL_LIBRARY=str(Path(path, name)))
    assert done.returncode != 0
    assert "LibraryError" in done.stderr and "not this package's libcarl" in done.stderr


def test_errors_are_the_built_in_ones_too():
    assert issubclass(carl.CARLError, RuntimeError)
    for error, base in [
        (carl.ConfigurationError, ValueError),
        (carl.InvalidArgumentError, ValueError),
        (carl.FileError, OSError),
        (carl.NotFiniteError, ArithmeticError),
        (carl.OutOfMemoryError, MemoryError),
        (carl.NotFittedError, AttributeError),
    ]:
        assert issubclass(error, base) and issubclass(error, carl.CARLError)
        assert str(error("why")) == "why"


def test_log_messages_reach_logging_and_errors_in_callbacks_come_back(caplog):
    with caplog.at_level("WARNING", logger="carl"):
        _c_api._on_message(1, b"something collapsed", None)
    assert "something collapsed" in caplog.text

    class Mine(Exception):
        pass

    def callback(level, message):
        raise Mine(f"{level} {message}")

    carl.set_log_callback(callback)
    try:
        _c_api._on_message(0, b"hello", None)
        with pytest.raises(Mine, match="0 hello"):
            _c_api.check_call(0)
        _c_api.check_call(0)
    finally:
        carl.set_log_callback(None)
    with pytest.raises(TypeError, match="callback"):
        carl.set_log_callback(3)


def test_threads_from_the_environment():
    done = run_python("import carl; print(carl.default_threads())", CARL_NUM_THREADS="1")
    assert done.stdout.strip() == "1", done.stderr
    assert sys.modules["carl"].default_threads() >= 1


def test_completion_shows_what_there_is_to_use():
    shown = [name for name in dir(carl) if not name.startswith("__")]
    assert set(shown) == {*carl.__all__, "export", "loggers", "plots", "report", "runs"}
    assert all(getattr(carl, name) is not None for name in shown)
