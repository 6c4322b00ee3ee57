"""`make install`: what it puts where, and programs built against it by pkg-config and by CMake."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import carl
from carl._libpath import AVX512_FOLDER

ROOT = Path(__file__).resolve().parents[2]
VERSION = (ROOT / "VERSION").read_text().strip()
MAJOR = VERSION.split(".")[0]
EXAMPLE = ROOT / "examples" / "c"
FILES = {
    "include/carl.h",
    "lib/libcarl.so",
    f"lib/libcarl.so.{MAJOR}",
    f"lib/libcarl.so.{VERSION}",
    "lib/pkgconfig/carl.pc",
    "lib/cmake/Carl/CarlConfig.cmake",
    "lib/cmake/Carl/CarlConfigVersion.cmake",
    "share/doc/carl/README.md",
    "share/doc/carl/LICENSE",
}
WIDE = f"lib/{AVX512_FOLDER}/libcarl.so.{MAJOR}"


def program(name: str) -> str:
    """A program of the system, or of the environment that runs the tests."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # What would help the program find another library, and what make tells the makes that it starts.
    unwanted = re.compile(r"LD_|CARL_|MAKE|MFLAGS|PKG_CONFIG")
    kept = {name: value for name, value in os.environ.items() if not unwanted.match(name)}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env={**kept, **environment}, capture_output=True, text=True, check=False
    )


def succeed(*command: str | Path, folder: Path, **environment: str) -> str:
    done = run(*command, folder=folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make(*arguments: str, library: Path | None = None) -> str:
    named = [f"CARL_PREBUILT_LIBRARY={library}"] if library else []
    return succeed(program("make"), *arguments, *named, folder=ROOT)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """The library that the tests run with, by itself."""
    copy = tmp_path_factory.mktemp("library") / "libcarl.so"
    copy.symlink_to(carl.build_info()["library"])
    return copy


@pytest.fixture(scope="module")
def prefix(tmp_path_factory, library) -> Path:
    if not sys.platform.startswith("linux"):
        pytest.skip("make install is for Linux")
    folder = tmp_path_factory.mktemp("installed") / "usr"
    make("install", f"PREFIX={folder}", library=library)
    return folder


def check_example(built: Path, prefix: Path) -> None:
    """It finds the installed library, that one and no other, without being told where."""
    assert f"libcarl.so.{MAJOR} => {prefix}/lib/libcarl.so.{MAJOR}" in succeed("ldd", built, folder=built.parent)
    assert f"libcarl {VERSION}\n" in succeed(built, folder=built.parent)


def test_what_is_installed(prefix):
    assert files(prefix) == FILES
    assert os.readlink(prefix / "lib/libcarl.so") == f"libcarl.so.{MAJOR}"
    assert os.readlink(prefix / f"lib/libcarl.so.{MAJOR}") == f"libcarl.so.{VERSION}"
    assert not (prefix / f"lib/libcarl.so.{VERSION}").is_symlink()
    assert "@" not in "".join((prefix / name).read_text() for name in FILES if name.endswith((".pc", ".cmake")))


def test_a_program_by_pkg_config(prefix, tmp_path):
    tool, cc = program("pkg-config"), program("cc")
    where = {"PKG_CONFIG_PATH": str(prefix / "lib/pkgconfig")}
    assert succeed(tool, "--modversion", "carl", folder=tmp_path, **where).strip() == VERSION
    # The line in the example's own comment.
    line = re.search(r"cc (train_and_embed\.c .*\))$", (EXAMPLE / "train_and_embed.c").read_text(), re.M).group(1)
    shutil.copy(EXAMPLE / "train_and_embed.c", tmp_path)
    succeed("sh", "-c", f"{cc} -Wall -Wextra -Werror {line} -o by_pkg_config", folder=tmp_path, **where)
    check_example(tmp_path / "by_pkg_config", prefix)


def test_a_program_by_cmake(prefix, tmp_path):
    cmake = program("cmake")
    program("cc")
    succeed(cmake, "-S", EXAMPLE, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}", folder=tmp_path)
    succeed(cmake, "--build", tmp_path, folder=tmp_path)
    check_example(tmp_path / "train_and_embed", prefix)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (f"{MAJOR}.0", True),
        (VERSION, True),
        (f"{int(MAJOR) + 1}.0", False),
        (f"{MAJOR}.999", False),
        (f"{MAJOR}.0...{MAJOR}.99", True),
        (f"{MAJOR}.0...{VERSION}", True),
        (f"{MAJOR}.0...<{VERSION}", False),
        (f"{MAJOR}.0...{MAJOR}.0.9", False),
        (f"{MAJOR}.99...{int(MAJOR) + 1}.0", False),
    ],
)
def test_cmake_takes_the_versions_that_suit(prefix, tmp_path, asked, found):
    cmake = program("cmake")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.19)\nproject(asking LANGUAGES NONE)\n"
        f"find_package(Carl {asked} REQUIRED)\nmessage(STATUS found=${{Carl_VERSION}})\n"
    )
    done = run(cmake, "-B", "build", f"-DCMAKE_PREFIX_PATH={prefix}", folder=tmp_path)
    assert (done.returncode == 0) == found, done.stderr
    assert f"found={VERSION}" in done.stdout if found else f"version: {VERSION}" in done.stderr


def test_staging_and_other_library_folders(library, tmp_path):
    stage = tmp_path / "stage"
    where = [f"DESTDIR={stage}", "PREFIX=/opt/carl", "LIBDIR=lib/x86_64-linux-gnu"]
    make("install", *where, library=library)
    moved = {name.replace("lib/", "lib/x86_64-linux-gnu/", 1) if name.startswith("lib/") else name for name in FILES}
    assert files(stage / "opt/carl") == moved
    described = (stage / "opt/carl/lib/x86_64-linux-gnu/pkgconfig/carl.pc").read_text()
    assert "prefix=/opt/carl\nlibdir=${prefix}/lib/x86_64-linux-gnu\n" in described
    script = tmp_path / "find.cmake"
    config = stage / "opt/carl/lib/x86_64-linux-gnu/cmake/Carl/CarlConfig.cmake"
    script.write_text(
        "cmake_policy(VERSION 3.15)\nfunction(add_library)\nendfunction()\n"
        f'function(set_target_properties)\nmessage("${{ARGN}}")\nendfunction()\ninclude({config})\n'
    )
    told = run(program("cmake"), "-P", script, folder=tmp_path).stderr
    assert f"{stage}/opt/carl/include" in told and f"{stage}/opt/carl/lib/x86_64-linux-gnu/libcarl.so.{VERSION}" in told


@pytest.mark.parametrize("linked", ["lib", "usr/lib"])
def test_cmake_finds_the_header_where_lib_is_a_link(library, tmp_path, linked):
    # /lib to /usr/lib, as most systems have it; or the folder of an installation that lies elsewhere.
    cmake = program("cmake")
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/usr", library=library)
    if linked == "lib":
        (tmp_path / "lib").symlink_to("usr/lib")
    else:
        (tmp_path / "usr/lib").rename(tmp_path / "moved")
        (tmp_path / "usr/lib").symlink_to("../moved")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.15)\nproject(asking LANGUAGES NONE)\n"
        f"find_package(Carl REQUIRED PATHS {(tmp_path / linked).parent} NO_DEFAULT_PATH)\n"
        "get_target_property(folder Carl::carl INTERFACE_INCLUDE_DIRECTORIES)\nmessage(STATUS include=${folder})\n"
    )
    told = succeed(cmake, "-B", "build", folder=tmp_path)
    assert f"include={tmp_path}/usr/include\n" in told


@pytest.mark.parametrize(
    "where",
    [
        "LIBDIR=/usr/lib64",
        "LIBDIR=",
        "LIBDIR=../out",
        "LIBDIR=lib/../../out",
        "PREFIX=/a&b",
        "PREFIX=/a|b",
        "PREFIX=/with space",
        "PREFIX=here",
    ],
)
def test_places_that_make_no_installation(library, tmp_path, where):
    given = ["install", f"DESTDIR={tmp_path}", where, f"CARL_PREBUILT_LIBRARY={library}"]
    done = run(program("make"), *given, folder=ROOT)
    assert done.returncode != 0 and "make install: " in done.stderr and list(tmp_path.iterdir()) == []


def test_the_library_for_avx512_comes_and_goes(library, tmp_path):
    both = tmp_path / "both"
    (both / AVX512_FOLDER).mkdir(parents=True)
    shutil.copy(library, both / "libcarl.so")
    wide = b"\x7fELF, as wide as libcarl.so." + MAJOR.encode()
    (both / AVX512_FOLDER / "libcarl.so").write_bytes(wide)
    prefix = tmp_path / "usr"
    make("install", f"PREFIX={prefix}", library=both / "libcarl.so")
    assert files(prefix) == FILES | {WIDE} and (prefix / WIDE).read_bytes() == wide
    make("install", f"PREFIX={prefix}", library=library)
    assert files(prefix) == FILES


def test_uninstall_leaves_what_others_put_there(library, tmp_path):
    prefix = tmp_path / "usr"
    make("install", f"PREFIX={prefix}", library=library)
    (prefix / "lib/pkgconfig/other.pc").touch()
    make("uninstall", f"PREFIX={prefix}")
    assert files(prefix) == {"lib/pkgconfig/other.pc"}
    assert not (prefix / "lib/cmake/Carl").exists() and not (prefix / "share/doc/carl").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["PREFIX=relative"], "PREFIX must be an absolute path"), (["CARL_PREBUILT_LIBRARY=/no/library"], "/no/library")],
)
def test_wrong_arguments_are_named(tmp_path, arguments, says):
    done = run(program("make"), "install", f"DESTDIR={tmp_path}", "CARL_PREBUILT_LIBRARY=/no", *arguments, folder=ROOT)
    assert done.returncode != 0 and says in done.stderr and not files(tmp_path)


@pytest.mark.parametrize("damaged", ["libcarl.so", f"{AVX512_FOLDER}/libcarl.so"])
@pytest.mark.parametrize("content", [(ROOT / "README.md").read_bytes(), b"", b"\x7fELF of another library"])
def test_files_that_are_no_library_of_ours_are_not_installed(library, tmp_path, damaged, content):
    given, stage = tmp_path / "given", tmp_path / "stage"
    (given / AVX512_FOLDER).mkdir(parents=True)
    shutil.copy(library, given / "libcarl.so")
    (given / damaged).write_bytes(content)
    named = [f"DESTDIR={stage}", f"CARL_PREBUILT_LIBRARY={given / 'libcarl.so'}"]
    done = run(program("make"), "install", *named, folder=ROOT)
    assert done.returncode != 0 and f"{given / damaged} is not a libcarl.so.{MAJOR}" in done.stderr
    assert not stage.exists()


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_packing_a_library_built_before_needs_no_swift(library, tmp_path, target):
    # What make would run where nothing has been made yet.
    named = [f"BUILD={tmp_path}", "SWIFT=/no/swift", "APT_PACKAGES=no-package"]
    told = make("--dry-run", target, *named, library=library)
    assert f"-m build --{target}" in told and "/no/swift" not in told and "no-package" not in told


def test_the_soname_is_the_link_s():
    tool = program("readelf")
    told = succeed(tool, "-d", carl.build_info()["library"], folder=ROOT)
    assert f"soname: [libcarl.so.{MAJOR}]" in told
