"""Execution of notebooks: a line per cell in the terminal, and one folder for the files of a run.

papermill executes a notebook. This module adds one rule: a notebook under its final name ran to its end. The files of
a run are listed in `lessons`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import LocalHandler, papermill_io
from traitlets.config import Config

from helpers import files, paths
from helpers import identity as identities
from helpers.course import lessons
from helpers.course.lessons import DEFAULTS, LessonFailed, find_code_cells, show
from helpers.identity import Identity

NOT_SOLVED = "NotSolved"  # name of the error of a function whose task is open; see `helpers.tasks.unsolved`
KERNEL_STARTS = 3  # attempts: kernels that start at the same moment can race for a port

_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Progress:
    """Printer of a line per code cell: number, section and first line when it starts, seconds when it ends.

    The three methods are nbclient's hooks of the same moments; they are called for one notebook, in order.
    """

    total: int  # code cells in the notebook, without the cell of parameters that papermill adds
    number: int = 0  # of the running or last code cell, from 1
    section: str = ""  # the last heading passed
    started: float = field(default=0.0, repr=False)

    def on_cell_start(self, cell: NotebookNode, cell_index: int) -> None:
        """Remember the heading of a text cell."""
        headings = re.findall(r"^#+\s+(.+)$", cell.source, flags=re.MULTILINE) if cell.cell_type == "markdown" else []
        self.section = headings[-1] if headings else self.section

    def on_cell_execute(self, cell: NotebookNode, cell_index: int) -> None:
        """Print the start of the line, so that a long cell is visible while it runs."""
        is_injected = "injected-parameters" in cell.metadata.get("tags", [])
        self.number += not is_injected
        self.started = time.perf_counter()
        first_line = next((line for line in cell.source.splitlines() if line and not line.startswith("###")), "")
        place = "given" if is_injected else f"{self.number:3d}/{self.total}"
        print(
            f"  {place:>{4 + len(str(self.total))}}  {_fit(self.section, 34)}  {_fit(first_line, 40)}",
            end="",
            flush=True,
        )

    def on_cell_executed(self, cell: NotebookNode, cell_index: int, execute_reply: dict) -> None:
        """Print the end of the line."""
        failed = "  failed" if execute_reply["content"]["status"] == "error" else ""
        print(f"  {time.perf_counter() - self.started:6.1f} s{failed}", flush=True)

    def describe(self) -> str:
        """Return the cell that runs, or ran last, in words."""
        return f"code cell {self.number} of {self.total}" + (f" ({self.section})" if self.section else "")


def _fit(text: str, width: int) -> str:
    """Return `text` cut or padded to `width` characters."""
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


class WholeFiles(LocalHandler):
    """Handler that makes papermill replace a notebook completely or not at all: a full disk keeps its last state."""

    scheme = "whole:"

    def write(self, buf: str, path: str) -> None:
        """Write the text of a notebook."""
        files.write_text(Path(path.removeprefix(self.scheme)), buf)


papermill_io.register(WholeFiles.scheme, WholeFiles())


@dataclass(frozen=True)
class Execution:
    """One execution of a notebook, and the paths of its files."""

    notebook: NotebookNode
    stem: str  # name of the notebook in `folder`
    folder: Path
    profile: str
    parameters: Mapping[str, Any]  # replace the notebook's own values, in a cell below them
    working_folder: Path  # of the kernel

    @property
    def executed(self) -> Path:
        """Path of the notebook after a finished run."""
        return self.folder / f"{self.stem}.ipynb"

    @property
    def unfinished(self) -> Path:
        """Path of the notebook while it runs."""
        return self.folder / f"{self.stem}.unfinished.ipynb"

    @property
    def results(self) -> Path:
        """Path of the numbers that the notebook writes."""
        return self.folder / lessons.RESULTS


def run_lesson(
    path: Path, folder: Path, profile: str, parameters: Mapping[str, Any] = DEFAULTS, force: bool = False
) -> Path:
    """Run the lesson in `path` and return the path of the executed notebook in `folder`; see `run_notebook`."""
    notebook = lessons.read_notebook(path)
    lessons.read_parameters(notebook, path)  # a cell that is not valid Python is reported before the run starts
    with set_variable(paths.FRAMES_VARIABLE, "1"):
        return run_notebook(notebook, path.stem, folder, profile, parameters, force, working_folder=path.parent)


def run_notebook(
    notebook: NotebookNode,
    stem: str,
    folder: Path,
    profile: str,
    parameters: Mapping[str, Any] = DEFAULTS,
    force: bool = False,
    working_folder: Path | None = None,
) -> Path:
    """Run a notebook unless it is up to date, and return the path of the executed notebook in `folder`.

    Checkpoints in `folder` stay, so a lesson that was interrupted continues where its training stopped. The files of a
    finished run (notebook, results, figures) are removed first, so that all files in the folder are of one run.

    Args:
        stem: name of the notebook in `folder`.
        parameters: replace the notebook's own values, in a cell below them.
        working_folder: the kernel starts there; `lessons.NOTEBOOKS` if None.

    Raises:
        LessonFailed: a cell failed, the kernel died, the disk is full or the folder cannot be written, a widget's
            callback raised an error, or no valid results were written.
    """
    execution = Execution(notebook, stem, folder, profile, parameters, working_folder or lessons.NOTEBOOKS)
    if not force and lessons.is_up_to_date(notebook, execution.executed, profile, parameters):
        print(f"{stem} · {profile} · up to date", flush=True)
        return execution.executed
    print(" · ".join([stem, profile, *(f"{name} {value}" for name, value in parameters.items())]), flush=True)
    identity = lessons.identify_run(notebook, profile, parameters)
    if not force and execution.executed.exists():
        print(f"  out of date: {lessons.describe_changes(execution.executed, identity)}", flush=True)
    for name in ("papermill", "widgets"):  # of an earlier execution
        notebook.metadata.pop(name, None)
    _prepare_folder(execution)
    progress = Progress(total=sum(bool(cell.source.strip()) for cell in find_code_cells(notebook)))
    with _name_failures(execution, progress):
        finished = _execute(execution, progress)
        _check(execution, finished)
        _save(execution, finished, identity)
    return execution.executed


def _prepare_folder(execution: Execution) -> None:
    """Make the folder of an execution and remove notebook, results and figures of an earlier one.

    Raises:
        LessonFailed: the folder cannot be written.
    """
    try:
        execution.folder.mkdir(parents=True, exist_ok=True)
        for name in ("figures", "explorers"):
            shutil.rmtree(execution.folder / name, ignore_errors=True)
        for path in (execution.executed, execution.unfinished, execution.results):
            path.unlink(missing_ok=True)
    except OSError as error:
        folder = show(execution.folder)
        raise LessonFailed(f"{execution.stem}: its folder {folder} cannot be written: {error}") from None


@contextlib.contextmanager
def _name_failures(execution: Execution, progress: Progress) -> Iterator[None]:
    """Turn an error of the machinery into a `LessonFailed` that names the notebook and its cell."""
    remaining = f"The cells that ran are in {show(execution.unfinished)}"
    try:
        yield
    except PapermillExecutionError as error:
        if is_open(error.ename, error.evalue):
            message = error.evalue if error.ename == NOT_SOLVED else "this exercise has no solution yet"
            reason = f"{execution.stem} stops at {progress.describe()}: {message}"
            raise LessonFailed(reason, remaining=remaining) from None
        trace = _ANSI_COLOUR.sub("", "\n".join(error.traceback)) + "\n"
        reason = f"{execution.stem} failed in {progress.describe()}: {error.ename}: {error.evalue}"
        raise LessonFailed(reason, trace, remaining) from None
    except DeadKernelError:
        print(flush=True)
        reason = f"{execution.stem}: the kernel died in {progress.describe()}; out of memory?"
        raise LessonFailed(reason, remaining=remaining) from None
    except OSError as error:  # papermill saves after each cell
        print(flush=True)
        reason = f"{execution.stem} stopped in {progress.describe()}: {error}"
        raise LessonFailed(reason, remaining=remaining) from None


def is_open(kind: str, message: str) -> bool:
    """Return whether a cell stopped because a student has not solved a task or exercise yet.

    Args:
        kind: name of the exception's class.
    """
    return kind == NOT_SOLVED or (kind, message) == ("NotImplementedError", lessons.NO_SOLUTION)


def _execute(execution: Execution, progress: Progress) -> NotebookNode:
    """Return the executed notebook; papermill writes the cells that have run to `execution.unfinished`."""
    for attempt in range(1, KERNEL_STARTS + 1):
        try:
            with set_variable(paths.PROFILE_VARIABLE, execution.profile):  # for the kernel; a parameter adds a cell
                return papermill.execute_notebook(
                    execution.notebook,
                    f"{WholeFiles.scheme}{execution.unfinished}",
                    parameters=dict(execution.parameters) or None,
                    kernel_name="python3",
                    cwd=execution.working_folder,  # as Jupyter and nbval do
                    progress_bar=False,
                    config=Config(KernelManager={"transport_encryption": "auto"}),  # else each start prints a warning
                    coalesce_streams=True,  # sixty prints become one output, not sixty
                    on_cell_start=progress.on_cell_start,
                    on_cell_execute=progress.on_cell_execute,
                    on_cell_executed=progress.on_cell_executed,
                )
        except RuntimeError as error:
            if "kernel_info" not in str(error) or attempt == KERNEL_STARTS:
                raise
            print(f"the kernel died while it started, next attempt: {error}", flush=True)
            time.sleep(attempt)
    raise AssertionError("the last attempt returns or raises")


def _check(execution: Execution, finished: NotebookNode) -> None:
    """Check that an executed notebook is a finished run with valid results.

    Raises:
        LessonFailed: it is not; the message has all reasons.
    """
    problems = lessons.find_problems(finished)
    if not execution.results.exists():
        problems.append(f"it wrote no {lessons.RESULTS}")
    else:
        try:
            lessons.read_results(execution.results)
        except LessonFailed as failure:
            problems.append(failure.reason)
    if problems:
        remaining = f"The cells that ran are in {show(execution.unfinished)}"
        raise LessonFailed(f"{execution.stem} did not finish: {'; '.join(problems)}", remaining=remaining)


def _save(execution: Execution, finished: NotebookNode, identity: Identity) -> None:
    """Write a finished notebook under its final name, with a record of what made it."""
    finished.metadata["workbook"] = {
        "profile": execution.profile,
        "seed": lessons.find_seed(execution.notebook, execution.parameters),
        "digest": identities.digest(identity),
        "identity": identity,
    }
    files.write_text(execution.executed, nbformat.writes(finished))
    execution.unfinished.unlink()


@contextlib.contextmanager
def set_variable(name: str, text: str) -> Iterator[None]:
    """Set an environment variable and restore it at the end; papermill passes the kernel this process's environment."""
    before = os.environ.get(name)
    os.environ[name] = text
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
