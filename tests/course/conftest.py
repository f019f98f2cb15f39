"""Fixtures of the grader's tests: a tiny lesson with two exercises and two build tasks, and submissions of it."""

from copy import deepcopy

import nbformat
import psutil
import pytest
import torch
from nbformat.v4 import new_code_cell

from helpers.course import grading, sandbox, student
from helpers.course.attempts import Setting
from helpers.course.checks.definition import Case, Definition, Mistake
from helpers.course.exercises import make_plan
from helpers.course.sandbox import Limits
from helpers.course.student import Lesson
from helpers.course.submissions import Submission
from helpers.course.views import Views
from tests.course.tiny import make_notebook

QUICK = Limits(cell=10.0, memory=1.5e9, lesson=60.0)

TASKS = {  # number -> solution, check
    1: ("first = 1", 'assert first > 0, "first is too small"\n{}assert first == 1, "first is not one"\n{}'),
    2: (
        "second = 2 * start",
        'assert second < 9, "second is too large"\n{}assert second == 4, "second is not four"\n{}',
    ),
}
NBGRADER = {"schema_version": 3, "task": False}


def double(x, halve=None):
    """Return twice a number; with the function `halve`, half of that."""
    return 2 * x if halve is None else halve(2 * x)


def halve(x):
    """Return half of a number."""
    return x / 2


def draw_double_cases(generator):
    """Return cases by hand, at the border, from the generator, and with the partner `halve`."""
    number = float(torch.rand(1, generator=generator))
    pair = Case("pairs", "doubled and halved", (3.0,), driver="general.call_swapped", partners=("halve",))
    return [
        Case("by hand", "three", (3.0,)),
        Case("borders and empty input", "zero", (0.0,)),
        Case("data", "a random number", (number,)),
        pair,
    ]


def define(name, reference, draw_cases, **settings):
    """Return a tiny build task."""
    values = {"number": "9.1", "title": name, "points": 4, "difficulty": 1, "minutes": (1, 2), "hints": ("Add.",)}
    return Definition(name=name, reference=reference, draw_cases=draw_cases, **values | {"mistakes": ()} | settings)


ADDS_TWO = Mistake("DBL1", "two is added", "Multiply by two.", lambda x, halve=None: x + 2)
DOUBLE = define("double", double, draw_double_cases, mistakes=(ADDS_TWO,), partners={"halve": halve})
HALVE = define("halve", halve, lambda generator: [Case("by hand", "six", (6.0,))], points=1, number="9.2")
DEFINITIONS = (DOUBLE, HALVE)


GRADERS = []  # whose processes of checks go on between the tests


def make_source(number="09"):
    """Return a lesson of a few cells: `start` is computed, and two exercises, of 3 and 4 points, use it."""
    cells = [new_code_cell("import os, time\nfrom pathlib import Path"), new_code_cell("start = 2")]
    for task, (solution, check) in TASKS.items():
        settings = {"grade_id": f"{number}-{task}-solution", "solution": True, "grade": False, "locked": False}
        source = f"### BEGIN SOLUTION\n{solution}\n### END SOLUTION"
        cells.append(new_code_cell(source, metadata={"nbgrader": NBGRADER | settings}))
        settings = {"grade_id": f"{number}-{task}-check", "solution": False, "grade": True, "locked": True}
        source = check.format("### BEGIN HIDDEN TESTS\n", "### END HIDDEN TESTS")
        cells.append(new_code_cell(source, metadata={"nbgrader": NBGRADER | settings | {"points": 2 + task}}))
    cells.append(new_code_cell('Path("results.json").write_text("1")'))
    return make_notebook(*cells)


def make_build_source():
    """Return the tiny lesson with two build tasks before its exercises."""
    notebook = make_source()
    cells = []
    for name in ("double", "halve"):
        settings = {"grade_id": f"{name}-solution", "solution": True, "grade": False, "locked": False}
        source = f"### BEGIN SOLUTION\n{name} = None\n### END SOLUTION"
        cells.append(new_code_cell(source, metadata={"nbgrader": NBGRADER | settings}))
        settings = {"grade_id": f"{name}-check", "solution": False, "grade": True, "locked": True, "points": 1}
        cells.append(new_code_cell("raise ValueError", metadata={"nbgrader": NBGRADER | settings}))
    notebook.cells[2:2] = cells
    return notebook


@pytest.fixture(scope="session")
def lesson(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "09_tiny.ipynb"
    nbformat.write(make_source(), path)
    return Lesson.read(path)


@pytest.fixture(scope="session")
def plan(lesson):
    """What is graded of the tiny lesson."""
    return make_plan(lesson)


@pytest.fixture(scope="session")
def build_plan(tmp_path_factory):
    """What is graded of the tiny lesson with build tasks."""
    path = tmp_path_factory.mktemp("source") / "08_built.ipynb"
    nbformat.write(make_build_source(), path)
    definitions = {definition.name: definition for definition in DEFINITIONS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(student.catalogue, "find_definition", definitions.__getitem__)
        return make_plan(Lesson.read(path), DEFINITIONS)


@pytest.fixture(scope="session")
def views(tmp_path_factory):
    return Views(tmp_path_factory.mktemp("views"), (), compiles=False)


@pytest.fixture(scope="module")
def grader(plan, views):
    """Grader of the tiny lesson; the process of its checks is started once."""
    grader = grading.make_grader([plan], (), views, Setting(QUICK))
    GRADERS.append(grader)
    yield grader
    grader.close()


@pytest.fixture(scope="module")
def build_grader(build_plan, views):
    """Grader of the tiny lesson with build tasks."""
    grader = grading.make_grader([build_plan], DEFINITIONS, views, Setting(QUICK), seed=7)
    yield grader
    grader.close()


@pytest.fixture(autouse=True)
def no_process_remains(request):
    """Check after a test of the grader that every process of its attempts has ended."""
    if not {"grader", "build_grader", "attempt", "build"} & set(request.fixturenames):
        yield
        return
    earlier = {process.pid for process in psutil.Process().children(recursive=True)}  # a browser's, of another test
    yield
    checkers = set()
    for grader in GRADERS:
        for checker in grader.checkers.values():
            checkers |= {process.pid for process in checker.find_processes()}
    remaining = [
        process for process in psutil.Process().children(recursive=True) if process.pid not in checkers | earlier
    ]
    _, remaining = psutil.wait_procs(remaining, timeout=10)
    assert remaining == []


@pytest.fixture
def attempt(grader, lesson):
    """Function that returns the marks of two solutions."""

    def grade(first="first = 1", second="second = 4"):
        solutions = {lesson.stem: {"09-1-solution": first, "09-2-solution": second}}
        return grading.grade_exercises(Submission("ann", solutions), grader.plans[0], grader)

    return grade


@pytest.fixture
def build(build_grader, build_plan):
    """Function that returns the marks of the functions `double` and `halve`; None hands nothing in."""

    def grade(double="def double(x, halve=None):\n    return 2 * x if halve is None else halve(2 * x)", halve=None):
        cells = {"double-solution": double, "halve-solution": halve}
        solutions = {build_plan.lesson.stem: {name: source for name, source in cells.items() if source is not None}}
        return grading.grade_builds(Submission("ann", solutions), build_grader)

    return grade


@pytest.fixture
def sandboxed():
    """Skip a test on a machine without bubblewrap."""
    kind, reason = sandbox.find_sandbox()
    if kind != sandbox.BUBBLEWRAP:
        pytest.skip(f"needs the sandbox: {reason}")


@pytest.fixture
def plain(monkeypatch):
    """Let attempts be plain processes, as on a machine without bubblewrap."""
    monkeypatch.setattr(sandbox, "find_sandbox", lambda: (sandbox.PLAIN, "a test asks for none"))


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
def find_descendants():
    """Function that returns the processes below the process with this number."""
    return lambda number: psutil.Process(number).children(recursive=True)
