"""Submissions as they are read from a folder."""

import nbformat
import pytest

from helpers.course import lessons, submissions
from helpers.course.submissions import collect_submissions


def test_a_notebook_is_found_by_its_cells_under_any_name_at_any_depth(lesson, tmp_path, hand_in, solve):
    hand_in(tmp_path / "ann" / "assignment 1" / "final", solve(), "My solution (2).ipynb")
    hand_in(tmp_path / "ann" / ".ipynb_checkpoints", solve("first = 0"), "09_tiny-checkpoint.ipynb")
    hand_in(tmp_path, solve(), "bob_09.ipynb")
    ann, bob = collect_submissions(tmp_path, [lesson])
    assert (ann.name, bob.name) == ("ann", "bob_09.ipynb")
    assert ann.solutions == bob.solutions == {"09_tiny": {"09-1-solution": "first = 1", "09-2-solution": "second = 4"}}
    assert ann.remarks == bob.remarks == {}


def test_two_notebooks_of_one_lesson_count_if_they_agree_and_not_if_they_differ(lesson, tmp_path, hand_in, solve):
    for name, first in (("ann", "first = 1"), ("bob", "first = 2")):
        hand_in(tmp_path / name, solve(), "a.ipynb")
        hand_in(tmp_path / name, solve(first), "b.ipynb")
    ann, bob = collect_submissions(tmp_path, [lesson])
    assert len(ann.solutions["09_tiny"]) == 2
    assert bob.solutions == {"09_tiny": {}}
    assert bob.remarks == {"09_tiny": ["b.ipynb is a second, different notebook: none is graded"]}


def test_of_a_cell_that_was_copied_the_last_counts(lesson, tmp_path, hand_in, solve):
    copied = solve("first = 0")
    again = nbformat.from_dict(copied.cells[2] | {"source": "first = 1", "id": "again"})
    copied.cells.insert(3, again)
    hand_in(tmp_path / "ann", copied)
    assert collect_submissions(tmp_path, [lesson])[0].solutions["09_tiny"]["09-1-solution"] == "first = 1"


def test_binary_rubbish_and_a_film_in_a_notebook_are_remarks(lesson, tmp_path, monkeypatch, hand_in, solve):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "09_tiny.ipynb").write_bytes(bytes(range(256)))
    monkeypatch.setattr(submissions, "LARGEST_SUBMISSION", 1000)
    hand_in(tmp_path / "bob", solve())
    ann, bob = collect_submissions(tmp_path, [lesson])
    assert "is no notebook" in ann.remarks["09_tiny"][0]
    assert "over 0 MB" in bob.remarks["09_tiny"][0]


def test_an_empty_folder_and_a_missing_one_are_refused(lesson, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(lessons.LessonFailed, match="holds no submission"):
            collect_submissions(folder, [lesson])
