"""Files that are whole or not there, and the lock on a folder."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading

import pytest

import carl
from carl import _writing
from carl._lock import NAME, FolderLock
from carl._writing import Lines, remove_abandoned, replace_file, replacing
from conftest import run_python

# ---- Replacing


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.txt"
    replace_file(file, "first")
    with pytest.raises(ZeroDivisionError), replacing(file) as stream:
        stream.write(b"half")
        stream.flush()
        assert file.read_text() == "first"
        raise ZeroDivisionError
    assert file.read_text() == "first" and os.listdir(tmp_path) == ["a.txt"]
    replace_file(file, b"\0second")
    assert file.read_bytes() == b"\0second" and os.listdir(tmp_path) == ["a.txt"]


def test_permissions_and_links_stay(tmp_path):
    file, link = tmp_path / "a", tmp_path / "link"
    before = os.umask(0o027)
    try:
        replace_file(file, "1")
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o640
    file.chmod(0o604)
    link.symlink_to(file)
    replace_file(link, "2")
    assert link.is_symlink() and file.read_text() == "2" and file.stat().st_mode & 0o777 == 0o604


def test_what_cannot_be_written_is_a_file_error_that_names_it(tmp_path):
    (tmp_path / "folder").mkdir()
    for path, word in ((tmp_path / "no" / "a", "No such file"), (tmp_path / "folder", "is a folder")):
        with pytest.raises(carl.FileError, match=word) as caught:
            replace_file(path, "x")
        assert str(path) in str(caught.value)
    replace_file("/dev/null", "x")  # is written to, not replaced
    assert not os.path.isfile("/dev/null")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "a"
    replace_file(file, "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_writing, "sync", full)
    with pytest.raises(carl.FileError, match="space"):
        replace_file(file, "new")
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["a"]
    with pytest.raises(carl.FileError, match="space"):
        replace_file("/dev/full", "x")


def test_only_files_of_dead_writers_are_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    old = tmp_path / f".carl-{os.getpid()}-0.tmp"  # of an earlier process that had this one's number, as in a container
    names = [
        f".carl-{gone.pid}-3.tmp",
        old.name,
        f".carl-{os.getpid()}-1.tmp",
        "mine.tmp",
        ".carl-x-1.tmp",
        ".carl-99999999999-1.tmp",
        "a",
    ]
    for name in names:
        (tmp_path / name).write_text("x")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    assert sorted(remove_abandoned(tmp_path)) == sorted(names[:2])
    assert sorted(os.listdir(tmp_path)) == sorted(names[2:])
    assert remove_abandoned(tmp_path / "nothing") == []


# ---- Lines


def test_lines_are_whole(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"step": 1}\n{"st')
    lines = Lines(file)
    lines.write('{"step": 2}')
    lines.sync()
    assert file.read_text() == '{"step": 1}\n{"step": 2}\n'
    lines.close()
    file.write_text("x" * 100_000)  # no end of a line at all
    Lines(file).close()
    assert file.read_text() == ""


def test_a_line_that_finds_no_room_is_taken_back(tmp_path):
    resource = pytest.importorskip("resource")
    lines = Lines(tmp_path / "a")
    lines.write("a" * 999)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, hard))
        with pytest.raises(carl.FileError, match="too large") as caught:
            lines.write("b" * 999)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path / "a") in str(caught.value) and (tmp_path / "a").read_text() == "a" * 999 + "\n"
    lines.write("c")
    assert (tmp_path / "a").read_text().endswith("a\nc\n")


def test_a_file_that_was_removed_is_noticed(tmp_path):
    lines = Lines(tmp_path / "a")
    (tmp_path / "a").unlink()
    with pytest.raises(carl.FileError, match="was removed"):
        lines.write("x")


# ---- The lock

_HOLD = """
import sys
from carl._lock import FolderLock
lock = FolderLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["kill", "end"])
def test_one_process_at_a_time_however_it_ends(tmp_path, how):
    import reliability

    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=reliability.environment(),
    )
    with process:
        assert process.stdout.readline() == "held\n"
        lock = FolderLock(tmp_path)
        with pytest.raises(carl.BusyError, match=f"in use by process {process.pid} on .*choose another folder"):
            lock.acquire()
        assert json.loads((tmp_path / NAME).read_text())["pid"] == process.pid
        if how == "kill":
            process.kill()
        else:
            process.stdin.close()
        process.wait()
    lock.acquire()
    assert lock.held
    lock.acquire()  # again is no error
    lock.release()
    assert not lock.held and os.listdir(tmp_path) == []


def test_one_model_of_a_process_at_a_time(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(carl.BusyError, match="another model of this process"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_forked_child_does_not_keep_the_lock():
    """Nor does it give it back while the parent has it."""
    code = """
import os, sys, tempfile
from carl._lock import FolderLock
from carl import BusyError
folder = tempfile.mkdtemp()
lock = FolderLock(folder)
lock.acquire()
reading, writing = os.pipe()
told, tell = os.pipe()
child = os.fork()
if child == 0:
    assert not lock.held
    lock.release()
    other = FolderLock(folder)
    try:
        other.acquire()
        os._exit(1)
    except BusyError:
        pass
    os.write(tell, b"x")
    os.close(writing)
    os.read(reading, 1)  # lives on until the parent is done
    os._exit(0)
os.close(reading)
os.close(tell)
assert os.read(told, 1) == b"x" and lock.held
lock.release()
again = FolderLock(folder)
again.acquire()
again.release()
os.close(writing)
assert os.waitpid(child, 0)[1] == 0
print("fine")
"""
    result = run_python(code)
    assert result.stdout == "fine\n", result.stderr


def test_a_program_started_meanwhile_does_not_keep_the_lock(tmp_path):
    lock = FolderLock(tmp_path)
    lock.acquire()
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
    )
    with child:
        lock.release()
        again = FolderLock(tmp_path)
        again.acquire()
        again.release()
        child.stdin.close()


def test_two_that_let_go_and_take_in_turn_never_have_it_at_once(tmp_path):
    """The file goes when its owner lets go: who opened it before must not take the lock on a file without a name."""
    inside, most = [], []

    def work():
        lock = FolderLock(tmp_path)
        for _ in range(200):
            try:
                lock.acquire()
            except carl.BusyError:
                continue
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}


def test_models_are_saved_again_below_a_folder_that_is_not_utf_8(tmp_path):
    """By a relative path, also through a link; and a name that begins with a combining accent is in its own folder."""
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("a file system of UTF-8 names alone")
    os.symlink("there.carl", os.path.join(folder, b"link.carl"))
    os.symlink(os.path.join(folder, b"far.carl"), os.path.join(folder, b"absolute.carl"))
    script = """
import os
import carl
trainer = carl.Trainer(width=0.125, projector=[4], prototypes=2, view_size=12)
for name in ("model.carl", "link.carl", "absolute.carl", "\u0301.carl", os.path.join("..", "\u0301.carl")):
    for _ in range(2):
        trainer.save(name)
        carl.Trainer.resume(name).close()
assert sorted(os.listdir(b".")) == sorted(
    [b"model.carl", b"link.carl", b"absolute.carl", b"there.carl", b"far.carl", "\u0301.carl".encode()]
)
assert os.path.islink("link.carl") and os.path.islink("absolute.carl")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(tmp_path)) == 2
