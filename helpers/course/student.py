"""Students' copies of the lessons' notebooks; `student_copy` writes the workbook around them.

One source serves instructor and student. Each exercise is a pair of code cells that carry nbgrader's metadata: a
solution cell, whose `### BEGIN SOLUTION` … `### END SOLUTION` the student replaces, and below it a check cell, whose
`### BEGIN HIDDEN TESTS` … `### END HIDDEN TESTS` the student does not see. The solution cell leaves its answers in
names of plain values (numbers, texts, sequences, arrays, dicts of these): the check can run in another process.

A written answer is one text cell, graded by a person: solution and check in one in nbgrader's metadata. Its whole text
is replaced in the copy. nbconvert writes the copy with the preprocessors of nbgrader, so that other tools for nbgrader
can read it, too; its database is not needed.

A build task is a pair of code cells, too. Its identifiers begin with the name of the function, `compute_iou-solution`
and `compute_iou-check`, and those of an exercise with the number of the lesson. The student's solution cell is the stub
that the task's definition gives.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader import preprocessors
from nbgrader.utils import compute_checksum, is_grade, is_solution
from traitlets.config import Config

from helpers import files, paths
from helpers.course.checks import catalogue
from helpers.course.checks.cells import make_solution
from helpers.course.checks.definition import Definition, make_stub
from helpers.course.lessons import NO_SOLUTION, LessonFailed, find_code_cells, read_notebook

COPIES = paths.DATA / "student"
STUB = f"""\
# YOUR CODE HERE: cells like this one are graded; the check below tells what is wrong
raise NotImplementedError("{NO_SOLUTION}")"""
TEXT_STUB = "YOUR ANSWER HERE"
MARKER = re.compile(r"^\s*###\s*(BEGIN|END)\b.*$", flags=re.MULTILINE)

_STEPS = (
    preprocessors.CheckCellMetadata,  # refuses an identifier that is used twice
    preprocessors.LockCells,  # a check cell can be neither edited nor deleted in Jupyter
    preprocessors.ClearSolutions,  # refuses a solution outside a solution cell
    preprocessors.ClearOutput,
    preprocessors.ClearHiddenTests,  # refuses hidden tests outside a check cell
    preprocessors.ComputeChecksums,
)


@dataclass(frozen=True)
class Task:
    """One exercise of a lesson."""

    number: int  # from 1, in the order of the lesson
    solution: str  # identifier of the cell that the student fills in
    check: str  # identifier of the cell that checks it
    points: float  # if the check passes, else 0


@dataclass(frozen=True)
class Question:
    """One written answer of a lesson; a person grades it by the rubric in the instructor's guide."""

    number: int  # of the exercise that it belongs to
    name: str  # identifier of its cell
    points: float  # highest possible


def find_id(cell: NotebookNode) -> str | None:
    """Return the nbgrader identifier of a cell, or None for a cell that belongs to no task."""
    return cell.metadata.get("nbgrader", {}).get("grade_id")


@dataclass(frozen=True)
class BuildTask:
    """One function that the student writes in a lesson."""

    name: str  # of the function, and of the task in the catalogue
    solution: str  # identifier of the cell that the student fills in
    check: str  # identifier of the cell that checks it
    points: float


def find_tasks(notebook: NotebookNode) -> list[Task]:
    """Return the lesson's exercises in order; build tasks are left out, see `find_build_tasks`.

    Raises:
        LessonFailed: a solution cell is not followed by a check cell, or a check cell follows none.
    """
    exercises = [pair for pair in _pair_cells(notebook) if find_build_name(pair[0]) is None]
    return [
        Task(
            number,
            solution.metadata.nbgrader.grade_id,
            check.metadata.nbgrader.grade_id,
            check.metadata.nbgrader.points,
        )
        for number, (solution, check) in enumerate(exercises, start=1)
    ]


def find_build_tasks(notebook: NotebookNode) -> list[BuildTask]:
    """Return the lesson's build tasks in order.

    Raises:
        LessonFailed: a solution cell is not followed by its check cell, or the catalogue has no such task.
    """
    build_tasks = []
    for solution, check in _pair_cells(notebook):
        name = find_build_name(solution)
        if name is None:
            continue
        if find_id(check) != f"{name}-check":
            raise LessonFailed(f"the cell below {name}-solution is {find_id(check)}, not {name}-check")
        _find_definition(name)
        build_tasks.append(BuildTask(name, f"{name}-solution", f"{name}-check", check.metadata.nbgrader.points))
    return build_tasks


def find_build_name(cell: NotebookNode) -> str | None:
    """Return the name of the build task whose solution cell this is, or None for any other cell.

    The identifier of an exercise begins with the number of its lesson, which is no name of a function.
    """
    name, _, part = (find_id(cell) or "").rpartition("-")
    return name if part == "solution" and name.isidentifier() else None


def _find_definition(name: str) -> Definition:
    """Return the definition of a build task; raise `LessonFailed` if there is none."""
    try:
        return catalogue.find_definition(name)
    except KeyError as error:
        raise LessonFailed(f"cell {name}-solution: {error.args[0]}") from None


def _pair_cells(notebook: NotebookNode) -> list[tuple[NotebookNode, NotebookNode]]:
    """Return the solution cells of a lesson, each with its check cell."""
    cells = [cell for cell in find_code_cells(notebook) if is_solution(cell) or is_grade(cell)]
    solutions, checks = cells[::2], cells[1::2]
    if not all(map(is_solution, solutions)) or not all(map(is_grade, checks)) or len(cells) % 2:
        raise LessonFailed("each solution cell needs a check cell below it, and each check cell a solution above it")
    return list(zip(solutions, checks, strict=True))


def find_questions(notebook: NotebookNode) -> list[Question]:
    """Return the lesson's written answers in order.

    Raises:
        LessonFailed: an answer's cell is not both solution and check, stands above the first exercise, or names another
            exercise than the one above it; its identifier has to be `NN-k-answer`.
    """
    questions, number = [], 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            number += is_solution(cell) and find_build_name(cell) is None
        elif is_solution(cell) or is_grade(cell):
            name = find_id(cell)
            if not (is_solution(cell) and is_grade(cell)):
                raise LessonFailed(f"the written answer {name} needs `solution` and `grade` in its metadata")
            if not number or not re.fullmatch(rf"\d\d-{number}-answer", name or ""):
                raise LessonFailed(f"the written answer {name} does not stand below its exercise, which is {number}")
            questions.append(Question(number, cell.metadata.nbgrader.grade_id, cell.metadata.nbgrader.points))
    return questions


def find_answers(solution: str, check: str) -> list[str]:
    """Return the names that hold a task's answers: assigned in the solution cell and read in the check cell.

    Args:
        solution: source of the solution cell, with the model solution.
        check: source of the check cell, with its hidden tests.
    """
    assigned = []
    for statement in ast.parse(solution).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        for target in targets:
            for node in ast.walk(target) if target is not None else ():
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    assigned.append(node.id)
    read: set[str] = set()
    stored: set[str] = set()  # by the check itself, in an earlier statement
    for statement in ast.parse(check).body:
        nodes = list(ast.walk(statement))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        loops = [node.target for node in nodes if isinstance(node, ast.comprehension)]
        counters = {node.id for target in loops for node in ast.walk(target) if isinstance(node, ast.Name)}
        read |= {node.id for node in names if isinstance(node.ctx, ast.Load)} - stored - counters
        stored |= {node.id for node in names if isinstance(node.ctx, ast.Store)} - counters
    return [name for name in dict.fromkeys(assigned) if name in read]


def make_copy(notebook: NotebookNode, given: Collection[str] = ()) -> NotebookNode:
    """Return the student's copy: no solution, no written answer, no hidden test, no output; every check in its place.

    Args:
        given: names of the build tasks whose reference stands in the student's cell, instead of the stub.

    Raises:
        LessonFailed: the source's markers or metadata are broken, so a solution or a hidden test could be in the copy.
    """
    config = Config()
    config.NotebookExporter.preprocessors = list(_STEPS)
    config.ClearSolutions.code_stub = {"python": STUB}
    config.ClearSolutions.text_stub = TEXT_STUB
    try:
        text, _ = NotebookExporter(config=config).from_notebook_node(notebook)
    except Exception as error:  # RuntimeError, and exceptions of nbgrader and jsonschema
        raise LessonFailed(f"no student copy: {error}") from error
    copy = nbformat.reads(text, as_version=4)
    for cell in copy.cells:
        if marker := MARKER.search(cell.source):
            raise LessonFailed(f"no student copy: {marker[0].strip()!r} is not a marker of nbgrader")
        name = find_build_name(cell)
        if name is not None:
            definition = _find_definition(name)
            cell.source = (make_solution if name in given else make_stub)(definition).rstrip()
            cell.metadata.nbgrader.checksum = compute_checksum(cell)
    return copy


@dataclass(frozen=True)
class Lesson:
    """A lesson as it is handed out."""

    stem: str  # name of its notebook
    notebook: NotebookNode  # the source, with solutions and hidden tests
    copy: NotebookNode  # the student's, without solutions
    tasks: list[Task]
    build_tasks: list[BuildTask] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, given: Collection[str] = ()) -> Lesson:
        """Return the lesson of the source notebook `path`.

        Args:
            given: names of the build tasks whose reference stands in the copy.

        Raises:
            LessonFailed: the notebook cannot be read, or its markers or metadata are broken; the message names it.
        """
        notebook = read_notebook(path)
        try:
            copy = make_copy(notebook, given)
            exercises, questions = find_tasks(notebook), find_questions(notebook)
            return cls(path.stem, notebook, copy, exercises, find_build_tasks(notebook), questions)
        except LessonFailed as failure:
            raise LessonFailed(f"{path}: {failure}") from failure

    @property
    def points(self) -> float:
        """Sum of the points of the lesson's exercises, without written answers."""
        return sum(task.points for task in self.tasks)

    @property
    def written_points(self) -> float:
        """Sum of the points of the lesson's written answers."""
        return sum(question.points for question in self.questions)

    @property
    def stubs(self) -> dict[str, str]:
        """Sources of the solution cells in the student's copy, by identifier."""
        sources = {find_id(cell): cell.source for cell in find_code_cells(self.copy)}
        return {task.solution: sources[task.solution] for task in self.tasks}

    def write_copy(self, folder: Path) -> Path:
        """Write the student's copy into `folder` and return its path."""
        path = folder / f"{self.stem}.ipynb"
        files.write_text(path, nbformat.writes(self.copy) + "\n")
        return path
