"""Students' copies: no solution and no hidden test is in them, every visible check is."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from nbgrader.utils import compute_checksum

from helpers.course import cli, lessons, student
from helpers.course.checks import catalogue
from helpers.course.checks.cells import make_cells, make_solution
from helpers.paths import ROOT
from tests.course.tiny import make_notebook, read_notebook

SOURCES = {path.stem: read_notebook(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
each_lesson = pytest.mark.parametrize("stem", SOURCES)

SOLUTION = "given = 2\n### BEGIN SOLUTION\nanswer = 42\n### END SOLUTION"
CHECK = 'assert answer > 40, "too small"\n### BEGIN HIDDEN TESTS\nassert answer == 42, "not it"\n### END HIDDEN TESTS'


def make_cell(source, name, solution, **settings):
    """Return a code cell with nbgrader's metadata: a solution cell, or a check cell worth 3 points."""
    nbgrader = {"schema_version": 3, "grade_id": name, "solution": solution, "grade": not solution}
    nbgrader |= {"locked": not solution, "task": False} | ({} if solution else {"points": 3}) | settings
    return new_code_cell(source, metadata={"nbgrader": nbgrader}, outputs=[new_output("stream", text="42\n")])


def make_lesson(*cells):
    return make_notebook(new_markdown_cell("# Text"), new_code_cell("start = 1"), *cells)


def make_exercise():
    return make_cell(SOLUTION, "one", True), make_cell(CHECK, "one-check", False)


def test_a_copy_keeps_text_code_and_checks_and_loses_solutions_hidden_tests_and_outputs():
    text, start, solution, check = student.make_copy(make_lesson(*make_exercise())).cells
    assert (text.source, start.source) == ("# Text", "start = 1")
    assert solution.source == f"given = 2\n{student.STUB}"
    assert check.source == 'assert answer > 40, "too small"'
    assert solution.outputs == check.outputs == []
    assert (check.metadata.editable, check.metadata.deletable) == (False, False)
    assert "editable" not in solution.metadata


def test_the_source_is_left_as_it_was():
    lesson = make_lesson(*make_exercise())
    before = json.dumps(lesson)
    student.make_copy(lesson)
    assert json.dumps(lesson) == before


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([new_code_cell(SOLUTION)], id="solution outside a solution cell"),
        pytest.param([new_code_cell(CHECK)], id="hidden tests outside a check cell"),
        pytest.param([make_cell(SOLUTION.replace("### END SOLUTION", ""), "one", True)], id="solution without an end"),
        pytest.param([make_cell(CHECK.replace("HIDDEN TESTS", "HIDEN TESTS"), "one", False)], id="misspelt marker"),
        pytest.param([make_cell(SOLUTION, "one", True), make_cell(CHECK, "one", False)], id="one identifier twice"),
        pytest.param([make_cell(CHECK, "one", False, points=-1)], id="negative points"),
    ],
)
def test_a_broken_source_makes_no_copy(cells):
    with pytest.raises(lessons.LessonFailed, match="no student copy"):
        student.make_copy(make_lesson(*cells))


def test_a_task_is_a_solution_cell_and_the_check_below_it():
    second = make_cell(SOLUTION, "two", True), make_cell(CHECK, "two-check", False, points=4)
    tasks = student.find_tasks(make_lesson(*make_exercise(), new_markdown_cell("Text"), *second))
    assert tasks == [student.Task(1, "one", "one-check", 3), student.Task(2, "two", "two-check", 4)]


@pytest.mark.parametrize("order", [(1, 0), (0,), (1,), (0, 0, 1, 1)])
def test_a_solution_without_a_check_and_a_check_without_a_solution_are_refused(order):
    with pytest.raises(lessons.LessonFailed, match="check cell"):
        student.find_tasks(make_lesson(*(make_exercise()[part] for part in order)))


IOU = catalogue.find_definition("compute_iou")


def test_the_stub_takes_the_place_of_a_build_tasks_solution_and_its_check_stays():
    notebook = make_lesson(*make_cells(IOU), *make_exercise())
    text, solution, check = student.make_copy(notebook).cells[2:5]
    assert text.source == make_cells(IOU)[0].source
    assert solution.source == catalogue.compile_visible("compute_iou").stub.rstrip()
    assert solution.metadata.nbgrader.checksum == compute_checksum(solution)
    assert check.source == 'tasks.check("compute_iou")'
    assert (check.metadata.editable, check.metadata.deletable) == (False, False)
    assert "editable" not in solution.metadata


def test_a_given_solution_is_the_reference_as_a_cell():
    cells = student.make_copy(make_lesson(*make_cells(IOU)), given={"compute_iou"}).cells
    assert cells[3].source == make_solution(IOU).rstrip()


def test_build_tasks_and_exercises_are_listed_apart():
    notebook = make_lesson(*make_cells(IOU), *make_exercise())
    assert student.find_tasks(notebook) == [student.Task(1, "one", "one-check", 3)]
    expected = student.BuildTask("compute_iou", "compute_iou-solution", "compute_iou-check", IOU.points)
    assert student.find_build_tasks(notebook) == [expected]


def test_a_build_task_that_is_not_in_the_catalogue_is_refused():
    notebook = make_lesson(
        make_cell(SOLUTION, "compute_io-solution", True), make_cell(CHECK, "compute_io-check", False)
    )
    for read in (student.find_build_tasks, student.make_copy):
        with pytest.raises(lessons.LessonFailed, match="there is no task 'compute_io'"):
            read(notebook)


def test_a_build_task_with_the_check_of_another_task_is_refused():
    notebook = make_lesson(make_cells(IOU)[1], make_exercise()[1])
    with pytest.raises(lessons.LessonFailed, match="one-check, not compute_iou-check"):
        student.find_build_tasks(notebook)


@each_lesson
def test_no_marker_no_solution_and_no_output_is_left_in_a_lessons_copy(stem):
    source, copy = SOURCES[stem], student.make_copy(SOURCES[stem])
    text = nbformat.writes(copy)
    assert "BEGIN SOLUTION" not in text
    assert "HIDDEN TESTS" not in text
    assert "###" not in "".join(cell.source for cell in lessons.find_code_cells(copy))
    secret, now_secret = set(), False
    for cell in lessons.find_code_cells(source):
        for line in cell.source.splitlines():
            now_secret = "### BEGIN" in line or (now_secret and "### END" not in line)
            if now_secret and len(line) > 30:
                secret.add(line.strip())
    assert len(secret) >= 6
    assert [line for line in secret if json.dumps(line)[1:-1] in text] == []
    assert all(cell.outputs == [] and cell.execution_count is None for cell in lessons.find_code_cells(copy))


@each_lesson
def test_a_lessons_copy_differs_from_its_source_in_the_task_cells_only(stem):
    source, copy = SOURCES[stem], student.make_copy(SOURCES[stem])
    task_cells = {name for task in student.find_tasks(source) for name in (task.solution, task.check)}
    task_cells |= {task.solution for task in student.find_build_tasks(source)}
    for source_cell, copied_cell in zip(source.cells, copy.cells, strict=True):
        assert (source_cell.source != copied_cell.source) == (student.find_id(source_cell) in task_cells)


@each_lesson
def test_a_lesson_has_three_exercises_of_ten_points_whose_checks_are_kept(stem):
    tasks, copy = student.find_tasks(SOURCES[stem]), student.make_copy(SOURCES[stem])
    assert [task.points for task in tasks] == [3, 3, 4]
    assert all(name.startswith(f"{stem[:2]}-") for task in tasks for name in (task.solution, task.check))
    checks = {student.find_id(cell): cell.source for cell in lessons.find_code_cells(copy)}
    assert all("assert" in checks[task.check] for task in tasks)


def test_the_command_names_a_lesson_that_does_not_exist(capsys):
    assert cli.main(["student", "99"]) == 1
    assert "no lesson 99" in capsys.readouterr().err
