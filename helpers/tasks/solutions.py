"""Solutions: cells of a student, saved, loaded in later lessons, and put in place of the workbook's functions.

    data/solutions/
        compute_iou.py   the cell whose function has passed its check

A solution is a whole cell. It is run in a namespace of its own, so it can use what the cell itself imports and defines,
and nothing of the notebook around it.
"""

from __future__ import annotations

import hashlib
import importlib
import linecache
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from helpers import files, paths

SOLUTIONS = paths.DATA / "solutions"
GIVEN = Path(__file__).parent / "given_solutions"
"""Folder of the solutions that the course has given after their deadline; only a student's copy can have it."""
ADAPTERS = ("detection", "digits", "keypoints", "suppression")
"""Modules of `helpers.tasks.adapters`."""


class NoSolution(Exception):
    """A cell does not define what its task asks for; the message says what is wrong."""


def load_function(source: str, name: str) -> Callable[..., Any]:
    """Return the function or class `name` that the cell `source` defines.

    Raises:
        NoSolution: the cell has a syntax error, raises an exception, or does not define `name`.
    """
    filename = f"<solution {name} {hashlib.sha256(source.encode()).hexdigest()[:8]}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)  # for tracebacks
    module = ModuleType(f"solution_{name}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(source, filename, "exec"), module.__dict__)
    except Exception as error:
        raise NoSolution(f"the cell of {name} raises {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise NoSolution(f"the cell defines no function or class {name}")
    return function


def read_cell(function: Callable[..., Any]) -> str:
    """Return the source of the notebook cell (or file) in which a function or class is defined.

    Raises:
        NoSolution: its source is not known, as of a function that was made by another one.
    """
    code = _find_code(function)
    lines = linecache.getlines(code.co_filename) if code is not None else []
    if not lines:
        raise NoSolution(f"the source of {function!r} is not known; define it with `def` or `class` in its cell")
    return "".join(lines)


def _find_code(function: Any):
    if isinstance(function, FunctionType):
        return function.__code__
    methods = (
        [value for value in vars(function).values() if isinstance(value, FunctionType)]
        if (isinstance(function, type))
        else []
    )
    return methods[0].__code__ if methods else None


def save_solution(name: str, source: str) -> Path:
    """Write the cell of a passed task and return the path."""
    path = SOLUTIONS / f"{name}.py"
    files.write_text(path, source.rstrip() + "\n")
    return path


def read_solutions() -> dict[str, str]:
    """Return the saved cells by the name of their task."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(SOLUTIONS.glob("*.py"))}


def read_given() -> dict[str, str]:
    """Return the cells of the solutions that the course has given, by the name of their task."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(GIVEN.glob("*.py"))}


def find_adapter(name: str) -> Callable[[Callable[..., Any]], Mapping[str, Any]] | None:
    """Return the adapter of the task `name`, or None if no lesson calls its function."""
    for module in ADAPTERS:
        try:
            adapters = importlib.import_module(f"helpers.tasks.adapters.{module}")
        except ModuleNotFoundError:
            continue
        if hasattr(adapters, name):
            return getattr(adapters, name)
    return None


ORIGINALS: dict[str, Any] = {}
"""What this process has replaced, by full name."""


def use_solution(name: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """Let all modules of the workbook in this process use a student's function, and return what it replaces.

    A function that was imported by name into another module is replaced there, too. A later solution of the same task
    takes the place of an earlier one.
    """
    adapter = find_adapter(name)
    if adapter is None:
        return ()
    replaced = []
    for full_name, replacement in adapter(function).items():
        _replace(full_name, replacement)
        replaced.append(full_name)
    return tuple(replaced)


def _replace(full_name: str, replacement: Any) -> None:
    module_name, _, attribute = full_name.rpartition(".")
    home = importlib.import_module(module_name)
    current = getattr(home, attribute)
    ORIGINALS.setdefault(full_name, current)
    for module_in_use in list(sys.modules.values()):
        name = getattr(module_in_use, "__name__", None) or ""
        if name.startswith("helpers.") or name == "__main__":
            for variable, value in list(vars(module_in_use).items()):
                if value is current:
                    setattr(module_in_use, variable, replacement)


def get_original(full_name: str) -> Any:
    """Return the workbook's own function of this full name, whether a solution has taken its place or not."""
    if full_name in ORIGINALS:
        return ORIGINALS[full_name]
    module_name, _, attribute = full_name.rpartition(".")
    return getattr(importlib.import_module(module_name), attribute)


def restore_originals() -> None:
    """Undo all replacements in this process."""
    for full_name, original in list(ORIGINALS.items()):
        _replace(full_name, original)
    ORIGINALS.clear()
