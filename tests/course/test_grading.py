"""Grading, with real processes: an accident in a submission costs its own row at most, and a task its own points."""

import csv
import os
from copy import deepcopy

import nbformat
import pytest

from helpers.course import cli, grading, lessons, sandbox, student
from helpers.course.grading import grade_lesson
from helpers.course.sandbox import Limits
from helpers.course.student import Lesson
from helpers.course.submissions import collect_submissions

pytestmark = pytest.mark.usefixtures("no_process_remains")


def test_right_solutions_earn_all_points_and_say_nothing(attempt):
    marks = attempt()
    assert [(mark.points, mark.remark) for mark in marks] == [(3, ""), (4, "")]


def test_the_source_s_own_solutions_earn_all_points(lesson, attempt):
    cells = {student.find_id(cell): cell.source for cell in lesson.notebook.cells}
    marks = attempt(cells["09-1-solution"], cells["09-2-solution"])
    assert [mark.points for mark in marks] == [3, 4]


def test_an_untouched_copy_earns_nothing_and_starts_no_process(
    lesson, tmp_path, monkeypatch, hand_in, bare_workbook, quick
):
    hand_in(tmp_path / "ann", lesson.copy)
    monkeypatch.setattr(grading, "Attempt", None)
    (submission,) = collect_submissions(tmp_path, [lesson])
    marks = grade_lesson(submission, lesson, quick, bare_workbook)
    assert [(mark.points, mark.remark) for mark in marks] == [(0, "left as it was")] * 2


@pytest.mark.parametrize(
    ("first", "remark"),
    [
        pytest.param("first = 0", "AssertionError: first is too small", id="the check that the student sees"),
        pytest.param("first = 7", "AssertionError: first is not one", id="a hidden test"),
        pytest.param("first = 1 / 0", "ZeroDivisionError: division by zero", id="raises"),
        pytest.param("first = (", "SyntaxError", id="is no Python"),
        pytest.param("frist = 1", "NameError: name 'first' is not defined", id="another name"),
        pytest.param("raise SystemExit", "SystemExit", id="exits politely"),
        pytest.param("raise ValueError('x' * 10**6)", "ValueError: xxx", id="raises a long story"),
        pytest.param("raise ValueError('x' * 10**8)", "interrupted", id="raises a novel"),
        pytest.param("while True:\n    pass", "still running after 3 s", id="never ends"),
        pytest.param("input()", "StdinNotImplementedError", id="asks somebody"),
    ],
)
def test_a_wrong_solution_costs_its_own_points_and_the_remark_tells_why(first, remark, attempt):
    one, two = attempt(first)
    assert (one.points, two.points) == (0, 4)
    assert remark in one.remark
    assert len(one.remark) <= sandbox.LONGEST_REMARK


@pytest.mark.parametrize(
    ("first", "remark"),
    [
        pytest.param("os._exit(0)", "its process died", id="ends its process"),
        pytest.param("os.kill(os.getpid(), 9)", "its process died", id="kills its process"),
        pytest.param(
            "while True:\n    try:\n        time.sleep(60)\n    except KeyboardInterrupt:\n        pass",
            "would not be interrupted",
            id="cannot be interrupted",
        ),
        pytest.param(
            "held = [bytearray(b'x' * 10**7) for _ in range(130)]\ntime.sleep(60)", "GB of memory", id="eats memory"
        ),
        pytest.param(
            "class Trap:\n    def __gt__(self, other):\n        os._exit(1)\nfirst = Trap()",
            "died",
            id="traps its check",
        ),
    ],
)
def test_a_solution_that_ends_its_process_is_left_out_and_the_others_are_run_again(first, remark, attempt):
    one, two = attempt(first, limits=Limits(cell=4.0, memory=1e9))
    assert (one.points, two.points) == (0, 4)
    assert remark in one.remark


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such limit")
def test_no_file_grows_beyond_its_limit(attempt):
    huge = f"with open('huge', 'wb') as file:\n    file.seek({sandbox.LARGEST_FILE})\n    file.write(b'x')\nfirst = 1"
    one, two = attempt(huge)
    assert (one.points, two.points) == (0, 4)
    assert "OSError" in one.remark


def test_checks_hidden_tests_and_the_lesson_itself_are_the_sources_whatever_comes_back(
    lesson, tmp_path, hand_in, solve, bare_workbook, quick
):
    edited = solve("first = 0", "second = 5")
    for cell in edited.cells:
        if student.find_id(cell) in {"09-1-check", "09-2-check"}:
            cell.source = "pass"
        elif cell.source == "start = 2":
            cell.source = "start = 2.5"
    hand_in(tmp_path / "ann", edited)
    (submission,) = collect_submissions(tmp_path, [lesson])
    marks = grade_lesson(submission, lesson, quick, bare_workbook)
    assert [mark.remark for mark in marks] == [
        "AssertionError: first is too small",
        "AssertionError: second is not four",
    ]
    assert submission.remarks == {
        "09_tiny": [
            "the check cell of task 1 was edited or is gone; the original was run",
            "the check cell of task 2 was edited or is gone; the original was run",
            "cells that are not part of the lesson and were not run: 1",
        ]
    }


def test_a_deleted_solution_cell_costs_its_task_alone(lesson, tmp_path, hand_in, solve, bare_workbook, quick):
    torn = solve()
    del torn.cells[2]
    hand_in(tmp_path / "ann", torn)
    (submission,) = collect_submissions(tmp_path, [lesson])
    assert submission.remarks == {"09_tiny": ["the solution cell of task 1 is gone"]}
    marks = grade_lesson(submission, lesson, quick, bare_workbook)
    assert [(mark.points, mark.remark) for mark in marks] == [(0, "not handed in"), (4, "")]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        "null",
        '{"cells": 5, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        '{"nbformat": 99}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code"}]}',
    ],
)
def test_what_is_no_notebook_is_a_remark_and_no_crash(lesson, tmp_path, content, bare_workbook, quick):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "09_tiny.ipynb").write_text(content)
    (submission,) = collect_submissions(tmp_path, [lesson])
    assert submission.solutions.get("09_tiny", {}) == {}
    assert len([text for texts in submission.remarks.values() for text in texts]) >= 1
    marks = grade_lesson(submission, lesson, quick, bare_workbook)
    assert [mark.remark for mark in marks] == ["not handed in"] * 2


def test_a_class_of_accidents_gets_a_row_each(lesson, tmp_path, capsys, hand_in, solve, bare_workbook, quick):
    hand_in(tmp_path / "ann", solve())
    hand_in(tmp_path / "bob", solve("os._exit(1)", "os._exit(2)"))
    hand_in(tmp_path / "cem", solve("while True:\n    pass"))
    (tmp_path / "dia").mkdir()
    hand_in(tmp_path / "eva", lesson.copy)
    (tmp_path / "fin").mkdir()
    (tmp_path / "fin" / "09_tiny.ipynb").write_text("{")
    submissions, marks = grading.grade_folder(tmp_path, [lesson], quick, bare_workbook)
    rows = grading.tabulate(submissions, [lesson], marks)
    points = {row["submission"]: (row["09"], row["points"], row["of"]) for row in rows}
    zero = (0, 0, 7)
    assert points == {"ann": (7, 7, 7), "bob": zero, "cem": (4, 4, 7), "dia": zero, "eva": zero, "fin": zero}
    assert "is no notebook" in rows[-1]["remarks"]
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_a_fault_of_the_grader_costs_one_row_and_shows_there(lesson, tmp_path, hand_in, solve, bare_workbook, quick):
    hand_in(tmp_path / "ann", solve())
    hand_in(tmp_path / "bob", solve())
    tried = []

    def fail_once(folder, stem):
        tried.append(folder)
        if len(tried) == 1:
            raise OSError("no space left")
        bare_workbook(folder, stem)

    _, marks = grading.grade_folder(tmp_path, [lesson], quick, fail_once)
    assert sorted(sum(mark.points for mark in marks if mark.submission == name) for name in ("ann", "bob")) == [0, 7]
    assert sum("not graded: OSError: no space left" in mark.remark for mark in marks) == 2


def test_what_was_graded_before_an_interruption_keeps_its_points(
    lesson, tmp_path, monkeypatch, hand_in, solve, bare_workbook, quick
):
    def stop(attempts):
        attempts[0].result()
        raise KeyboardInterrupt

    for name in ("ann", "bob", "cem"):
        hand_in(tmp_path / name, solve())
    monkeypatch.setattr(grading, "wait", stop)
    monkeypatch.setattr(grading.os, "cpu_count", lambda: 1)
    _, marks = grading.grade_folder(tmp_path, [lesson], quick, bare_workbook)
    assert [mark.points for mark in marks if mark.submission == "ann"] == [3, 4]
    assert [(mark.points, mark.remark) for mark in marks if mark.submission == "cem"] == [(0, grading.INTERRUPTED)] * 2


def test_a_table_keeps_what_spreadsheets_would_compute_as_text(tmp_path):
    grading.write_table(tmp_path / "t.csv", [{"submission": "=1+1", "points": -1, "remarks": 'a, "b"\nc'}])
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"submission": "'=1+1", "points": "-1", "remarks": 'a, "b"\nc'}]


def test_the_command_proves_the_source_grades_what_was_handed_in_and_writes_both_tables(
    lesson, tmp_path, monkeypatch, capsys, hand_in, solve, bare_workbook
):
    source = tmp_path / "09_tiny.ipynb"
    nbformat.write(lesson.notebook, source)
    hand_in(tmp_path / "submissions" / "ann", solve())
    hand_in(tmp_path / "submissions" / "bob", solve("first = 0"))
    proved = []
    monkeypatch.setattr(grading, "GRADES", tmp_path / "grades")
    monkeypatch.setattr(grading, "find_lessons", lambda numbers: [source])
    monkeypatch.setattr(grading, "make_workbook", bare_workbook)
    monkeypatch.setattr(grading, "run_lesson", lambda path, folder, profile: proved.append((path, folder, profile)))
    assert cli.main(["grade", str(tmp_path / "submissions"), "--limit", "10"]) == 0
    assert proved == [(source, grading.paths.RUNS / "09_tiny" / "smoke", "smoke")]
    with open(tmp_path / "grades" / "points.csv", newline="", encoding="utf-8") as file:
        assert [list(row.values())[:4] for row in csv.DictReader(file)] == [
            ["ann", "7", "7", "7"],
            ["bob", "4", "4", "7"],
        ]
    with open(tmp_path / "grades" / "tasks.csv", newline="", encoding="utf-8") as file:
        rows = {(row["submission"], row["task"]): (row["points"], row["remark"]) for row in csv.DictReader(file)}
    assert rows["bob", "1"] == ("0", "AssertionError: first is too small")
    assert rows["bob", "2"] == ("4", "")
    assert "ann" in capsys.readouterr().out.partition("written")[0]


def test_nothing_is_graded_where_the_source_itself_fails(lesson, tmp_path, monkeypatch, capsys, hand_in, solve):
    def fail(path, folder, profile):
        raise lessons.LessonFailed("09_tiny failed in code cell 5")

    monkeypatch.setattr(grading, "find_lessons", lambda numbers: [tmp_path / "09_tiny.ipynb"])
    monkeypatch.setattr(grading, "run_lesson", fail)
    monkeypatch.setattr(grading, "GRADES", tmp_path / "grades")
    nbformat.write(lesson.notebook, tmp_path / "09_tiny.ipynb")
    hand_in(tmp_path / "submissions" / "ann", solve())
    assert cli.main(["grade", str(tmp_path / "submissions")]) == 1
    assert "failed in code cell 5" in capsys.readouterr().err
    assert not (tmp_path / "grades").exists()


def test_a_cheap_lesson_earns_all_with_its_solutions_and_nothing_with_empty_ones(tmp_path, hand_in, lesson):
    """Lesson 2: the source's own solutions, and cells that were touched, so that every check runs."""
    lesson = Lesson.read(lessons.find_lessons(["02"])[0])
    touched = deepcopy(lesson.copy)
    for cell in touched.cells:
        if student.find_id(cell) in lesson.stubs:
            cell.source = cell.source.replace(student.STUB, "pass  # I tried")
    solved = deepcopy(lesson.notebook)
    first = next(cell for cell in solved.cells if student.find_id(cell) == lesson.tasks[0].solution)
    first.source += "\nfrom helpers.paths import ROOT"
    first.source += '\nprediction *= ROOT.name.startswith("workbook_")  # fails in the instructor\'s own workbook'
    hand_in(tmp_path / "solved", solved)
    hand_in(tmp_path / "touched", touched)
    _, marks = grading.grade_folder(tmp_path, [lesson])
    solved, empty = marks[:3], marks[3:]
    assert [(mark.points, mark.remark) for mark in solved] == [(3, ""), (3, ""), (4, "")]
    assert [mark.points for mark in empty] == [0, 0, 0]
    assert all("NameError" in mark.remark for mark in empty)
