"""Students' copies of the lessons (command: `workbook student`).

One source serves instructor and student. Each exercise is a pair of cells that carry nbgrader's metadata: a solution
cell, whose `### BEGIN SOLUTION` … `### END SOLUTION` the student replaces, and below it a check cell, whose
`### BEGIN HIDDEN TESTS` … `### END HIDDEN TESTS` the student does not see. nbconvert writes the copy with the
preprocessors of nbgrader, so that other tools for nbgrader can read it, too; its database is not needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader import preprocessors
from nbgrader.utils import is_grade, is_solution
from traitlets.config import Config

from helpers import files, paths
from helpers.course.lessons import LessonFailed, find_code_cells, read_notebook

COPIES = paths.DATA / "student"
STUB = """\
# YOUR CODE HERE: only cells like this one are handed in; the check below tells what is wrong
raise NotImplementedError("no solution yet")"""
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


def find_id(cell: NotebookNode) -> str | None:
    """Return the nbgrader identifier of a cell, or None for a cell that belongs to no task."""
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def find_tasks(notebook: NotebookNode) -> list[Task]:
    """Return the lesson's tasks in order.

    Raises:
        LessonFailed: a solution cell is not followed by a check cell, or a check cell follows none.
    """
    cells = [cell for cell in find_code_cells(notebook) if is_solution(cell) or is_grade(cell)]
    solutions, checks = cells[::2], cells[1::2]
    if not all(map(is_solution, solutions)) or not all(map(is_grade, checks)) or len(cells) % 2:
        raise LessonFailed("each solution cell needs a check cell below it, and each check cell a solution above it")
    return [
        Task(
            number,
            solution.metadata.nbgrader.grade_id,
            check.metadata.nbgrader.grade_id,
            check.metadata.nbgrader.points,
        )
        for number, (solution, check) in enumerate(zip(solutions, checks, strict=True), start=1)
    ]


def make_copy(notebook: NotebookNode) -> NotebookNode:
    """Return the student's copy: no solution, no hidden test, no output; every check cell in its place.

    Raises:
        LessonFailed: the source's markers or metadata are broken, so a solution or a hidden test could be in the copy.
    """
    config = Config()
    config.NotebookExporter.preprocessors = list(_STEPS)
    config.ClearSolutions.code_stub = {"python": STUB}
    try:
        text, _ = NotebookExporter(config=config).from_notebook_node(notebook)
    except Exception as error:  # RuntimeError, and exceptions of nbgrader and jsonschema
        raise LessonFailed(f"no student copy: {error}") from error
    copy = nbformat.reads(text, as_version=4)
    for cell in copy.cells:
        if marker := MARKER.search(cell.source):
            raise LessonFailed(f"no student copy: {marker[0].strip()!r} is not a marker of nbgrader")
    return copy


@dataclass(frozen=True)
class Lesson:
    """A lesson as it is handed out."""

    stem: str  # name of its notebook
    notebook: NotebookNode  # the source, with solutions and hidden tests
    copy: NotebookNode  # the student's, without solutions
    tasks: list[Task]

    @classmethod
    def read(cls, path: Path) -> Lesson:
        """Return the lesson of the source notebook `path`.

        Raises:
            LessonFailed: the notebook cannot be read, or its markers or metadata are broken; the message names it.
        """
        notebook = read_notebook(path)
        try:
            return cls(path.stem, notebook, make_copy(notebook), find_tasks(notebook))
        except LessonFailed as failure:
            raise LessonFailed(f"{path}: {failure}") from failure

    @property
    def points(self) -> float:
        """Sum of the points of the lesson's tasks."""
        return sum(task.points for task in self.tasks)

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
