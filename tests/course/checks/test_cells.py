"""Cells of build tasks: made from the definition, and the same in the committed lessons."""

import importlib
from dataclasses import replace

import pytest

from helpers.course import student
from helpers.course.checks import catalogue, cells
from helpers.paths import ROOT
from helpers.tasks import solutions
from helpers.tasks.judging import judge
from helpers.tasks.running import run_cases
from tests.course.tiny import read_notebook

DEFINITIONS = catalogue.list_definitions()
NOTEBOOKS = {path.stem[:2]: read_notebook(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
each_definition = pytest.mark.parametrize("definition", DEFINITIONS, ids=[task.name for task in DEFINITIONS])
BUILT = [(number, task.name) for number, notebook in NOTEBOOKS.items() for task in student.find_build_tasks(notebook)]


def test_the_text_has_title_effort_purpose_and_a_collapsed_block_per_hint():
    definition = replace(catalogue.find_definition("compute_iou"), purpose="It is needed.", hints=("One.", "Two."))
    text = cells.make_text(definition)
    assert text.startswith(
        "### Task 2.2 · IoU of every pair of boxes\n\nDifficulty 2 of 5 · 10 to 20 minutes · 2 points"
    )
    assert "\n\nIt is needed.\n\n" in text
    assert "<details><summary>Hint 2</summary>\n\nTwo.\n\n</details>" in text
    assert text.count("<details>") == text.count("</details>") == 2
    assert "It is needed" not in cells.make_text(replace(definition, purpose=""))


@each_definition
def test_a_task_is_a_text_a_solution_cell_that_shows_the_reference_and_a_check_cell(definition):
    text, solution, check = cells.make_cells(definition)
    assert text.cell_type == "markdown"
    assert solution.source.splitlines()[1] == f'{definition.name} = tasks.show("{definition.name}")'
    assert solution.metadata.nbgrader.solution
    assert check.source == f'tasks.check("{definition.name}")'
    assert check.metadata.nbgrader.points == definition.points


def test_lessons_have_build_tasks():
    assert ("02", "compute_iou") in BUILT


@pytest.mark.parametrize(("number", "name"), BUILT)
def test_the_cells_of_a_lesson_are_those_of_the_definition(number, name):
    definition = catalogue.find_definition(name)
    assert definition.lesson == number
    notebook = NOTEBOOKS[number]
    (row,) = [row for row, cell in enumerate(notebook.cells) if student.find_id(cell) == f"{name}-solution"]
    for cell, expected in zip(notebook.cells[row - 1 : row + 2], cells.make_cells(definition), strict=True):
        assert (cell.cell_type, cell.id, cell.source) == (expected.cell_type, expected.id, expected.source)
        assert cell.metadata == expected.metadata


@each_definition
def test_the_reference_as_a_cell_needs_nothing_of_the_course_and_passes(definition):
    source = cells.make_solution(definition)
    assert "helpers.course" not in source
    function = solutions.load_function(source, definition.name)
    task = catalogue.compile_visible(definition.name)
    verdict = judge(task, run_cases(function, task.cases, definition.partners))
    assert verdict.is_passed, verdict.failures


MODULE = '''"""A module of tasks."""

from __future__ import annotations

import math
from typing import Any, Callable

SIZE: int = 3
UNUSED = 4


def unused() -> Any:
    return math.inf


@staticmethod
def scale(value: Any) -> Any:
    return SIZE * value


def task(value):
    """Return the scaled value."""
    return scale(value)
'''


def test_a_reference_takes_along_what_it_needs_of_its_module_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "module_of_tasks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("module_of_tasks")
    definition = replace(catalogue.find_definition("compute_iou"), reference=module.task, imports="import torch")
    source = cells.make_solution(definition)
    assert source.startswith("import torch\nfrom typing import Any\n\n\nSIZE: int = 3\n\n\n@staticmethod\ndef scale(")
    for name in ("math", "Callable", "UNUSED", "unused", "__future__"):
        assert name not in source
