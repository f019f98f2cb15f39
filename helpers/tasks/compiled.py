"""Compiled checks: the cases of a task and the values to expect, as data without any code of a solution.

The catalogue of the course compiles its definitions into `CompiledTask`; a student's copy holds them as JSON files.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from helpers import files
from helpers.tasks.values import Plain, from_json, to_json

GROUPS = ("by hand", "borders and empty input", "shapes and batches", "laws", "pairs", "data")
"""Groups of cases, in the order in which they are shown. "pairs" checks two functions that must agree."""


@dataclass(frozen=True)
class CompiledCase:
    """One input of a task, and the values that are right."""

    group: str  # one of `GROUPS`
    title: str  # what the input is
    driver: str  # function of `helpers.tasks.drivers` that calls the student's function: "general.call"
    partners: tuple[str, ...]  # names of other tasks whose functions the driver calls, too
    inputs: list[Plain]
    keywords: dict[str, Plain]
    tolerance: float  # largest difference of a right number, absolute and relative
    accepted: list[Plain]  # right values, one per convention of the task
    may_change_inputs: bool = False


@dataclass(frozen=True)
class CompiledMistake:
    """What a wrong function returns on the cases of its task."""

    code: str  # number in the catalogue: "IOU2"
    name: str  # what the wrong function does: "adds one pixel to each side"
    hint: str
    outputs: list[Plain]  # one per case


@dataclass(frozen=True)
class CompiledTask:
    """A task as a student's copy holds it."""

    name: str  # of the function or class that the student writes
    number: str  # lesson and position: "2.3"
    title: str
    points: float
    difficulty: int  # 1 (easy) to 5
    minutes: tuple[int, int]  # from, to
    stub: str  # source of the student's cell
    hints: tuple[str, ...]  # from a question to almost the line
    conventions: tuple[str, ...]  # names of the right answers, where the task leaves a choice; the reference's first
    cases: tuple[CompiledCase, ...]
    mistakes: tuple[CompiledMistake, ...]
    workload: CompiledCase | None = None  # one call as its lesson makes it; None if the time does not matter
    calls: int = 0  # such calls in the lesson at profile quick
    reference_seconds: float = 0.0  # of the reference for the workload, where the checks were compiled

    @property
    def lesson(self) -> str:
        """Two-digit number of the lesson."""
        return f"{int(self.number.split('.')[0]):02d}"

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups that have a case, in order."""
        used = {case.group for case in self.cases}
        return tuple(group for group in GROUPS if group in used)


def write_task(path: Path, task: CompiledTask) -> None:
    """Write a compiled task as JSON, whole or not at all."""
    content = asdict(task)
    for case, compiled in zip(content["cases"], task.cases, strict=True):
        case["inputs"] = to_json(compiled.inputs)
        case["keywords"] = to_json(compiled.keywords)
        case["accepted"] = to_json(compiled.accepted)
    if task.workload is not None:
        content["workload"] |= {"inputs": to_json(task.workload.inputs), "keywords": to_json(task.workload.keywords)}
    for mistake, compiled_mistake in zip(content["mistakes"], task.mistakes, strict=True):
        mistake["outputs"] = to_json(compiled_mistake.outputs)
    files.write_text(path, json.dumps(content, separators=(",", ":")) + "\n")


def read_task(path: Path) -> CompiledTask:
    """Return the task that `write_task` has written.

    Raises:
        ValueError: the file is not one of a task; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cases = tuple(CompiledCase(**_read_case(case)) for case in content.pop("cases"))
        mistakes = tuple(
            CompiledMistake(**mistake | {"outputs": from_json(mistake["outputs"])})
            for mistake in content.pop("mistakes")
        )
        lists = {name: tuple(content[name]) for name in ("minutes", "hints", "conventions")}
        if content["workload"] is not None:
            content["workload"] = CompiledCase(**_read_case(content["workload"]))
        return CompiledTask(**content | lists, cases=cases, mistakes=mistakes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not the checks of a task ({error}); get this file again from your course") from None


def _read_case(case: dict[str, Any]) -> dict[str, Any]:
    plain = {name: from_json(case[name]) for name in ("inputs", "keywords", "accepted")}
    return case | plain | {"partners": tuple(case["partners"])}
