"""Grading, with real processes: a submission costs its own row at most, and a task its own points."""

import csv
import json
import os
from copy import deepcopy
from pathlib import Path
from uuid import uuid4

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from helpers.course import cli, grading, lessons, student
from helpers.course.grading import Limits, Submission, grade_lesson
from helpers.course.student import Lesson
from helpers.paths import ROOT

QUICK = Limits(cell=3.0, memory=1.5e9)

TASKS = {  # number -> solution, check
    1: ("first = 1", 'assert first > 0, "first is too small"\n{}assert first == 1, "first is not one"\n{}'),
    2: (
        "second = 2 * start",
        'assert second < 9, "second is too large"\n{}assert second == 4, "second is not four"\n{}',
    ),
}


def make_source(number="09"):
    """Returns a lesson of a few cells: `start` is made, and two exercises, of 3 and 4 points, build on it."""
    cells = [new_code_cell("import os, time\nfrom pathlib import Path"), new_code_cell("start = 2")]
    for task, (solution, check) in TASKS.items():
        shared = {"schema_version": 3, "task": False}
        own = {"grade_id": f"{number}-{task}-solution", "solution": True, "grade": False, "locked": False}
        source = f"### BEGIN SOLUTION\n{solution}\n### END SOLUTION"
        cells.append(new_code_cell(source, metadata={"nbgrader": shared | own}))
        own = {"grade_id": f"{number}-{task}-check", "solution": False, "grade": True, "locked": True}
        source = check.format("### BEGIN HIDDEN TESTS\n", "### END HIDDEN TESTS")
        cells.append(new_code_cell(source, metadata={"nbgrader": shared | own | {"points": 2 + task}}))
    cells.append(new_code_cell('Path("results.json").write_text("1")'))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=cells, metadata=kernel)


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "09_tiny.ipynb"
    nbformat.write(make_source(), path)
    return Lesson.read(path)


@pytest.fixture(autouse=True)
def leave_nothing(monkeypatch):
    """Whatever an attempt started is gone when it is over."""
    marks = []

    def remember():
        marks.append(uuid4())
        return marks[-1]

    monkeypatch.setattr(grading, "uuid4", remember)
    yield
    started = {mark.hex for mark in marks}
    left = [one for one in psutil.process_iter() if grading._read_environment(one).get("WORKBOOK_ATTEMPT") in started]
    assert left == []


def make_bare_workbook(folder, stem):
    """Makes the folders of an attempt; the tiny lesson imports nothing of ours."""
    (folder / "notebooks").mkdir()
    (folder / "tmp").mkdir()


def attempt(lesson, first="first = 1", second="second = 4", limits=QUICK):
    """Returns the marks of two solutions."""
    solutions = {lesson.stem: {"09-1-solution": first, "09-2-solution": second}}
    return grade_lesson(Submission("ann", solutions), lesson, limits, make_bare_workbook)


def hand_in(folder, notebook, name="09_tiny.ipynb"):
    """Writes a notebook into a student's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(nbformat.writes(notebook))


def solve(lesson, first="first = 1", second="second = 4"):
    """Returns the student's copy with two solutions."""
    copy = deepcopy(lesson.copy)
    sources = {"09-1-solution": first, "09-2-solution": second}
    for cell in copy.cells:
        cell.source = sources.get(student.find_id(cell), cell.source)
    return copy


def collect(lesson, folder):
    return grading.collect_submissions(folder, [lesson])


def test_right_solutions_earn_all_points_and_say_nothing(lesson):
    marks = attempt(lesson)
    assert [(mark.points, mark.remark) for mark in marks] == [(3, ""), (4, "")]


def test_the_source_s_own_solutions_earn_all_points(lesson):
    cells = {student.find_id(cell): cell.source for cell in lesson.notebook.cells}
    marks = attempt(lesson, cells["09-1-solution"], cells["09-2-solution"])
    assert [mark.points for mark in marks] == [3, 4]


def test_an_untouched_copy_earns_nothing_and_starts_no_process(lesson, tmp_path, monkeypatch):
    hand_in(tmp_path / "ann", lesson.copy)
    monkeypatch.setattr(grading, "Attempt", None)
    (submission,) = collect(lesson, tmp_path)
    marks = grade_lesson(submission, lesson, QUICK, make_bare_workbook)
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
def test_a_wrong_solution_costs_its_own_points_and_the_remark_tells_why(lesson, first, remark):
    one, two = attempt(lesson, first)
    assert (one.points, two.points) == (0, 4)
    assert remark in one.remark
    assert len(one.remark) <= grading.LONGEST_REMARK


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
def test_a_solution_that_ends_its_process_is_left_out_and_the_others_are_run_again(lesson, first, remark):
    one, two = attempt(lesson, first, limits=Limits(cell=4.0, memory=1e9))
    assert (one.points, two.points) == (0, 4)
    assert remark in one.remark


def test_what_a_solution_prints_costs_nothing(lesson):
    flood = "for _ in range(50):\n    print('x' * 10**6)\nos.write(1, b'x' * 10**6)\nfirst = 1"
    assert [mark.points for mark in attempt(lesson, flood, limits=Limits(cell=60.0))] == [3, 4]


def test_a_process_that_a_solution_started_is_ended_with_it(lesson):
    loose = "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\nfirst = 1"
    assert [mark.points for mark in attempt(lesson, loose)] == [3, 4]  # the fixture looks for what is left


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such limit")
def test_no_file_grows_beyond_its_limit(lesson):
    huge = f"with open('huge', 'wb') as file:\n    file.seek({grading.LARGEST_FILE})\n    file.write(b'x')\nfirst = 1"
    one, two = attempt(lesson, huge)
    assert (one.points, two.points) == (0, 4)
    assert "OSError" in one.remark


def test_an_attempt_has_a_folder_and_a_temporary_folder_of_its_own_at_smoke(lesson, tmp_path):
    report = tmp_path / "report.json"
    lines = ["import json, tempfile", "seen = [os.getcwd(), tempfile.gettempdir(), os.environ['WORKBOOK_PROFILE']]"]
    first = "\n".join(
        [*lines, f"Path({str(report)!r}).write_text(json.dumps(seen))", "Path('mine').touch()", "first = 1"]
    )
    assert attempt(lesson, first)[0].passed
    folder, temporary, profile = json.loads(report.read_text())
    assert Path(temporary) == Path(folder).parent / "tmp"
    assert profile == "smoke"
    assert not Path(folder).exists()
    assert not Path(folder).is_relative_to(ROOT)


def test_checks_hidden_tests_and_the_lesson_itself_are_the_sources_whatever_comes_back(lesson, tmp_path):
    edited = solve(lesson, "first = 0", "second = 5")
    for cell in edited.cells:
        if student.find_id(cell) in {"09-1-check", "09-2-check"}:
            cell.source = "pass"
        elif cell.source == "start = 2":
            cell.source = "start = 2.5"
    hand_in(tmp_path / "ann", edited)
    (submission,) = collect(lesson, tmp_path)
    marks = grade_lesson(submission, lesson, QUICK, make_bare_workbook)
    assert [mark.remark for mark in marks] == [
        "AssertionError: first is too small",
        "AssertionError: second is not four",
    ]
    assert submission.remarks == {
        "09_tiny": [
            "the check cell of task 1 was edited or is gone; the original was run",
            "the check cell of task 2 was edited or is gone; the original was run",
            "cells that are not ours and were not run: 1",
        ]
    }


def test_a_notebook_is_found_by_its_cells_under_any_name_at_any_depth(lesson, tmp_path):
    hand_in(tmp_path / "ann" / "assignment 1" / "final", solve(lesson), "My solution (2).ipynb")
    hand_in(tmp_path / "ann" / ".ipynb_checkpoints", solve(lesson, "first = 0"), "09_tiny-checkpoint.ipynb")
    hand_in(tmp_path, solve(lesson), "bob_09.ipynb")
    ann, bob = collect(lesson, tmp_path)
    assert (ann.name, bob.name) == ("ann", "bob_09.ipynb")
    assert ann.solutions == bob.solutions == {"09_tiny": {"09-1-solution": "first = 1", "09-2-solution": "second = 4"}}
    assert ann.remarks == bob.remarks == {}


def test_two_notebooks_of_one_lesson_count_if_they_agree_and_not_if_they_differ(lesson, tmp_path):
    for name, first in (("ann", "first = 1"), ("bob", "first = 2")):
        hand_in(tmp_path / name, solve(lesson), "a.ipynb")
        hand_in(tmp_path / name, solve(lesson, first), "b.ipynb")
    ann, bob = collect(lesson, tmp_path)
    assert len(ann.solutions["09_tiny"]) == 2
    assert bob.solutions == {"09_tiny": {}}
    assert bob.remarks == {"09_tiny": ["b.ipynb is a second, different notebook: none is graded"]}


def test_of_a_cell_that_was_copied_the_last_counts(lesson, tmp_path):
    copied = solve(lesson, "first = 0")
    again = nbformat.from_dict(copied.cells[2] | {"source": "first = 1", "id": "again"})
    copied.cells.insert(3, again)
    hand_in(tmp_path / "ann", copied)
    assert collect(lesson, tmp_path)[0].solutions["09_tiny"]["09-1-solution"] == "first = 1"


def test_a_deleted_solution_cell_costs_its_task_alone(lesson, tmp_path):
    torn = solve(lesson)
    del torn.cells[2]
    hand_in(tmp_path / "ann", torn)
    (submission,) = collect(lesson, tmp_path)
    assert submission.remarks == {"09_tiny": ["the solution cell of task 1 is gone"]}
    marks = grade_lesson(submission, lesson, QUICK, make_bare_workbook)
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
def test_what_is_no_notebook_is_a_remark_and_no_crash(lesson, tmp_path, content):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "09_tiny.ipynb").write_text(content)
    (submission,) = collect(lesson, tmp_path)
    assert submission.solutions.get("09_tiny", {}) == {}
    assert len([text for texts in submission.remarks.values() for text in texts]) >= 1
    marks = grade_lesson(submission, lesson, QUICK, make_bare_workbook)
    assert [mark.remark for mark in marks] == ["not handed in"] * 2


def test_binary_rubbish_and_a_film_in_a_notebook_are_remarks(lesson, tmp_path, monkeypatch):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "09_tiny.ipynb").write_bytes(bytes(range(256)))
    monkeypatch.setattr(grading, "LARGEST_SUBMISSION", 1000)
    hand_in(tmp_path / "bob", solve(lesson))
    ann, bob = collect(lesson, tmp_path)
    assert "is no notebook" in ann.remarks["09_tiny"][0]
    assert "over 0 MB" in bob.remarks["09_tiny"][0]


def test_an_empty_folder_and_a_missing_one_are_refused(lesson, tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(lessons.LessonFailed, match="holds no submission"):
            collect(lesson, folder)


def test_a_class_of_accidents_gets_a_row_each(lesson, tmp_path, capsys):
    hand_in(tmp_path / "ann", solve(lesson))
    hand_in(tmp_path / "bob", solve(lesson, "os._exit(1)", "os._exit(2)"))
    hand_in(tmp_path / "cem", solve(lesson, "while True:\n    pass"))
    (tmp_path / "dia").mkdir()
    hand_in(tmp_path / "eva", lesson.copy)
    (tmp_path / "fin").mkdir()
    (tmp_path / "fin" / "09_tiny.ipynb").write_text("{")
    submissions, marks = grading.grade_folder(tmp_path, [lesson], QUICK, make_bare_workbook)
    rows = grading.tabulate(submissions, [lesson], marks)
    points = {row["submission"]: (row["09"], row["points"], row["of"]) for row in rows}
    zero = (0, 0, 7)
    assert points == {"ann": (7, 7, 7), "bob": zero, "cem": (4, 4, 7), "dia": zero, "eva": zero, "fin": zero}
    assert "is no notebook" in rows[-1]["remarks"]
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_a_fault_of_the_grader_costs_one_row_and_shows_there(lesson, tmp_path):
    hand_in(tmp_path / "ann", solve(lesson))
    hand_in(tmp_path / "bob", solve(lesson))
    tried = []

    def fail_once(folder, stem):
        tried.append(folder)
        if len(tried) == 1:
            raise OSError("no space left")
        make_bare_workbook(folder, stem)

    _, marks = grading.grade_folder(tmp_path, [lesson], QUICK, fail_once)
    assert sorted(sum(mark.points for mark in marks if mark.submission == name) for name in ("ann", "bob")) == [0, 7]
    assert sum("not graded: OSError: no space left" in mark.remark for mark in marks) == 2


def test_what_was_graded_before_an_interruption_keeps_its_points(lesson, tmp_path, monkeypatch):
    def stop(attempts):
        attempts[0].result()
        raise KeyboardInterrupt

    for name in ("ann", "bob", "cem"):
        hand_in(tmp_path / name, solve(lesson))
    monkeypatch.setattr(grading, "wait", stop)
    monkeypatch.setattr(grading.os, "cpu_count", lambda: 1)
    _, marks = grading.grade_folder(tmp_path, [lesson], QUICK, make_bare_workbook)
    assert [mark.points for mark in marks if mark.submission == "ann"] == [3, 4]
    assert [(mark.points, mark.remark) for mark in marks if mark.submission == "cem"] == [(0, grading.INTERRUPTED)] * 2


def test_a_table_keeps_what_spreadsheets_would_compute_as_text(tmp_path):
    grading.write_table(tmp_path / "t.csv", [{"submission": "=1+1", "points": -1, "remarks": 'a, "b"\nc'}])
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"submission": "'=1+1", "points": "-1", "remarks": 'a, "b"\nc'}]


def test_the_command_proves_the_source_grades_what_was_handed_in_and_writes_both_tables(
    lesson, tmp_path, monkeypatch, capsys
):
    source = tmp_path / "09_tiny.ipynb"
    nbformat.write(lesson.notebook, source)
    hand_in(tmp_path / "submissions" / "ann", solve(lesson))
    hand_in(tmp_path / "submissions" / "bob", solve(lesson, "first = 0"))
    proved = []
    monkeypatch.setattr(grading, "GRADES", tmp_path / "grades")
    monkeypatch.setattr(grading, "find_lessons", lambda numbers: [source])
    monkeypatch.setattr(grading, "make_workbook", make_bare_workbook)
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


def test_nothing_is_graded_where_the_source_itself_fails(lesson, tmp_path, monkeypatch, capsys):
    def fail(path, folder, profile):
        raise lessons.LessonFailed("09_tiny failed in code cell 5")

    monkeypatch.setattr(grading, "find_lessons", lambda numbers: [tmp_path / "09_tiny.ipynb"])
    monkeypatch.setattr(grading, "run_lesson", fail)
    monkeypatch.setattr(grading, "GRADES", tmp_path / "grades")
    nbformat.write(lesson.notebook, tmp_path / "09_tiny.ipynb")
    hand_in(tmp_path / "submissions" / "ann", solve(lesson))
    assert cli.main(["grade", str(tmp_path / "submissions")]) == 1
    assert "failed in code cell 5" in capsys.readouterr().err
    assert not (tmp_path / "grades").exists()


def test_a_cheap_lesson_earns_all_with_its_solutions_and_nothing_with_empty_ones(tmp_path):
    """Lesson 2: the source's own solutions, and cells that were touched, so that every check runs."""
    lesson = Lesson.read(lessons.find_lessons(["02"])[0])
    touched = deepcopy(lesson.copy)
    for cell in touched.cells:
        if student.find_id(cell) in lesson.stubs:
            cell.source = cell.source.replace(student.STUB, "pass  # I tried")
    solved = deepcopy(lesson.notebook)
    first = next(cell for cell in solved.cells if student.find_id(cell) == lesson.tasks[0].solution)
    first.source += '\nprediction *= paths.ROOT.name.startswith("workbook_")  # wrong in the instructor\'s own workbook'
    hand_in(tmp_path / "solved", solved)
    hand_in(tmp_path / "touched", touched)
    _, marks = grading.grade_folder(tmp_path, [lesson])
    solved, empty = marks[:3], marks[3:]
    assert [(mark.points, mark.remark) for mark in solved] == [(3, ""), (3, ""), (4, "")]
    assert [mark.points for mark in empty] == [0, 0, 0]
    assert all("NameError" in mark.remark for mark in empty)
