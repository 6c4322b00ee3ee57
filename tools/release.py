"""The steps of a release up to the point where somebody publishes it. Nothing is uploaded, and no tag is set.

    python tools/release.py bump 0.2.0     # writes VERSION and its copies, and begins the section of CHANGELOG.md
    python tools/release.py check          # make release-check: all that follows
    python tools/release.py check --quick  # without lint, tests and a build of the source archive

The check: VERSION is later than the last tag and its copies agree; CHANGELOG.md begins with its section; nothing is
uncommitted; make lint and make test; the wheel for both processor levels and its tests where nothing else is there;
the source archive, and that a wheel can be made of it; dist/SHA256SUMS. It ends with the steps that are left.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Where the Makefile installs what makes wheels.
PACKERS = ROOT / ".build" / "make" / "packers" / "bin"
sys.path.insert(0, str(ROOT / "python"))

import versions  # noqa: E402


class Unready(Exception):
    """What keeps the release from being made."""


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


# ---- What can be seen without building


def check_version(root: Path) -> str:
    """The version; Unready unless the copies agree with it and it is later than every tag."""
    try:
        version = versions.current(root)
        stale = [file for file, text in versions.copies(root).items() if file.read_text(encoding="utf-8") != text]
    except LookupError as error:
        raise Unready(str(error)) from error
    if stale:
        names = ", ".join(str(file.relative_to(root)) for file in stale)
        raise Unready(f"{names} state another version than VERSION, {version}: run python python/generate.py")
    tagged = [tag[1:] for tag in git(root, "tag", "--list", "v*").split() if versions.FORM.fullmatch(tag[1:])]
    last = max(tagged, key=numbers, default=None)
    if last is not None and numbers(version) <= numbers(last):
        raise Unready(f"VERSION is {version}, and v{last} was released: python tools/release.py bump gives the next")
    return version


def check_changelog(root: Path, version: str) -> None:
    """Unready unless CHANGELOG.md begins with a section of this version that says something."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *_ = [*re.finditer(r"^## (\S+).*\n((?:(?!## ).*\n?)*)", text, re.M), None]
    if first is None or first[1] != version:
        raise Unready(f"CHANGELOG.md begins with {first[1] if first else 'no section'}, and the version is {version}")
    if not re.search(r"^- \S", first[2], re.M):
        raise Unready(f"CHANGELOG.md says nothing of {version}")


def check_tree(root: Path) -> None:
    """Unready where something is not committed."""
    changed = git(root, "status", "--porcelain")
    if changed:
        raise Unready("there are changes that are not committed:\n" + changed.rstrip())


# ---- What is built


def make(*arguments: str) -> None:
    command = ["make", *arguments]
    print("release:", *command, flush=True)
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise Unready("`" + " ".join(command) + "` failed; its messages are above")


def check_archive(archive: Path, quick: bool) -> None:
    """Unready unless a wheel can be made of the source archive: by Swift, or when quick around the library built."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
        source = Path(folder) / archive.name.removesuffix(".tar.gz")
        command = [str(PACKERS / "python"), "-m", "build", "--wheel", "--outdir", folder, str(source)]
        print("release:", *command, flush=True)
        prebuilt = {"CARL_PREBUILT_LIBRARY": str(ROOT / ".build" / "release" / "libcarl.so")} if quick else {}
        if subprocess.run(command, env={**os.environ, **prebuilt}).returncode != 0:
            raise Unready(f"no wheel could be made of {archive.name}; the messages are above")


def write_checksums(folder: Path, version: str) -> Path:
    """SHA256SUMS of this version's files, as sha256sum --check reads it."""
    files = sorted(path for path in folder.glob(f"libcarl-{version}[-.]*") if path.suffix in (".whl", ".gz"))
    kinds = {path.suffix for path in files}
    if kinds != {".whl", ".gz"}:
        raise Unready(f"{folder} should have a wheel and a source archive of {version}, has: {[f.name for f in files]}")
    sums = folder / "SHA256SUMS"
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    sums.write_text("".join(lines), encoding="utf-8")
    return sums


# ---- The commands


def check(quick: bool) -> None:
    version = check_version(ROOT)
    check_changelog(ROOT, version)
    check_tree(ROOT)
    print(f"release: {version}: versions agree, the changelog has its section, the tree is clean", flush=True)
    if not quick:
        make("lint")
        make("test", "AVX512=1")
    make("wheel" if quick else "test-wheel", "AVX512=1")
    make("sdist")
    check_archive(ROOT / "dist" / f"libcarl-{version}.tar.gz", quick)
    check_tree(ROOT)
    print(write_checksums(ROOT / "dist", version).read_text(), end="")
    print(
        f"release: dist/ has {version}. What is left: git tag -a v{version}, publish the files of dist/ with "
        "SHA256SUMS, and the section of CHANGELOG.md as the release's text."
    )


def bump(root: Path, version: str) -> None:
    if not versions.FORM.fullmatch(version):
        raise Unready(f"{version!r} is no version such as 1.2.3")
    if numbers(version) <= numbers(versions.current(root)):
        raise Unready(f"{version} is not later than {versions.current(root)}, the version there is")
    (root / "VERSION").write_text(version + "\n", encoding="utf-8")
    for file, text in versions.copies(root).items():
        file.write_text(text, encoding="utf-8")
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(re.sub(r"^## ", f"## {version}\n\n## ", text, count=1, flags=re.M), encoding="utf-8")
    print(f"VERSION and its copies say {version}; CHANGELOG.md has an empty section for it")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="everything before a release; uploads nothing")
    checking.add_argument("--quick", action="store_true", help="without lint, tests and a build of the source archive")
    bumping = commands.add_parser("bump", help="begin the next version")
    bumping.add_argument("version", help="such as 0.2.0")
    options = parser.parse_args(arguments)
    try:
        if options.command == "check":
            check(options.quick)
        else:
            bump(ROOT, options.version)
    except Unready as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
