"""Cells of a build task: the text, the solution cell and the check cell of a lesson, made from the definition.

A lesson holds exactly these cells, so a task is described once. In the instructor's notebook the solution cell shows
the reference; in a student's copy it is the stub, or the reference as a cell after the deadline.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Mapping

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers.course.checks.definition import Definition

INTRODUCTION = (
    "Write `{name}` in the cell below. Its docstring is the contract. The check below it takes seconds; once it has "
    "passed, the lessons use your function wherever they need it."
)


def make_cells(definition: Definition) -> list[NotebookNode]:
    """Return the three cells of a task: text with hints, solution cell, check cell."""
    name = definition.name
    solution = f'### BEGIN SOLUTION\n{name} = tasks.show("{name}")\n### END SOLUTION'
    shared = {"schema_version": 3, "task": False}
    solution_mark = shared | {"grade_id": f"{name}-solution", "solution": True, "grade": False, "locked": False}
    check_mark = shared | {"grade_id": f"{name}-check", "solution": False, "grade": True, "locked": True}
    check_mark["points"] = definition.points
    return [
        new_markdown_cell(make_text(definition), id=f"{name}-text"),
        new_code_cell(solution, id=f"{name}-solution", metadata={"nbgrader": solution_mark}),
        new_code_cell(f'tasks.check("{name}")', id=f"{name}-check", metadata={"nbgrader": check_mark}),
    ]


def make_text(definition: Definition) -> str:
    """Return the text above the solution cell: title, purpose, effort, and one collapsed block per hint."""
    first, last = definition.minutes
    points = f"{definition.points:g} point" if definition.points == 1 else f"{definition.points:g} points"
    effort = f"Difficulty {definition.difficulty} of 5 · {first} to {last} minutes · {points}"
    parts = [f"### Task {definition.number} · {definition.title}", effort]
    if definition.purpose:
        parts.append(definition.purpose)
    parts.append(INTRODUCTION.format(name=definition.name))
    for number, hint in enumerate(definition.hints, start=1):
        parts.append(f"<details><summary>Hint {number}</summary>\n\n{hint}\n\n</details>")
    return "\n\n".join(parts)


def make_solution(definition: Definition) -> str:
    """Return the reference as the source of a cell: imports, and what it needs of its module, then itself."""
    reference = definition.reference
    module = sys.modules[reference.__module__]
    source = inspect.getsource(module)
    needed = _find_needed(ast.parse(source), reference.__name__)
    lines = source.splitlines()
    imports = [line for line in definition.imports.splitlines() if line.strip()]
    constants, functions = [], []
    for node in needed:
        if isinstance(node, ast.Import | ast.ImportFrom):
            if (statement := ast.unparse(node)) not in imports:
                imports.append(statement)
            continue
        decorators = getattr(node, "decorator_list", [])
        first = decorators[0].lineno if decorators else node.lineno
        text = textwrap.dedent("\n".join(lines[first - 1 : node.end_lineno]))
        (functions if isinstance(node, ast.FunctionDef | ast.ClassDef) else constants).append(text)
    parts = ["\n".join(imports)] + (["\n".join(constants)] if constants else []) + functions
    return "\n\n\n".join(parts) + "\n"


def _find_needed(tree: ast.Module, name: str) -> list[ast.stmt]:
    """Return the statements of a module that define `name` and all that it uses, in their order.

    An import is reduced to the names that are used.
    """
    defining: dict[str, ast.stmt] = {}
    for node in tree.body:
        for defined in _list_defined(node):
            defining[defined] = node
    waiting, used = [name], set()
    while waiting:
        current = waiting.pop()
        if current in used or current not in defining:
            continue
        used.add(current)
        waiting += [child.id for child in ast.walk(defining[current]) if isinstance(child, ast.Name)]
    return [kept for node in tree.body if (kept := _reduce(node, defining, used)) is not None]


def _list_defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    else:
        return []
    return [child.id for target in targets for child in ast.walk(target) if isinstance(child, ast.Name)]


def _reduce(node: ast.stmt, defining: Mapping[str, ast.stmt], used: set[str]) -> ast.stmt | None:
    """Return the statement if something it defines is used, an import without the names that are not."""
    names = [name for name in _list_defined(node) if name in used and defining[name] is node]
    if not names:
        return None
    if isinstance(node, ast.Import | ast.ImportFrom):
        kept = [alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) in names]
        if isinstance(node, ast.Import):
            return ast.Import(names=kept)
        return ast.ImportFrom(module=node.module, names=kept, level=node.level)
    return node
