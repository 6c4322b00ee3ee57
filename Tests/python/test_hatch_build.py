"""What the build hook puts into a wheel, around a library built before."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from carl._libpath import AVX512_FOLDER

pytest.importorskip("hatchling")

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="the library is called otherwise there")
#: What the hook takes for a library.
BUILT = b"\x7fELF with carl_abi_version"


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Runs the hook for a checkout in tmp_path and gives what it tells the builder."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv(module.PREBUILT, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    ran = []

    def swift(command, *, cwd, stdout, env):
        # Builds what it was told to, in no time.
        folder = Path(cwd, command[command.index("--scratch-path") + 1], "release")
        folder.mkdir(parents=True)
        (folder / "libcarl.so").write_bytes(BUILT + env.get("CARL_X86_64_LEVEL", "3").encode())
        ran.append(folder.parent.name)
        return module.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(module, "_check_tools", lambda: None)
    monkeypatch.setattr(module.subprocess, "run", swift)

    def build(version="standard", prebuilt=None, target="wheel", machine="x86_64", wide=False):
        ran.clear()
        monkeypatch.setattr(module.platform, "machine", lambda: machine)
        monkeypatch.setattr(module, "_processor_is_wide", lambda: wide)
        if prebuilt:
            monkeypatch.setenv(module.PREBUILT, str(prebuilt))
        data = {"force_include": {}}
        hook = module.LibraryHook(str(tmp_path), {}, None, None, str(tmp_path / "dist"), target)
        hook.initialize(version, data)
        return data, list(ran)

    return build


def test_both_levels_are_built_and_packed(build, tmp_path):
    data, ran = build()
    assert ran == [".build", ".build-avx512"] and data["pure_python"] is False
    assert data["tag"].startswith("py3-none-") and "-" not in data["tag"].removeprefix("py3-none-")
    packed = {place: Path(file).read_bytes() for file, place in data["force_include"].items()}
    assert packed == {"carl/lib/libcarl.so": BUILT + b"3", f"carl/lib/{AVX512_FOLDER}/libcarl.so": BUILT + b"4"}


def test_other_machines_have_one_level(build):
    data, ran = build(machine="aarch64")
    assert ran == [".build"] and list(data["force_include"].values()) == ["carl/lib/libcarl.so"]


@pytest.mark.parametrize("wide", [False, True])
def test_an_editable_installation_builds_for_this_machine(build, wide):
    data, ran = build("editable", wide=wide)
    assert data["force_include"] == {} and ran == [".build", ".build-avx512"][: 1 + wide]


def test_a_library_built_before_needs_no_swift(build, tmp_path):
    library = tmp_path / "elsewhere" / "libcarl-other.so"
    (library.parent / AVX512_FOLDER).mkdir(parents=True)
    library.write_bytes(BUILT)
    data, ran = build(prebuilt=library)
    assert ran == [] and data["force_include"] == {str(library): "carl/lib/libcarl.so"}
    (library.parent / AVX512_FOLDER / "libcarl.so").write_bytes(BUILT)
    data, _ = build(prebuilt=library)
    assert list(data["force_include"].values()) == ["carl/lib/libcarl.so", f"carl/lib/{AVX512_FOLDER}/libcarl.so"]


def test_a_library_that_the_package_would_not_find_is_refused(build, tmp_path, capsys):
    # In place, the package looks into .build/release: an installation without an error would not import.
    library = tmp_path / "elsewhere.so"
    library.write_bytes(BUILT)
    with pytest.raises(SystemExit):
        build("editable", prebuilt=library)
    told = capsys.readouterr().err
    assert str(library) in told and "CARL_LIBRARY" in told
    place = tmp_path / ".build" / "release" / "libcarl.so"
    place.parent.mkdir(parents=True)
    place.write_bytes(BUILT)
    assert build("editable", prebuilt=place)[1] == []


def test_a_library_that_is_not_there_is_named(build, tmp_path, capsys):
    with pytest.raises(SystemExit):
        build(prebuilt=tmp_path / "nowhere.so")
    assert "nowhere.so" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", ["libcarl.so", f"{AVX512_FOLDER}/libcarl.so"])
@pytest.mark.parametrize("content", [(ROOT / "README.md").read_bytes(), b"", b"\x7fELF of another library"])
def test_a_file_that_is_no_library_of_ours_is_not_packed(build, tmp_path, capsys, damaged, content):
    (tmp_path / AVX512_FOLDER).mkdir(parents=True)
    (tmp_path / "libcarl.so").write_bytes(BUILT)
    (tmp_path / damaged).write_bytes(content)
    with pytest.raises(SystemExit):
        build(prebuilt=tmp_path / "libcarl.so")
    assert f"{tmp_path / damaged} is not a build of libcarl.so" in capsys.readouterr().err


def test_a_source_archive_builds_nothing(build):
    assert build(target="sdist") == ({"force_include": {}}, [])


def test_a_linked_library_keeps_what_lies_beside_the_link_or_the_file(build, tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    for folder in (real, link):
        folder.mkdir()
    (real / "libcarl.so.0").write_bytes(BUILT)
    (link / "libcarl.so").symlink_to(real / "libcarl.so.0")
    for beside in (link, real):
        wide = beside / AVX512_FOLDER / "libcarl.so"
        wide.parent.mkdir(parents=True)
        wide.write_bytes(BUILT + f" beside {beside.name}".encode())
        data, _ = build(prebuilt=link / "libcarl.so")
        packed = {place: Path(file).read_bytes() for file, place in data["force_include"].items()}
        assert packed == {"carl/lib/libcarl.so": BUILT, f"carl/lib/{AVX512_FOLDER}/libcarl.so": wide.read_bytes()}
        wide.unlink()
