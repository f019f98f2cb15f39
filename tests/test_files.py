"""Files that are written whole or not at all, messages of a full disk, and locks between processes."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import files, paths


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    files.write_text(path, "old")

    def write_half_and_stop():
        with files.replace_when_complete(path) as partial:
            partial.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half_and_stop()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    files.write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of Linux that is always full")
def test_a_full_disk_is_named_with_the_file_and_the_remedy(tmp_path):
    path = tmp_path / "folder" / "results.json"

    def write_to_a_full_disk():
        with files.replace_when_complete(path), open("/dev/full", "w") as file:
            file.write("x")

    with pytest.raises(OSError, match=r"not written, because the disk is full .*: free some space") as full:
        write_to_a_full_disk()
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(path))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EDQUOT, "your disk quota is used up"),
        (errno.EROFS, "the disk is read-only: choose a folder on another disk"),
        (errno.EACCES, os.strerror(errno.EACCES)),
    ],
)
def test_a_refused_folder_is_named_in_plain_words(tmp_path, monkeypatch, number, message):
    def refuse(**arguments):
        raise OSError(number, os.strerror(number), f"{arguments['dir']}/{arguments['prefix']}")

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(OSError, match=message) as refusal:
        files.write_text(tmp_path / "results.json", "x")
    assert "results.json" in str(refusal.value)
    assert refusal.value.errno == number


def test_an_error_is_worded_once_by_nested_writers(tmp_path):
    def write():
        with files.name_disk_errors(tmp_path / "outer"), files.name_disk_errors(tmp_path / "inner"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"disk is full.*inner"):
        write()


COUNTER = """
import sys, time
from pathlib import Path
from helpers import files
folder = Path(sys.argv[1])
for _ in range(20):
    with files.hold_lock(folder / ".lock", "waiting"):
        count = int((folder / "count").read_text())
        time.sleep(0.005)
        (folder / "count").write_text(str(count + 1))
"""


def test_a_lock_is_held_by_one_process_at_a_time_and_leaves_no_file(tmp_path):
    (tmp_path / "count").write_text("0")
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-c", COUNTER, str(tmp_path)], env=environment, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert (tmp_path / "count").read_text() == "60"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_the_lock_of_a_killed_process_is_free(tmp_path, capsys):
    program = "import sys, time, pathlib; from helpers import files\n"
    program += "with files.hold_lock(pathlib.Path(sys.argv[1]), ''):\n    print('held', flush=True); time.sleep(60)"
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    lock = tmp_path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", program, str(lock)], env=environment, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.communicate()
    assert lock.exists()
    start = time.monotonic()
    with files.hold_lock(lock, "waiting"):
        pass
    assert time.monotonic() - start < 5
    assert capsys.readouterr().err == ""
    assert not lock.exists()
