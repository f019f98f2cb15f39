"""A generated folder is whole and as described, or made again; what is not ours is left alone."""

import os

import pytest

from helpers import generated
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


def test_a_folder_of_somebody_else_is_left_alone(folder):
    (folder / "thesis.txt").write_text("irreplaceable")
    assert ensure_folder(folder, MADE_FROM, PARTS, fail) == folder  # whole, so there is nothing to replace
    (folder / "numbers" / "1.txt").unlink()
    with pytest.raises(DatasetError, match=r"thesis\.txt"):
        ensure_folder(folder, MADE_FROM, PARTS, write)
    assert (folder / "thesis.txt").read_text() == "irreplaceable"


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


def test_a_failed_run_leaves_what_was_there(folder):
    (folder / "numbers" / "1.txt").write_text("broken")

    def break_off(partial):
        write(partial)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ensure_folder(folder, MADE_FROM, PARTS, break_off)
    assert (folder / "numbers" / "1.txt").read_text() == "broken"
    assert list(folder.parent.iterdir()) == [folder]


def test_what_another_run_completed_meanwhile_stays(tmp_path):
    def be_late(partial):
        write(partial, "late")
        ensure_folder(tmp_path / "data", MADE_FROM, PARTS, write)

    folder = ensure_folder(tmp_path / "data", MADE_FROM, PARTS, be_late)
    assert (folder / "numbers" / "1.txt").read_text() == "one"
    assert is_complete(folder, MADE_FROM)


def test_only_old_leftovers_are_removed(tmp_path):
    young, old = tmp_path / ".data.abc.partial", tmp_path / ".data.xyz.partial"
    for leftover in (young, old):
        leftover.mkdir()
    os.utime(old, (0, 0))
    ensure_folder(tmp_path / "data", MADE_FROM, PARTS, write)
    assert young.exists()
    assert not old.exists()
    assert (tmp_path / "data" / generated.MANIFEST).exists()
