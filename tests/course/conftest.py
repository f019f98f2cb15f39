"""Fixtures of the grader's tests: a tiny lesson with two tasks, and submissions of it."""

from copy import deepcopy
from uuid import uuid4

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell

from helpers.course import sandbox, student
from helpers.course.grading import grade_lesson
from helpers.course.sandbox import Limits
from helpers.course.student import Lesson
from helpers.course.submissions import Submission
from tests.course.tiny import make_notebook

QUICK = Limits(cell=3.0, memory=1.5e9)

TASKS = {  # number -> solution, check
    1: ("first = 1", 'assert first > 0, "first is too small"\n{}assert first == 1, "first is not one"\n{}'),
    2: (
        "second = 2 * start",
        'assert second < 9, "second is too large"\n{}assert second == 4, "second is not four"\n{}',
    ),
}


def make_source(number="09"):
    """Return a lesson of a few cells: `start` is computed, and two exercises, of 3 and 4 points, use it."""
    cells = [new_code_cell("import os, time\nfrom pathlib import Path"), new_code_cell("start = 2")]
    for task, (solution, check) in TASKS.items():
        shared = {"schema_version": 3, "task": False}
        settings = {"grade_id": f"{number}-{task}-solution", "solution": True, "grade": False, "locked": False}
        source = f"### BEGIN SOLUTION\n{solution}\n### END SOLUTION"
        cells.append(new_code_cell(source, metadata={"nbgrader": shared | settings}))
        settings = {"grade_id": f"{number}-{task}-check", "solution": False, "grade": True, "locked": True}
        source = check.format("### BEGIN HIDDEN TESTS\n", "### END HIDDEN TESTS")
        cells.append(new_code_cell(source, metadata={"nbgrader": shared | settings | {"points": 2 + task}}))
    cells.append(new_code_cell('Path("results.json").write_text("1")'))
    return make_notebook(*cells)


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "09_tiny.ipynb"
    nbformat.write(make_source(), path)
    return Lesson.read(path)


@pytest.fixture
def no_process_remains(monkeypatch):
    """Check after the test that every process of its attempts has ended."""
    marks = []

    def remember():
        marks.append(uuid4())
        return marks[-1]

    monkeypatch.setattr(sandbox, "uuid4", remember)
    yield
    started = {mark.hex for mark in marks}
    variables = [sandbox._read_environment(process).get("WORKBOOK_ATTEMPT") for process in psutil.process_iter()]
    assert not started.intersection(filter(None, variables))


def make_bare_workbook(folder, stem):
    """Make the folders of an attempt; the tiny lesson imports no helpers."""
    (folder / "notebooks").mkdir()
    (folder / "tmp").mkdir()


@pytest.fixture
def attempt(lesson, no_process_remains):
    """Function that returns the marks of two solutions."""

    def grade(first="first = 1", second="second = 4", limits=QUICK):
        solutions = {lesson.stem: {"09-1-solution": first, "09-2-solution": second}}
        return grade_lesson(Submission("ann", solutions), lesson, limits, make_bare_workbook)

    return grade


@pytest.fixture
def hand_in():
    """Function that writes a notebook into the folder of a student."""

    def write(folder, notebook, name="09_tiny.ipynb"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(nbformat.writes(notebook))

    return write


@pytest.fixture
def solve(lesson):
    """Function that returns the student's copy with two solutions."""

    def fill(first="first = 1", second="second = 4"):
        copy = deepcopy(lesson.copy)
        sources = {"09-1-solution": first, "09-2-solution": second}
        for cell in copy.cells:
            cell.source = sources.get(student.find_id(cell), cell.source)
        return copy

    return fill


@pytest.fixture
def bare_workbook():
    """Function that makes the folders of an attempt without the helpers."""
    return make_bare_workbook


@pytest.fixture
def quick():
    """Limits of an attempt that a test can wait for."""
    return QUICK
