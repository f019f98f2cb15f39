"""What defines a build task, and its compilation into data.

A definition holds the reference (its signature and docstring are the contract that the student sees), the cases, and
wrong implementations with their hints. The stub of the student's cell is generated from the reference.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from helpers.tasks.compiled import GROUPS, CompiledCase, CompiledMistake, CompiledTask
from helpers.tasks.judging import summarise_outcome
from helpers.tasks.running import Outcome, run_case
from helpers.tasks.values import to_plain

VISIBLE_SEED = 641
"""Seed of the random cases that a student sees; the grader draws others."""
DEFAULT_IMPORTS = "import torch\nfrom torch import Tensor"
BODY = "# YOUR CODE HERE\nraise NotImplementedError"

Function = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One input of a task. The value to expect is what the reference returns."""

    group: str  # one of `GROUPS`
    title: str  # what the input is, for the student
    inputs: tuple[Any, ...]  # of the driver, after the functions
    keywords: Mapping[str, Any] = field(default_factory=dict)
    driver: str = "general.call"
    partners: tuple[str, ...] = ()  # names of other tasks whose functions the driver calls, too
    tolerance: float = 1e-4
    may_change_inputs: bool = False  # a model that is trained changes


@dataclass(frozen=True)
class Mistake:
    """A wrong implementation that students really write."""

    code: str  # "IOU2"
    name: str  # what it does: "adds one pixel to each side"
    hint: str
    function: Function
    partners: Mapping[str, Function] = field(
        default_factory=dict
    )  # wrong partners of pair checks, by the name of their task


@dataclass(frozen=True)
class Definition:
    """A build task."""

    name: str  # of the function or class
    number: str  # lesson and position: "2.3"
    title: str
    points: float
    difficulty: int  # 1 to 5
    minutes: tuple[int, int]
    reference: Function  # its name, signature and docstring are the contract
    draw_cases: Callable[[torch.Generator], list[Case]]  # always the same number of cases, in the same order
    hints: tuple[str, ...]  # from a question to almost the line
    mistakes: tuple[Mistake, ...]
    imports: str = DEFAULT_IMPORTS  # first lines of the student's cell
    conventions: Mapping[str, Function] = field(
        default_factory=dict
    )  # other right answers by the name of their convention
    convention: str = "as described"  # name of the reference's convention
    convention_partners: Mapping[str, Mapping[str, Function]] = field(
        default_factory=dict
    )  # of a convention, the partners that follow it, too; they take the place of `partners`
    indistinguishable: tuple[frozenset[str], ...] = ()  # codes of mistakes that no input tells apart
    workload: Case | None = None  # one call as its lesson makes it; the driver draws the inputs
    calls: int = 0  # such calls in the lesson at profile quick
    partners: Mapping[str, Function] = field(default_factory=dict)  # references of the tasks that pair checks need
    purpose: str = ""  # what the lesson needs the function for, one sentence for the student
    removed: tuple[str, ...] = ()
    """Full names of the workbook's functions that would give the solution away, besides those that the adapter
    replaces. A student's copy lacks their bodies, so no lesson may need them after the task is solved."""

    @property
    def lesson(self) -> str:
        """Two-digit number of the lesson."""
        return f"{int(self.number.split('.')[0]):02d}"

    def find_partners(self, convention: str) -> dict[str, Function]:
        """Return the partners of pair checks that agree with a convention."""
        return {**self.partners, **self.convention_partners.get(convention, {})}


def make_generator(seed: int) -> torch.Generator:
    """Return a random generator for `Definition.draw_cases`."""
    return torch.Generator().manual_seed(seed)


def compile_task(definition: Definition, seed: int = VISIBLE_SEED) -> CompiledTask:
    """Return the task as data: inputs, right values, and what each known mistake returns.

    Args:
        seed: of the random cases.

    Raises:
        ValueError: the definition contradicts itself: a group that does not exist, or a reference that fails.
    """
    cases = [_prepare(case) for case in definition.draw_cases(make_generator(seed))]
    functions = {definition.convention: definition.reference, **definition.conventions}
    columns = []
    for name, function in functions.items():
        column = []
        for case in cases:
            outcome = run_case(function, case, definition.find_partners(name))
            if outcome.changed or outcome.is_skipped:
                problem = "changes its input" if outcome.changed else "lacks a partner"
                raise ValueError(f"task {definition.name}: the right answer {name!r} {problem} in case {case.title!r}")
            column.append(outcome.value)
        columns.append(column)
    compiled = []
    for number, case in enumerate(cases):
        accepted = [column[number] for column in columns]
        compiled.append(CompiledCase(**{**vars(case), "accepted": accepted}))
    mistakes = [
        CompiledMistake(
            mistake.code, mistake.name, mistake.hint, run_mistake(mistake, cases, dict(definition.partners))
        )
        for mistake in definition.mistakes
    ]
    workload = None if definition.workload is None else _prepare(definition.workload)
    return CompiledTask(
        name=definition.name,
        number=definition.number,
        title=definition.title,
        points=definition.points,
        difficulty=definition.difficulty,
        minutes=definition.minutes,
        stub=make_stub(definition),
        hints=definition.hints,
        conventions=tuple(functions),
        cases=tuple(compiled),
        mistakes=tuple(mistakes),
        workload=workload,
        calls=definition.calls,
        reference_seconds=0.0 if workload is None else measure_seconds(definition, workload),
    )


def _prepare(case: Case) -> CompiledCase:
    if case.group not in GROUPS:
        raise ValueError(f"case {case.title!r} has the group {case.group!r}; choose one of {', '.join(GROUPS)}")
    return CompiledCase(
        group=case.group,
        title=case.title,
        driver=case.driver,
        partners=case.partners,
        inputs=to_plain(case.inputs),
        keywords=to_plain(case.keywords),
        tolerance=case.tolerance,
        accepted=[],
        may_change_inputs=case.may_change_inputs,
    )


def measure_seconds(definition: Definition, workload: CompiledCase) -> float:
    """Return the seconds that the reference takes for one call as its lesson makes it, the best of three."""
    outcomes = [run_case(definition.reference, workload, definition.partners) for _ in range(3)]
    return min(outcome.seconds for outcome in outcomes)


def run_mistake(mistake: Mistake, cases: Sequence[CompiledCase], partners: Mapping[str, Function]) -> list[Any]:
    """Return what a wrong implementation gives in each case."""
    functions = {**partners, **mistake.partners}
    outcomes: list[Outcome] = [run_case(mistake.function, case, functions) for case in cases]
    return [summarise_outcome(outcome) for outcome in outcomes]


def make_stub(definition: Definition) -> str:
    """Return the source of the student's cell: imports, signature, docstring, and an empty body.

    Of a class, every method keeps its signature and docstring.
    """
    source = textwrap.dedent(inspect.getsource(definition.reference))
    lines = source.splitlines()
    (node,) = ast.parse(source).body
    return f"{definition.imports}\n\n\n" + "\n".join(_strip_body(node, lines)).rstrip() + "\n"


def _strip_body(node: ast.stmt, lines: Sequence[str]) -> list[str]:
    """Return the lines of a function or class without its code."""
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    docstring = node.body[0]
    if not isinstance(docstring, ast.Expr) or docstring.end_lineno is None:
        raise ValueError(f"{node.name} has no docstring: it is the contract of its task")
    first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
    kept = list(lines[first - 1 : docstring.end_lineno])
    if isinstance(node, ast.FunctionDef):
        return kept + textwrap.indent(BODY, " " * docstring.col_offset).splitlines()
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and (method.name == "__init__" or not method.name.startswith("_")):
            kept += ["", *_strip_method(method, lines)]
    return kept


def _strip_method(method: ast.FunctionDef, lines: Sequence[str]) -> list[str]:
    """Return a method's lines without its code; a method without a docstring keeps its signature alone."""
    if ast.get_docstring(method):
        return _strip_body(method, lines)
    signature = list(lines[method.lineno - 1 : method.body[0].lineno - 1])
    return signature + textwrap.indent(BODY, " " * method.body[0].col_offset).splitlines()
