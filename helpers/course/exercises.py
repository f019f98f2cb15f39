"""Exercises of a lesson as the grader sees them: their cells, and the answers that cross from student to check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from helpers.course.checks.cells import make_solution
from helpers.course.checks.definition import Definition
from helpers.course.lessons import LessonFailed, find_code_cells
from helpers.course.student import Lesson, Task, find_id

BEGIN, END = re.compile(r"^\s*### BEGIN SOLUTION"), re.compile(r"^\s*### END SOLUTION")
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Exercise:
    """An exercise whose answers are plain values."""

    task: Task
    solution: str  # source of the lesson's own solution cell
    check: str  # source of the check cell, hidden tests included
    answers: tuple[str, ...]  # names that the solution assigns and the check reads


@dataclass(frozen=True)
class Plan:
    """What is graded of a lesson."""

    lesson: Lesson
    builds: tuple[str, ...]  # names of its build tasks
    exercises: tuple[Exercise, ...]
    references: Mapping[str, str]  # identifier of the solution cell of a build task -> source of its reference

    @property
    def solution_ids(self) -> tuple[str, ...]:
        """Identifiers of all cells that a student hands in."""
        return tuple(f"{name}-solution" for name in self.builds) + tuple(
            exercise.task.solution for exercise in self.exercises
        )


def make_plan(lesson: Lesson, definitions: Sequence[Definition] = ()) -> Plan:
    """Return what is graded of a lesson.

    Args:
        definitions: of all build tasks of the course.

    Raises:
        LessonFailed: the check of an exercise reads nothing that its solution assigns.
    """
    cells = {name: cell.source for cell in find_code_cells(lesson.notebook) if (name := find_id(cell)) is not None}
    defined = [definition for definition in definitions if f"{definition.name}-solution" in cells]
    builds = tuple(definition.name for definition in defined)
    references = {f"{definition.name}-solution": make_solution(definition) for definition in defined}
    exercises = []
    for task in lesson.tasks:
        if task.solution.removesuffix("-solution") in builds:
            continue
        answers = find_answers(cells[task.solution], cells[task.check])
        if not answers:
            raise LessonFailed(
                f"{lesson.stem}, task {task.number}: the check reads no name that the solution assigns between its "
                "markers, so no answer can be graded"
            )
        exercises.append(Exercise(task, cells[task.solution], cells[task.check], answers))
    return Plan(lesson, builds, tuple(exercises), references)


def find_answers(solution: str, check: str) -> tuple[str, ...]:
    """Return the names that a solution cell assigns between its markers and that its check cell reads.

    A name that the check has assigned itself before it reads it is no answer.
    """
    read, assigned_by_check = set(), set()
    for statement in _parse(check).body:
        local = {
            name.id
            for node in ast.walk(statement)
            if isinstance(node, COMPREHENSIONS)
            for generator in node.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name)
        }
        loaded = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and _is_read(node)}
        read |= loaded - local - assigned_by_check
        assigned_by_check |= {name for name, _ in find_assigned(statement)}
    return tuple(dict.fromkeys(name for name in find_solution_names(solution) if name in read))


def _is_read(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Load)


def find_solution_names(solution: str) -> list[str]:
    """Return the names that a cell assigns at top level between its solution markers, in order."""
    ranges, start = [], None
    for number, line in enumerate(solution.splitlines(), start=1):
        if BEGIN.match(line):
            start = number
        elif END.match(line) and start is not None:
            ranges.append(range(start, number))
            start = None
    assigned = sorted((line, name) for statement in _parse(solution).body for name, line in find_assigned(statement))
    return [name for line, name in assigned if any(line in lines for lines in ranges)]


def find_assigned(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each name that a statement assigns in its own scope, with the line."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, node.lineno
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield (alias.asname or alias.name).partition(".")[0], node.lineno
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, node.lineno
    if not isinstance(node, SCOPES + COMPREHENSIONS):
        for child in ast.iter_child_nodes(node):
            yield from find_assigned(child)


def _parse(source: str) -> ast.Module:
    """Return the syntax tree of a cell; IPython's commands become empty lines."""
    return ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE))
