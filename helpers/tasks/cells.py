"""Notebook cells without Jupyter: an IPython shell in this process that runs cells and returns their errors as text."""

from __future__ import annotations

import sys
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

LONGEST_ERROR = 3000  # characters


class Shell(InteractiveShell):
    """Shell that prints no traceback, keeps no history, and goes on after `exit()`."""

    def enable_gui(self, gui: str | None = None) -> None:
        """Do nothing: there is no window."""

    def ask_exit(self) -> None:
        """Do nothing: a cell that ends with `exit()` has run to its end."""

    def showtraceback(self, *arguments: Any, **keywords: Any) -> None:
        """Do nothing: `run_cell` returns the error."""

    def showsyntaxerror(self, *arguments: Any, **keywords: Any) -> None:
        """Do nothing: `run_cell` returns the error."""


def start_shell() -> Shell:
    """Return the shell of this process, whose namespace is the module `__main__`."""
    config = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})
    return Shell.instance(config=config)


def run_cell(shell: Shell, source: str) -> str:
    """Run a cell; return "" if it ran to its end, else its error. Its figures are closed, and none is written."""
    _drop_figures()
    try:
        result = shell.run_cell(source, store_history=False, silent=True)
        error = result.error_before_exec or result.error_in_exec
    except BaseException as problem:  # such as a `KeyboardInterrupt` that the cell raises itself
        error = problem
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
    return "" if error is None else describe_error(error)


def describe_error(error: BaseException) -> str:
    """Return class and message of an exception, shortened."""
    kind = type(error).__name__
    try:
        message = str(error)[:LONGEST_ERROR]
    except BaseException as problem:
        message = f"its message cannot be shown ({type(problem).__name__})"
    return f"{kind}: {message}" if message else kind


def _drop_figures() -> None:
    """Let `savefig` write nothing: it is most of the time of many lessons, and no one sees these figures."""
    if figure := sys.modules.get("matplotlib.figure"):
        figure.Figure.savefig = lambda *arguments, **keywords: None
