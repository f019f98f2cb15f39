"""Build tasks in a lesson: `tasks.show`, `tasks.check`, `tasks.use_saved` and `tasks.progress`, which its cells call.

In the instructor's workbook the checks are compiled from their definitions. A student's copy holds them compiled, in
`helpers/tasks/compiled_checks/`, without the code of any solution.
"""

from __future__ import annotations

import ast
import html
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.tasks import progress as progress_tables
from helpers.tasks import solutions
from helpers.tasks.compiled import CompiledCase, CompiledTask, read_task
from helpers.tasks.judging import Diagnosis, FailedCase, Verdict, judge
from helpers.tasks.progress import Described
from helpers.tasks.running import find_driver, run_case, run_cases
from helpers.tasks.unsolved import describe_task
from helpers.tasks.values import describe

COMPILED = Path(__file__).parent / "compiled_checks"
"""Folder of the compiled checks; only a student's copy has it."""
SLOW = 30.0
"""Seconds that a function may take in its lesson before the check says what it costs."""
CATALOGUE = "helpers.course.checks.catalogue"
"""Module of the definitions; only the instructor's workbook has it."""


def list_described() -> list[Described]:
    """Return all tasks in the order of the lessons, as compiled in a student's copy, else as they are defined."""
    if COMPILED.is_dir():
        compiled = [read_task(path) for path in COMPILED.glob("*.json")]
        return sorted(compiled, key=lambda task: [int(part) for part in task.number.split(".")])
    return importlib.import_module(CATALOGUE).list_definitions()


def list_names() -> list[str]:
    """Return the names of all tasks in the order of the lessons."""
    return [task.name for task in list_described()]


def load_task(name: str) -> CompiledTask:
    """Return the visible checks of a task.

    Raises:
        KeyError: there is no such task.
    """
    if COMPILED.is_dir():
        path = COMPILED / f"{name}.json"
        if not path.is_file():
            raise KeyError(f"there is no task {name!r}; the tasks are {', '.join(list_names())}")
        return read_task(path)
    return importlib.import_module(CATALOGUE).compile_visible(name)


def show(name: str) -> Callable[..., Any]:
    """Display the source of the reference of a task and return it; for the instructor's workbook only.

    In a student's copy the cell that calls this function is the stub.

    Raises:
        KeyError: there is no such task, or this is a student's copy.
    """
    from IPython.display import Code, display

    if COMPILED.is_dir():
        raise KeyError(f"this is a student's copy: write {name} in this cell")
    reference = importlib.import_module(CATALOGUE).find_definition(name).reference
    display(Code(inspect.getsource(reference), language="python"))
    return reference


def check(name: str, candidate: Callable[..., Any] | None = None) -> Report:
    """Check the student's function `name` on the cases of its task and return a report for the notebook.

    A function that passes is saved, and from here on all modules of the workbook use it, in this lesson and the later
    ones.

    Args:
        candidate: the function or class; the one that the notebook defines if None.

    Raises:
        KeyError: there is no such task.
    """
    task = load_task(name)
    if candidate is None:
        candidate = getattr(sys.modules["__main__"], name, None)
    if candidate is None:
        return Report(task, None, "the notebook does not define it: run the cell above first")
    is_reference = candidate.__module__.startswith("helpers.")
    try:
        source = "" if is_reference else solutions.read_cell(candidate)
        function = candidate if is_reference else solutions.load_function(source, name)
    except solutions.NoSolution as error:
        return Report(task, None, str(error))
    partners = _find_partners(task)
    outcomes = run_cases(function, task.cases, partners)
    verdict = judge(task, outcomes)
    if verdict.is_passed and not is_reference:
        solutions.save_solution(name, source)
        solutions.use_solution(name, function)
    seconds = None
    if verdict.is_passed and not is_reference and task.workload is not None:
        seconds = run_case(function, task.workload, partners).seconds
    return Report(task, verdict, seconds=seconds)


def _find_partners(task: CompiledTask) -> dict[str, Callable[..., Any]]:
    """Return the functions of other tasks that the pair checks call: the student's, or in the original the references.

    In a copy with given solutions, these stand in for tasks that the student has not solved.

    A partner that is not solved yet is left out, and its cases are skipped.
    """
    names = {name for case in task.cases for name in case.partners}
    saved = solutions.read_given() | solutions.read_solutions()
    partners = {}
    for name in names:
        if not COMPILED.is_dir():
            partners[name] = importlib.import_module(CATALOGUE).find_definition(name).reference
        elif name in saved:
            partners[name] = solutions.load_function(saved[name], name)
    return partners


def use_saved(lesson: str) -> None:
    """Let the workbook use the saved solutions of earlier lessons, and print which of their tasks are still open.

    Nothing happens in the instructor's workbook, whose functions are complete.

    Args:
        lesson: two-digit number; solutions of this lesson and of later ones are not used, because the lesson itself
            runs their cells.
    """
    if not COMPILED.is_dir():
        return
    saved, given = solutions.read_solutions(), solutions.read_given()
    open_tasks = []
    for task in list_described():
        if task.lesson >= lesson:
            continue
        if task.name in saved:
            solutions.use_solution(task.name, solutions.load_function(saved[task.name], task.name))
        elif task.name not in given:
            open_tasks.append(task)
    if open_tasks:
        print("Open tasks of earlier lessons; this lesson stops where it needs one of them:")
    for task in open_tasks:
        print(f"  {describe_task(task.name, task.number, task.lesson)}")


def progress() -> pd.DataFrame:
    """Return the table of all tasks: points, difficulty, minutes, and whether each is solved."""
    return progress_tables.make_table(list_described(), solutions.read_solutions(), solutions.read_given())


@dataclass(frozen=True)
class Report:
    """Result of a check, as a notebook displays it."""

    task: CompiledTask
    verdict: Verdict | None  # None: there is no function to check
    problem: str = ""
    seconds: float | None = None  # of one call as the lesson makes it

    @property
    def is_passed(self) -> bool:
        """Whether every case of every group passed."""
        return self.verdict is not None and self.verdict.is_passed

    def list_lines(self) -> list[str]:
        """Return the report as lines of text."""
        title = f"Task {self.task.number}, {self.task.name}"
        if self.verdict is None:
            return [f"{title}: not checked, because {self.problem}"]
        if not self.verdict.is_written:
            return [f"{title}: not written yet"]
        lines = [f"{title}: {'passed' if self.is_passed else 'not passed yet'}"]
        for group, (passed, total) in self.verdict.passed.items():
            lines.append(f"  {'✓' if passed == total else '✗'} {group}: {passed} of {total}")
        if self.verdict.convention:
            lines.append(f"  variant: {self.verdict.convention}")
        for name in self.verdict.skipped:
            lines.append(f"  a pair check waits for task {load_task(name).number}, {name}")
        lines += self._describe_time()
        if self.verdict.failures:
            lines += self._describe_failure(self.verdict.failures[0])
        lines += self._describe_diagnoses(self.verdict.diagnoses)
        return lines

    def _describe_time(self) -> list[str]:
        """Return a line if the function would take longer than `SLOW` seconds in its lesson."""
        total = (self.seconds or 0.0) * self.task.calls
        if total < SLOW:
            return []
        ratio = (self.seconds or 0.0) / max(self.task.reference_seconds, 1e-9)
        slower = f"{ratio:.0f} times slower than the vectorised version: " if ratio >= 2 else ""
        time = f"{total / 60:.0f} minutes" if total >= 120 else f"{total:.0f} seconds"
        return [f"  correct; {slower}this lesson needs about {time} for it at the profile quick"]

    def _describe_failure(self, failure: FailedCase) -> list[str]:
        case, outcome = self.task.cases[failure.number], failure.outcome
        lines = [f"  First case that fails ({case.group}): {case.title}"]
        for name, value in [*zip(name_inputs(self.task, case), case.inputs, strict=True), *case.keywords.items()]:
            lines.append(f"    {name}: {_indent(describe(value))}")
        lines.append(f"    expected: {_indent(describe(failure.expected))}")
        lines.append(f"    yours:    {_indent(describe(outcome.value))}")
        if outcome.place:
            lines.append(f"    raised in {outcome.place}")
        if outcome.changed:
            numbers = ", ".join(str(position + 1) for position in outcome.changed)
            lines.append(f"    Your function changes its input {numbers}: work on a copy (`.clone()`)")
        return lines

    def _describe_diagnoses(self, diagnoses: tuple[Diagnosis, ...]) -> list[str]:
        lines = []
        for diagnosis in diagnoses:
            certainty = "This is what comes out when" if diagnosis.is_certain else "It looks as if"
            lines.append(f"  {certainty} {diagnosis.mistake.name}.")
            lines.append(f"    {diagnosis.mistake.hint}")
        return lines

    def __repr__(self) -> str:
        return "\n".join(self.list_lines())

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def find_parameters(task: CompiledTask) -> list[str]:
    """Return the names of the parameters in the signature of a task's function; none of a class."""
    for node in ast.parse(task.stub).body:
        if isinstance(node, ast.FunctionDef) and node.name == task.name:
            return [argument.arg for argument in node.args.args]
    return []


def name_inputs(task: CompiledTask, case: CompiledCase) -> list[str]:
    """Return a name for each input of a case: that of the function's parameter, or of the driver's.

    An input that no parameter has a name for is called "input 2".
    """
    parameters = find_parameters(task)
    names = list(parameters)
    if case.driver != "general.call":
        names = []
        num_functions = 1 + len(case.partners)
        for parameter in list(inspect.signature(find_driver(case.driver)).parameters.values())[num_functions:]:
            if parameter.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD:
                names.append(parameter.name)
            elif parameter.kind == inspect.Parameter.VAR_POSITIONAL:  # passed on to the student's function
                names += parameters[len(names) :]
    names += [f"input {position}" for position in range(len(names) + 1, len(case.inputs) + 1)]
    return names[: len(case.inputs)]


def describe_call(case: CompiledCase) -> str:
    """Return what is compared in a case, if it is more than what the function returns; else ""."""
    if case.driver == "general.call":
        return ""
    first_line = (inspect.getdoc(find_driver(case.driver)) or "").partition("\n")[0]
    return first_line.removeprefix("Return ").rstrip(".")


def _indent(text: str) -> str:
    """Return a text of several lines with the later ones indented below the first."""
    return text.replace("\n", "\n              ")
