"""Lessons in a student's copy: with every task solved by its reference, results are those of the original."""

import json
from types import SimpleNamespace

import pytest

from benchmarks import student_copy
from helpers.course.checks import catalogue
from helpers.course.checks.cells import make_solution
from helpers.course.student import Lesson, find_id
from helpers.paths import ROOT

LESSONS = ("02",)
"""Lessons that every run of the tests compares; `python -m benchmarks.student_copy` compares others."""


@pytest.mark.parametrize("number", LESSONS)
def test_a_lesson_with_references_in_its_cells_gives_equal_results_to_the_last_digit(number, tmp_path):
    assert student_copy.compare_lessons([number], tmp_path) == []
    (results,) = (tmp_path / "copied").rglob("results.json")
    assert json.loads(results.read_text())["metrics"]


def test_all_solution_cells_of_a_lesson_are_filled():
    lesson = Lesson.read(ROOT / "notebooks" / "02_anchor_visualization.ipynb")
    solved = {find_id(cell): cell.source for cell in student_copy.solve(lesson).cells}
    for task in lesson.build_tasks:
        assert solved[task.solution] == make_solution(catalogue.find_definition(task.name))
    for task in lesson.tasks:
        assert "NotImplementedError" not in solved[task.solution]
        assert "### BEGIN SOLUTION" in solved[task.solution]


def test_tasks_of_earlier_lessons_are_saved_as_solutions(tmp_path):
    student_copy.save_earlier_solutions(tmp_path, "03")
    saved = {path.stem for path in (tmp_path / "data" / "solutions").iterdir()}
    assert saved == {definition.name for definition in catalogue.list_definitions() if definition.lesson < "03"}
    assert "compute_iou" in saved


def test_a_wrong_solution_gives_other_results(tmp_path, monkeypatch):
    """The comparison sees differences: here one digit."""

    def write_results(numbers, root, runs):
        path = runs / "02_lesson" / "smoke" / "results.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"iou": 0.5 if root == ROOT else 0.5000000000000001}))

    def write_copy(numbers, folder):
        (folder / "notebooks").mkdir(parents=True)
        return SimpleNamespace(lessons=[Lesson.read(ROOT / "notebooks" / "02_anchor_visualization.ipynb")])

    monkeypatch.setattr(student_copy, "run_lessons", write_results)
    monkeypatch.setattr(student_copy, "write_student_copy", write_copy)
    (difference,) = student_copy.compare_lessons(["02"], tmp_path)
    assert "iou is 0.5 in the first and 0.5000000000000001 in the second" in difference


def test_ties_of_mined_negatives_are_settled_up_to_a_bound_and_nothing_else_is(tmp_path):
    first = {"assignment.ap": 0.5, "assignment.ap50": 0.5, "tuned.ap": 0.5, "step.10.ap": 0.5, "step.11.ap": 0.5}
    second = {"assignment.ap": 0.5009, "assignment.ap50": 0.502, "tuned.ap": 0.5001, "step.10.ap": 0.4995}
    for name, metrics in (("first", first), ("second", second | {"step.11.ap": 0.5001})):
        (tmp_path / name).write_text(json.dumps({"metrics": metrics}))
    student_copy.settle_ties(tmp_path / "first", tmp_path / "second")
    settled = json.loads((tmp_path / "second").read_text())["metrics"]
    assert settled["assignment.ap"] == settled["step.10.ap"] == 0.5
    assert {name for name in first if settled[name] != first[name]} == {"assignment.ap50", "tuned.ap", "step.11.ap"}
