"""Generated folders: complete and as described, or made again; foreign files are left alone."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from helpers import files, generated, paths
from helpers.generated import ensure_folder, is_complete
from helpers.records import DatasetError

MADE_FROM = {"format": 1, "sizes": (1, 2)}
PARTS = ("numbers",)


def write(folder, text="one"):
    (folder / "numbers").mkdir()
    (folder / "numbers" / "1.txt").write_text(text)


@pytest.fixture
def folder(tmp_path):
    return ensure_folder(tmp_path / "data", MADE_FROM, PARTS, write)


def fail(folder):
    raise AssertionError("nothing had to be written")


def test_a_whole_folder_is_not_written_again(folder):
    assert (folder / "numbers" / "1.txt").read_text() == "one"
    assert ensure_folder(folder, MADE_FROM, PARTS, fail) == folder
    assert list(folder.parent.iterdir()) == [folder]


def test_another_description_replaces_it(folder):
    other = MADE_FROM | {"format": 2}
    assert not is_complete(folder, other)
    ensure_folder(folder, other, PARTS, lambda partial: write(partial, "two"))
    assert (folder / "numbers" / "1.txt").read_text() == "two"
    assert is_complete(folder, other)
    assert not is_complete(folder, MADE_FROM)
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("damage", ["", "on", "ones"])
def test_a_file_of_another_length_is_noticed(folder, damage):
    (folder / "numbers" / "1.txt").write_text(damage)
    assert not is_complete(folder, MADE_FROM)
    ensure_folder(folder, MADE_FROM, PARTS, write)
    assert (folder / "numbers" / "1.txt").read_text() == "one"


def test_a_folder_with_foreign_files_is_left_alone(folder):
    (folder / "thesis.txt").write_text("irreplaceable")
    assert ensure_folder(folder, MADE_FROM, PARTS, fail) == folder  # whole, so there is nothing to replace
    (folder / "numbers" / "1.txt").unlink()
    with pytest.raises(DatasetError, match=r"thesis\.txt"):
        ensure_folder(folder, MADE_FROM, PARTS, write)
    assert (folder / "thesis.txt").read_text() == "irreplaceable"


def test_a_file_of_somebody_else_within_a_part_is_left_alone(folder):
    (folder / "numbers" / ".ipynb_checkpoints").mkdir()
    (folder / "numbers" / ".ipynb_checkpoints" / "1.txt").write_text("a copy")
    (folder / "numbers" / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(DatasetError, match=r"holds numbers/thesis\.txt"):
        ensure_folder(folder, MADE_FROM | {"format": 2}, PARTS, write)
    assert (folder / "numbers" / "thesis.txt").read_text() == "irreplaceable"
    (folder / "numbers" / "thesis.txt").rename(folder.parent / "thesis.txt")
    ensure_folder(folder, MADE_FROM | {"format": 2}, PARTS, write)


def test_files_that_macos_adds_to_a_folder_do_not_keep_it_from_being_made_again(folder):
    for name in (".DS_Store", "._1.txt"):
        (folder / name).write_text("window positions")
    (folder / "numbers" / "1.txt").unlink()
    ensure_folder(folder, MADE_FROM, PARTS, write)
    assert is_complete(folder, MADE_FROM)
    (folder / ".git").mkdir()
    (folder / "numbers" / "1.txt").unlink()
    with pytest.raises(DatasetError, match=r"holds \.git"):
        ensure_folder(folder, MADE_FROM, PARTS, write)


def test_a_failed_run_leaves_the_folder_as_it_was(folder):
    (folder / "numbers" / "1.txt").write_text("broken")

    def break_off(partial):
        write(partial)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ensure_folder(folder, MADE_FROM, PARTS, break_off)
    assert (folder / "numbers" / "1.txt").read_text() == "broken"
    assert list(folder.parent.iterdir()) == [folder]


PROCESS = """
import os, sys, time
from pathlib import Path
from helpers.generated import ensure_folder
def write(partial):
    (partial / "numbers").mkdir()
    (partial / "numbers" / "1.txt").write_text(str(os.getpid()))
    time.sleep(1)
folder = ensure_folder(Path(sys.argv[1]), {"format": 1}, ("numbers",), write)
print((folder / "numbers" / "1.txt").read_text())
"""


def start_process(folder):
    environment = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    command = [sys.executable, "-c", PROCESS, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_two_processes_one_makes_the_folder_and_the_other_waits_and_uses_it(tmp_path):
    folder = tmp_path / "data"
    processes = [start_process(folder) for _ in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len({printed for printed, _ in outputs}) == 1
    assert sorted(errors for _, errors in outputs) == [
        "",
        "data: another process makes this folder; waiting until it has ended\n",
    ]
    assert list(tmp_path.iterdir()) == [folder]


def test_the_folder_of_a_killed_process_is_made_by_the_next_one(tmp_path):
    killed = start_process(tmp_path / "data")
    end = time.monotonic() + 60
    while not list(tmp_path.glob(".data.*.partial")) and time.monotonic() < end:
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    assert not (tmp_path / "data").exists()
    folder = ensure_folder(tmp_path / "data", MADE_FROM, PARTS, write)
    assert (folder / "numbers" / "1.txt").read_text() == "one"


def test_what_another_computer_completed_meanwhile_stays(tmp_path):
    """A lock may not reach another computer that shares the disk."""

    def be_late(partial):
        write(partial, "late")
        made = ensure_folder(tmp_path / "elsewhere", MADE_FROM, PARTS, write)
        made.rename(tmp_path / "data")

    folder = ensure_folder(tmp_path / "data", MADE_FROM, PARTS, be_late)
    assert (folder / "numbers" / "1.txt").read_text() == "one"
    assert is_complete(folder, MADE_FROM)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda folder: MADE_FROM | {"sizes": [1, 3]},
            "made from another description: sizes[1] is 2 there and 3",
        ),
        (lambda folder: (folder / "numbers" / "1.txt").write_text("four"), "numbers/1.txt has 4 bytes in place of 3"),
        (lambda folder: (folder / "numbers" / "1.txt").unlink(), "numbers/1.txt is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "it has no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text('{"made_from"'), "its manifest.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "its manifest.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"made_from": 3, "file_sizes": 2}'), "is damaged"),
    ],
)
def test_the_reason_why_a_folder_is_made_again_is_printed(folder, capsys, change, reason):
    asked = change(folder)
    made_from = asked if isinstance(asked, dict) else MADE_FROM
    capsys.readouterr()
    ensure_folder(folder, made_from, PARTS, write)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("data is made again: ")
    assert reason in line
    assert is_complete(folder, made_from)
    ensure_folder(folder, made_from, PARTS, fail)
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of Linux that is always full")
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    def write_to_a_full_disk(partial):
        write(partial)
        with open("/dev/full", "w") as file:
            file.write("x")

    with pytest.raises(OSError, match=r"the disk is full .*: free some space and run it again: .*/data'"):
        ensure_folder(tmp_path / "data", MADE_FROM, PARTS, write_to_a_full_disk)
    assert list(tmp_path.iterdir()) == []


def test_a_complete_folder_is_used_without_writing_anything(folder, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("something was written")

    for owner, name in ((os, "replace"), (os, "mkdir"), (os, "unlink"), (tempfile, "mkdtemp"), (files, "hold_lock")):
        monkeypatch.setattr(owner, name, refuse)
    assert ensure_folder(folder, MADE_FROM, PARTS, fail) == folder


def test_only_old_leftovers_are_removed(tmp_path):
    young, old = tmp_path / ".data.abc.partial", tmp_path / ".data.xyz.partial"
    for leftover in (young, old):
        leftover.mkdir()
        (leftover / "half.png").write_text("")
    for path in (young, old, old / "half.png"):
        os.utime(path, (0, 0))  # of `young`, one file is new
    ensure_folder(tmp_path / "data", MADE_FROM, PARTS, write)
    assert (young / "half.png").exists()
    assert not old.exists()
    assert (tmp_path / "data" / generated.MANIFEST).exists()
