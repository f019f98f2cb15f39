"""Functions that a student has still to write: the error that takes the place of their bodies.

Only the standard library is imported: every module of a student's copy can import this one.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


class NotSolved(Exception):
    """A lesson needs a function whose task is not solved yet; the message names task and lesson.

    A notebook shows the message alone, without a traceback through code that the student has not written.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows."""
        return [f"{type(self).__name__}: {self}"]


def make_open_function(message: str) -> Callable[..., Any]:
    """Return a function that raises `NotSolved`: an entry of a table of functions, while its task is open."""

    def open_function(*arguments: Any, **keywords: Any) -> Any:
        raise NotSolved(message)

    return open_function


def describe_task(name: str, number: str, lesson: str) -> str:
    """Return a task as messages name it: "compute_iou is task 2.2, lesson 02"."""
    return f"{name} is task {number}, lesson {lesson}"


def find_import_failure() -> dict[str, str | int] | None:
    """Import all modules of the workbook; return the first expression that calls an open function meanwhile, or None.

    Returns:
        Message of the error, file relative to the workbook's folder, and the position of the expression as in a syntax
        tree: lines from 1, columns in bytes from 0.
    """
    import helpers

    root = Path(helpers.__file__).parents[1]
    for module in pkgutil.walk_packages(helpers.__path__, "helpers."):
        try:
            importlib.import_module(module.name)
        except NotSolved as error:
            frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
            places = traceback.extract_tb(error.__traceback__)
            while frames[-1].f_code.co_flags & inspect.CO_OPTIMIZED:  # a function; modules and classes are not
                frames.pop()
            place = places[len(frames) - 1]
            assert place.lineno is not None
            assert place.end_lineno is not None
            assert place.colno is not None
            assert place.end_colno is not None
            return {
                "message": str(error),
                "file": Path(place.filename).relative_to(root).as_posix(),
                "line": place.lineno,
                "end_line": place.end_lineno,
                "column": place.colno,
                "end_column": place.end_colno,
            }
    return None
