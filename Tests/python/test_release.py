"""The version's one place and its copies, and what keeps a release from being made."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not (ROOT / "Sources").is_dir(), reason="the sources are not here")


@pytest.fixture
def release(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "python"))
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import release

    return release


@pytest.fixture
def versions(release):
    return release.versions


@pytest.fixture
def checkout(tmp_path, versions) -> Path:
    """A repository with the files that state a version, all of them 1.2.3, and nothing uncommitted."""
    for name in ("VERSION", *versions.COPIES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "VERSION").write_text("1.2.3\n")
    for file, text in versions.copies(tmp_path).items():
        file.write_text(text)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3\n- More.\n\n## 1.2.2\n- Less.\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "All")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.invalid", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)


def test_the_copies_agree_with_the_one_place(versions):
    assert [file for file, text in versions.copies().items() if file.read_text(encoding="utf-8") != text] == []


def test_no_other_file_states_the_version(versions):
    # Files that would have to be changed for a release, and of which nothing would tell.
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    known = {"VERSION", "CHANGELOG.md", *versions.COPIES}
    stated = [
        name
        for name in tracked
        if name.endswith((".py", ".swift", ".toml", ".in", ".txt", ".cff", "Makefile"))
        and not name.startswith("Tests/")
        and f'"{versions.current()}"' in (ROOT / name).read_text(encoding="utf-8")
    ]
    assert set(stated) <= known


@pytest.mark.parametrize("text", ["", "1.2", "v1.2.3", "1.2.3rc1", "01.2.3"])
def test_what_is_no_version_is_refused(checkout, versions, text):
    (checkout / "VERSION").write_text(text + "\n")
    with pytest.raises(LookupError, match="is no version such as 1.2.3"):
        versions.current(checkout)


def test_a_file_that_lost_its_copy_is_named(checkout, versions):
    (checkout / "CITATION.cff").write_text("title: nothing\n")
    with pytest.raises(LookupError, match=r"CITATION.cff has 0 lines"):
        versions.copies(checkout)


def test_a_checkout_that_is_ready(checkout, release):
    git(checkout, "tag", "v1.2.2")
    git(checkout, "tag", "vision")
    assert release.check_version(checkout) == "1.2.3"
    release.check_changelog(checkout, "1.2.3")
    release.check_tree(checkout)


@pytest.mark.parametrize("tag", ["v1.2.3", "v1.10.0"])
def test_a_version_that_was_released(checkout, release, tag):
    git(checkout, "tag", tag)
    with pytest.raises(release.Unready, match=f"{tag} was released"):
        release.check_version(checkout)


def test_a_stale_copy(checkout, release):
    (checkout / "VERSION").write_text("1.2.4\n")
    with pytest.raises(release.Unready, match=r"_version\.py.* state another version than VERSION, 1\.2\.4"):
        release.check_version(checkout)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# Changelog\n", "begins with no section"),
        ("## 1.2.2\n- Less.\n", "begins with 1.2.2, and the version is 1.2.3"),
        ("## 1.2.3\n\n## 1.2.2\n- Less.\n", "says nothing of 1.2.3"),
    ],
)
def test_a_changelog_without_the_version(checkout, release, text, says):
    (checkout / "CHANGELOG.md").write_text(text)
    with pytest.raises(release.Unready, match=says):
        release.check_changelog(checkout, "1.2.3")


@pytest.mark.parametrize("name", ["VERSION", "new.txt"])
def test_what_is_not_committed(checkout, release, name):
    (checkout / name).write_text("1.2.4\n")
    with pytest.raises(release.Unready, match=name):
        release.check_tree(checkout)


def test_the_next_version(checkout, release):
    release.bump(checkout, "1.3.0")
    assert (checkout / "VERSION").read_text() == "1.3.0\n"
    assert release.check_version(checkout) == "1.3.0"
    assert '__version__ = "1.3.0"' in (checkout / "python/carl/_version.py").read_text()
    assert (checkout / "CHANGELOG.md").read_text().startswith("# Changelog\n\n## 1.3.0\n\n## 1.2.3\n- More.\n")
    for wrong in ("1.3.0", "1.2.9", "2"):
        with pytest.raises(release.Unready, match=wrong):
            release.bump(checkout, wrong)


def test_checksums(tmp_path, release):
    (tmp_path / "libcarl-1.2.3.tar.gz").write_bytes(b"source")
    with pytest.raises(release.Unready, match="should have a wheel and a source archive"):
        release.write_checksums(tmp_path, "1.2.3")
    (tmp_path / "libcarl-1.2.3-py3-none-manylinux_2_34_x86_64.whl").write_bytes(b"wheel")
    (tmp_path / "libcarl-1.2.2.tar.gz").write_bytes(b"of before")
    sums = release.write_checksums(tmp_path, "1.2.3")
    assert len(sums.read_text().splitlines()) == 2
    subprocess.run(["sha256sum", "--check", "--quiet", sums.name], cwd=tmp_path, check=True)


def test_the_command_says_what_is_wrong():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "release.py", "bump", "0.0.1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "0.0.1 is not later than" in done.stderr
