"""Running a student's function on the cases of its task, and collecting what it returns as plain values."""

from __future__ import annotations

import contextlib
import importlib
import io
import random
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from helpers.tasks.compiled import CompiledCase
from helpers.tasks.values import Failure, NotPlain, Plain, are_equal, to_inputs, to_plain

SEED = 0  # of every global random generator before each case


@dataclass(frozen=True)
class Outcome:
    """What one case gave."""

    value: Plain
    changed: tuple[int, ...] = ()  # positions of the inputs that the function changed
    is_input: bool = False  # the function returned one of its inputs, itself
    is_skipped: bool = False  # a partner of a pair check is missing
    seconds: float = 0.0
    place: str = ""  # line of the student's code that raised the exception


def run_cases(
    candidate: Callable[..., Any], cases: Sequence[CompiledCase], partners: Mapping[str, Callable[..., Any]]
) -> list[Outcome]:
    """Return the outcome of each case.

    Args:
        candidate: the student's function or class.
        partners: functions of other tasks by name; a case whose partner is missing is skipped.
    """
    return [run_case(candidate, case, partners) for case in cases]


def run_case(candidate: Callable[..., Any], case: CompiledCase, partners: Mapping[str, Callable[..., Any]]) -> Outcome:
    """Return the outcome of one case; inputs are passed as copies, and what is printed is dropped.

    An exception of the student's function is a `Failure`.
    """
    if not partners.keys() >= set(case.partners):
        return Outcome(None, is_skipped=True)
    functions = [candidate, *(partners[name] for name in case.partners)]
    inputs = [to_inputs(value) for value in case.inputs]
    keywords = {name: to_inputs(value) for name, value in case.keywords.items()}
    driver = find_driver(case.driver)
    started = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), fixed_generators():
            warnings.simplefilter("ignore")
            returned = driver(*functions, *inputs, **keywords)
            seconds = time.perf_counter() - started
            if callable(returned) or returned is NotImplemented or returned is Ellipsis:
                raise NotImplementedError("it returned no value")
            value = to_plain(returned)
    except NotPlain as error:
        return Outcome(Failure("NotPlain", f"it returned {error}"))
    except Exception as error:
        return Outcome(Failure(type(error).__name__, str(error)[:500]), place=_find_place(error))
    changed = tuple(
        position
        for position, (before, after) in enumerate(zip(case.inputs, inputs, strict=True))
        if not _is_unchanged(before, after)
    )
    is_input = any(returned is value for value in inputs if not isinstance(value, bool | int | float | str | None))
    return Outcome(value, () if case.may_change_inputs else changed, is_input, seconds=seconds)


def _is_unchanged(before: Plain, after: Any) -> bool:
    try:
        return are_equal(before, to_plain(after), tolerance=0.0)
    except NotPlain:
        return False


@contextlib.contextmanager
def fixed_generators() -> Iterator[None]:
    """Seed every global random generator, and put them back into their states at the end: a check changes no lesson."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - a student may draw from it
    torch_state = torch.default_generator.get_state()
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    # torch.manual_seed would also note a stack trace for each kind of device: 1 ms for each of thousands of cases
    torch.default_generator.manual_seed(SEED)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.default_generator.set_state(torch_state)


def _find_place(error: Exception) -> str:
    """Return the line of the student's own code that raised `error`, as "line 4: x = y / 0", or ""."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "helpers" not in frame.filename and "site-packages" not in frame.filename and frame.line:
            return f"line {frame.lineno}: {frame.line.strip()}"
    return ""


def find_driver(name: str) -> Callable[..., Any]:
    """Return the driver of this name: "general.call" is the function `call` of `helpers.tasks.drivers.general`."""
    module, function = name.split(".")
    return getattr(importlib.import_module(f"helpers.tasks.drivers.{module}"), function)
