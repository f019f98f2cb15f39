"""Lessons: finding, reading, executing and publishing their notebooks.

papermill executes a notebook. This module adds a line per cell in the terminal, one folder for the files of a run, and
a rule: a notebook under its final name ran to its end.

    data/runs/<lesson>/<profile>/
        <lesson>.ipynb              the executed notebook: whole, from one run, or absent
        <lesson>.unfinished.ipynb   the cells that a running, failed or killed run has executed so far
        results.json                written by the notebook's last cell
        figures/                    written by the notebook while it runs
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
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
from helpers.identity import Identity

HELPERS = paths.ROOT / "helpers"
COURSE = "course"  # the folder in HELPERS that no lesson imports: a change there makes no lesson stale
NOTEBOOKS = paths.ROOT / "notebooks"
FIGURES = paths.ROOT / "figures"
LARGEST_NOTEBOOK = 1_000_000  # bytes; above it a repository viewer shows nothing
HEADLINES = 8  # metrics shown per lesson; a notebook saves its headline numbers first
KERNEL_STARTS = 3  # tries: of kernels that start in one moment, one may take another's port
DEFAULTS: Mapping[str, Any] = MappingProxyType({})  # no parameter is given: the notebook's own values hold
LOADS: Mapping[str, str] = MappingProxyType({"04": "03", "08": "07"})
"""For a lesson's number, the number of the lesson whose trained models it loads. It runs after that lesson.

Lesson 6 is not here: it trains its own networks and loads none of lesson 5.
"""
NBFORMAT = 4  # major version of the notebook format that the workbook reads and writes

_TQDM_CLOCK = re.compile(r"\[\d\d:\d\d[<,]")
_ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FOLDERS = rf"{re.escape(str(paths.ROOT))}|/(?:home|root|Users|tmp|var|opt|usr|mnt)/|[A-Z]:\\"
_MACHINE_PATH = re.compile(rf"(?<![\w./:])(?:{_FOLDERS})[^\s'\"<>]*")


class LessonFailed(Exception):
    """A notebook cannot be read, did not run to its end, or cannot be published; the message names it and the cause.

    Attributes:
        reason: where and why.
        trace: traceback of the cell that failed, or "".
    """

    def __init__(self, reason: str, trace: str = "", remaining: str = ""):
        super().__init__(". ".join(part for part in (reason, remaining) if part))
        self.reason = reason
        self.trace = trace


@dataclass
class Progress:
    """Prints a line per code cell: number, section and first line when it starts, seconds when it ends.

    The three methods are nbclient's hooks of the same moments; they are called for one notebook, in order.
    """

    total: int  # code cells in the notebook, without the one that papermill puts the parameters in
    number: int = 0  # of the running or last code cell, from 1
    section: str = ""  # the last heading passed
    started: float = field(default=0.0, repr=False)

    def on_cell_start(self, cell: NotebookNode, cell_index: int) -> None:
        """Remembers the heading of a text cell."""
        headings = re.findall(r"^#+\s+(.+)$", cell.source, flags=re.MULTILINE) if cell.cell_type == "markdown" else []
        self.section = headings[-1] if headings else self.section

    def on_cell_execute(self, cell: NotebookNode, cell_index: int) -> None:
        """Begins the line, so that a long cell is seen while it runs."""
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
        """Ends the line."""
        failed = "  failed" if execute_reply["content"]["status"] == "error" else ""
        print(f"  {time.perf_counter() - self.started:6.1f} s{failed}", flush=True)

    def describe(self) -> str:
        """Returns the cell that runs, or ran last, in words."""
        return f"code cell {self.number} of {self.total}" + (f" ({self.section})" if self.section else "")


def _fit(text: str, width: int) -> str:
    """Returns `text` cut or padded to `width` characters."""
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def find_lessons(numbers: Sequence[str] = (), folder: Path | None = None) -> list[Path]:
    """Return the notebooks of `folder` in order, or those whose two-digit number or stem is in `numbers`.

    Args:
        folder: `NOTEBOOKS` if None.

    Raises:
        LessonFailed: there is no such lesson.
    """
    folder = folder or NOTEBOOKS
    lessons = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    chosen = [stem for stem in lessons if not numbers or stem in numbers or stem[:2] in numbers]
    unknown = [number for number in numbers if not any(number in (stem, stem[:2]) for stem in lessons)]
    if unknown or not chosen:
        there = ", ".join(lessons) or "none"
        raise LessonFailed(f"no lesson {', '.join(unknown) or 'at all'} in {show(folder)}; there are: {there}")
    return [lessons[stem] for stem in chosen]


def find_loaded(path: Path, lessons: Sequence[Path]) -> Path | None:
    """Return the lesson among `lessons` whose trained models the lesson `path` loads, or None."""
    number = LOADS.get(path.stem[:2])
    return next((lesson for lesson in lessons if lesson.stem[:2] == number), None)


def read_notebook(path: Path, keep_outputs: bool = True) -> NotebookNode:
    """Return the notebook in the file `path`, checked against the schema of its format.

    A byte order mark at the start of the file is ignored. Code cells without `outputs` or `execution_count` get the
    values of a cell that never ran.

    Args:
        keep_outputs: whether outputs are kept and checked; without them only sources and metadata have to be valid.

    Raises:
        LessonFailed: the file is missing, unreadable, empty, truncated, not UTF-8, not JSON, not a notebook, or a
            notebook of another major version. The message starts with `path`.
    """
    content = _read_json(path)
    if not isinstance(content, dict) or "nbformat" not in content or not {"cells", "worksheets"} & content.keys():
        raise LessonFailed(f"{path}: this JSON file is not a Jupyter notebook: it has no `nbformat` or no `cells`")
    version = content["nbformat"]
    if version != NBFORMAT or isinstance(version, bool) or not isinstance(content.get("nbformat_minor", 0), int):
        raise LessonFailed(
            f"{path}: the notebook has format {_shorten(repr(version), 40)}; only {NBFORMAT} can be read. Open it "
            "in a current JupyterLab and save it again under another name"
        )
    cells = content.get("cells")
    for cell in cells if isinstance(cells, list) else []:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            if not keep_outputs:
                cell["outputs"], cell["execution_count"] = [], None
            cell.setdefault("outputs", [])
            cell.setdefault("execution_count", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about cells without identifiers, which get some
            nbformat.validate(content, relax_add_props=True)
        notebook = nbformat.v4.to_notebook(content)
    except Exception as error:  # jsonschema's, and AttributeError or TypeError where values have other types
        raise LessonFailed(f"{path}: {_describe_violation(error)}") from None
    if not notebook.cells:
        raise LessonFailed(f"{path}: the notebook has no cells")
    for number, cell in enumerate(notebook.cells, start=1):
        task = cell.metadata.get("nbgrader", {})
        if not isinstance(task, dict):
            raise LessonFailed(f"{path}: cell {number} is not valid (field 'nbgrader'): {_shorten(repr(task))}")
        try:
            json.dumps(cell, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            character = ascii(error.object[error.start])
            raise LessonFailed(
                f"{path}: cell {number} contains {character}, half of a character (a lone surrogate), which cannot be "
                "written to a file. Type that character again"
            ) from None
    return notebook


def _read_json(path: Path) -> object:
    """Return the content of a JSON file; see `read_notebook` for the errors."""
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise LessonFailed(f"{path}: this is {kind}, not a notebook")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise LessonFailed(f"{path}: there is no such notebook") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        if isinstance(error, UnicodeDecodeError):
            reason = "the file is not text in UTF-8, so it is not a notebook"
        else:
            reason = f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
        raise LessonFailed(f"{path}: {reason}") from None
    if not text.strip():
        raise LessonFailed(f"{path}: the file is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        is_cut = text.lstrip().startswith("{") and (
            error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        )
        cause = "the file ends too early" if is_cut else "the file is not JSON, so it is not a notebook"
        raise LessonFailed(f"{path}: {cause} (line {error.lineno}: {error.msg})") from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits; brackets nested thousands deep
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise LessonFailed(f"{path}: the file is not JSON that can be read: {_shorten(reason)}") from None


def _describe_violation(error: Exception) -> str:
    """Return where and how a notebook violates the schema of its format."""
    place = list(getattr(error, "absolute_path", []))
    where = f"cell {place[1] + 1}" if place[:1] == ["cells"] and len(place) > 1 else "the notebook"
    field = next((f" (field {name!r})" for name in reversed(place) if isinstance(name, str) and name != "cells"), "")
    message = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
    return f"{where} is not valid{field}: {_shorten(message)}"


def _shorten(value: object, length: int = 160) -> str:
    """Return `value` as one line of at most `length` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else text[: length - 1] + "…"


class WholeFiles(LocalHandler):
    """Makes papermill write notebooks whole or not at all: on a full disk, the last state that found room stays."""

    scheme = "whole:"

    def write(self, buf: str, path: str) -> None:
        """Writes the text of a notebook."""
        files.write_text(Path(path.removeprefix(self.scheme)), buf)


papermill_io.register(WholeFiles.scheme, WholeFiles())


def find_code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Returns the notebook's code cells in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_parameters(notebook: NotebookNode) -> dict[str, Any]:
    """Return the names and default values of the notebook's parameters.

    They are the assignments in the first code cell tagged `parameters`, as papermill infers them: with or without a
    type, beside comments, docstrings and any other statements. A value is what JSON can hold, with lists for tuples. A
    default that is no plain literal, such as `1 / 128`, is given as its source text in angle brackets.

    Raises:
        LessonFailed: the cell is not valid Python.
    """
    cells = [cell for cell in find_code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    if not cells:
        return {}
    source = re.sub(r"^[%!].*$", "", cells[0].source, flags=re.MULTILINE)  # IPython's commands
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        reason = _shorten(error)
        raise LessonFailed(f"the parameters cell is not valid Python: {reason}; write lines like `seed = 0`") from None
    parameters = {}
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value):
                parameters[name] = _read_literal(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                parameters[name] = _read_literal(value)
    return parameters


def _read_literal(expression: ast.expr) -> Any:
    """Return the value of a plain literal, or else its source text in angle brackets."""
    try:
        return to_json(ast.literal_eval(expression))
    except (ValueError, TypeError, RecursionError):
        return f"<{ast.unparse(expression)}>"


def to_json(value: Any) -> Any:
    """Return a Python literal as JSON has it, with lists for tuples; papermill can pass exactly these values.

    Raises:
        TypeError: JSON has no such value: a set, bytes, a complex number, a dict with keys that are not text.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple():
            return [to_json(item) for item in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: to_json(item) for key, item in value.items()}
    raise TypeError(f"JSON has no value {value!r}")


def describe_run(notebook: NotebookNode, profile: str, parameters: Mapping[str, Any] = DEFAULTS) -> Identity:
    """Return the identity of a run: everything that its results depend on.

    That is: all parameters, given or the notebook's; the profile; the environment's variables `WORKBOOK_…`; source and
    tags of each cell, but no output, so publishing a run into `notebooks/` leaves it up to date; and the code that a
    lesson can import, with the locked versions of the packages. Cells and files are represented by digests.
    """
    cells = [
        identities.digest({"type": cell.cell_type, "source": cell.source, "tags": cell.metadata.get("tags", [])})[:16]
        for cell in notebook.cells
    ]
    helpers = [path for pattern in ("*.py", "*.mplstyle") for path in sorted(HELPERS.rglob(pattern))]
    sources = [path for path in helpers if not path.is_relative_to(HELPERS / COURSE)]
    code = [*sources, paths.ROOT / "requirements.lock"]
    return {
        "parameters": read_parameters(notebook) | dict(parameters) | {"profile": profile},
        "environment": read_settings(),
        "cells": {str(number): digest for number, digest in enumerate(cells, start=1)},
        "code": {path.relative_to(paths.ROOT).as_posix(): identities.digest_file(path) for path in code},
    }


def compute_digest(notebook: NotebookNode, profile: str, parameters: Mapping[str, Any] = DEFAULTS) -> str:
    """Return the digest of `describe_run`: runs with the same digest have the same results."""
    return identities.digest(describe_run(notebook, profile, parameters))


def read_settings() -> dict[str, str]:
    """Returns the environment's variables `WORKBOOK_…` that can change what a lesson computes, such as its photos."""
    elsewhere = {paths.PROFILE_VARIABLE, paths.RUNS_VARIABLE}  # a parameter, and a place
    return {name: text for name, text in os.environ.items() if name.startswith("WORKBOOK_") and name not in elsewhere}


def find_problems(notebook: NotebookNode) -> list[str]:
    """Returns why an executed notebook did not really finish; empty when it did.

    papermill's own status does not tell: it calls the cells after a killed kernel "completed", and an exception that a
    widget's callback raised ends in the widget's state, not in the cell.
    """
    problems = []
    for number, cell in enumerate(find_code_cells(notebook), start=1):
        tags = cell.metadata.get("tags", [])
        if cell.source.strip() and cell.execution_count is None:
            problems.append(f"code cell {number} never ran")
        if "raises-exception" not in tags:
            errors = [output for output in cell.outputs if output.output_type == "error"]
            problems += [f"code cell {number}: {error.ename}: {error.evalue}" for error in errors]
    widgets = notebook.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {})
    for model in widgets.get("state", {}).values():
        errors = [output for output in model["state"].get("outputs", []) if output["output_type"] == "error"]
        problems += [f"inside a widget: {error['ename']}: {error['evalue']}" for error in errors]
    return problems


def is_up_to_date(
    notebook: NotebookNode, executed: Path, profile: str, parameters: Mapping[str, Any] = DEFAULTS
) -> bool:
    """Returns whether `executed` and the `results.json` beside it come from this very notebook, run with these."""
    seed = (read_parameters(notebook) | dict(parameters)).get("seed", 0)
    return executed.exists() and is_run(executed, compute_digest(notebook, profile, parameters), seed)


def is_run(executed: Path, digest: str, seed: int) -> bool:
    """Returns whether `executed` and the `results.json` beside it are there, of the run with this digest and seed."""
    try:
        recorded = _read(executed)["metadata"]["workbook"]
        # a lesson that is run by hand leaves its results here, too
        return recorded["digest"] == digest and _read(executed.with_name("results.json")).get("seed", 0) == seed
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # missing, damaged, or nobody's
        return False


def describe_changes(executed: Path, identity: Identity) -> str:
    """Return in one line why the executed notebook is not the run with this identity and its results.

    Args:
        executed: an existing notebook that is not up to date.
    """
    try:
        recorded = _read(executed)["metadata"]["workbook"]["identity"]
        changes = identities.describe_differences(recorded, identity)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # damaged, or written by another program
        return f"{executed.name} does not say what made it"
    return changes or "results.json is missing, damaged or of another seed"


def run_lesson(
    path: Path, folder: Path, profile: str, parameters: Mapping[str, Any] = DEFAULTS, force: bool = False
) -> Path:
    """Returns the path of the executed notebook in `folder`, after running the lesson in `path`: see `run_notebook`."""
    notebook = read_notebook(path)
    try:
        read_parameters(notebook)
    except LessonFailed as error:
        raise LessonFailed(f"{path}: {error}") from None
    return run_notebook(notebook, path.stem, folder, profile, parameters, force, working_folder=path.parent)


def run_notebook(
    notebook: NotebookNode,
    stem: str,
    folder: Path,
    profile: str,
    parameters: Mapping[str, Any] = DEFAULTS,
    force: bool = False,
    working_folder: Path = NOTEBOOKS,
) -> Path:
    """Returns the path of the executed notebook in `folder`, after running it unless it is up to date.

    Checkpoints in `folder` stay, so a lesson that was interrupted continues where its training stopped; what tells a
    finished run (notebook, results, figures) is removed first, so that what lies there is of one run.

    Args:
        stem: names the notebook in `folder`.
        parameters: replace the notebook's own values, in a cell below them.
        working_folder: the kernel starts there.

    Raises:
        LessonFailed: a cell failed, the kernel died, the disk is full, a widget swallowed an error, or no results were
            written.
    """
    executed, unfinished = folder / f"{stem}.ipynb", folder / f"{stem}.unfinished.ipynb"
    if not force and is_up_to_date(notebook, executed, profile, parameters):
        print(f"{stem} · {profile} · up to date", flush=True)
        return executed
    print(" · ".join([stem, profile, *(f"{name} {value}" for name, value in parameters.items())]), flush=True)
    identity = describe_run(notebook, profile, parameters)
    if not force and executed.exists():
        print(f"  out of date: {describe_changes(executed, identity)}", flush=True)
    progress = Progress(total=sum(bool(cell.source.strip()) for cell in find_code_cells(notebook)))
    remaining = f"The cells that ran are in {show(unfinished)}"
    for name in ("papermill", "widgets"):  # of an earlier execution
        notebook.metadata.pop(name, None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "figures", ignore_errors=True)
        for leftover in (executed, unfinished, folder / "results.json"):
            leftover.unlink(missing_ok=True)
        finished = _execute(notebook, unfinished, profile, parameters, working_folder, progress)
        problems = find_problems(finished)
        if not (folder / "results.json").exists():
            problems.append("it wrote no results.json")
        if problems:
            raise LessonFailed(f"{stem} did not finish: {'; '.join(problems)}", remaining=remaining)
        seed = (read_parameters(notebook) | dict(parameters)).get("seed", 0)
        made_by = {"profile": profile, "seed": seed, "digest": identities.digest(identity), "identity": identity}
        finished.metadata["workbook"] = made_by
        files.write_text(executed, nbformat.writes(finished))
        unfinished.unlink()
    except PapermillExecutionError as error:
        trace = _ANSI_COLOUR.sub("", "\n".join(error.traceback)) + "\n"
        reason = f"{stem} failed in {progress.describe()}: {error.ename}: {error.evalue}"
        raise LessonFailed(reason, trace, remaining) from None
    except DeadKernelError:
        print(flush=True)
        reason = f"{stem}: the kernel died in {progress.describe()}; out of memory?"
        raise LessonFailed(reason, remaining=remaining) from None
    except OSError as error:  # papermill saves after each cell
        print(flush=True)
        raise LessonFailed(f"{stem} stopped in {progress.describe()}: {error}", remaining=remaining) from None
    return executed


def _execute(
    notebook: NotebookNode,
    unfinished: Path,
    profile: str,
    parameters: Mapping[str, Any],
    working_folder: Path,
    progress: Progress,
) -> NotebookNode:
    """Returns the executed notebook; papermill keeps what it has so far in `unfinished`."""
    for attempt in range(1, KERNEL_STARTS + 1):
        try:
            with set_variable(paths.PROFILE_VARIABLE, profile):  # for the kernel; a parameter would add a cell
                return papermill.execute_notebook(
                    notebook,
                    f"{WholeFiles.scheme}{unfinished}",
                    parameters=dict(parameters) or None,
                    kernel_name="python3",
                    cwd=working_folder,  # as Jupyter and nbval do
                    progress_bar=False,
                    config=Config(
                        KernelManager={"transport_encryption": "auto"}
                    ),  # or each kernel's start prints a warning
                    coalesce_streams=True,  # sixty prints become one output, not sixty
                    on_cell_start=progress.on_cell_start,
                    on_cell_execute=progress.on_cell_execute,
                    on_cell_executed=progress.on_cell_executed,
                )
        except RuntimeError as error:
            if "kernel_info" not in str(error) or attempt == KERNEL_STARTS:
                raise
            print(f"the kernel died before it answered, next try: {error}", flush=True)
            time.sleep(attempt)
    raise AssertionError("the last try returns or raises")


@contextlib.contextmanager
def set_variable(name: str, text: str) -> Iterator[None]:
    """Set an environment variable and restore it at the end; papermill passes a kernel no other environment."""
    before = os.environ.get(name)
    os.environ[name] = text
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def clean(notebook: NotebookNode) -> NotebookNode:
    """Returns an executed notebook as it is committed: sources, outputs, counts and ids; no trace of the machinery.

    A progress bar needs its widget's state to show more than 0 %, so the bars of measurement cells are dropped; nbval
    does not compare these cells.
    """
    from nbstripout import strip_output

    keys = ("papermill", "widgets", "workbook")
    cell_keys = ("papermill", "execution")
    extra_keys = [f"metadata.{key}" for key in keys] + [f"cell.metadata.{key}" for key in cell_keys]
    notebook = strip_output(notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=extra_keys)
    for cell in notebook.cells:
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]  # papermill gives every cell an empty list
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            is_bar = [
                "application/vnd.jupyter.widget-view+json" in output.get("data", {})
                and _TQDM_CLOCK.search(output.data.get("text/plain", ""))
                for output in cell.outputs
            ]
            cell.outputs = [output for output, bar in zip(cell.outputs, is_bar, strict=True) if not bar]
    return notebook


def find_machine_paths(notebook: NotebookNode) -> list[str]:
    """Returns the absolute paths in the notebook's outputs, each with its cell: elsewhere they mean nothing."""
    machine_paths = []
    for number, cell in enumerate(find_code_cells(notebook), start=1):
        for output in cell.outputs:
            data = output.get("data", {})
            texts = [output.get("text", ""), *(data[kind] for kind in data if kind.startswith("text/"))]
            machine_paths += [f"code cell {number}: {path}" for text in texts for path in _MACHINE_PATH.findall(text)]
    return machine_paths


def publish(executed: Path, notebook: Path, figures: Path) -> None:
    """Writes a finished `quick` run of seed 0 into the repository: the notebook, cleaned, and the lesson's figures.

    Raises:
        LessonFailed: the run is of another budget or seed, shows this machine's paths or is too large; nothing is
            written then.
    """
    finished = read_notebook(executed)
    recorded = finished.metadata.get("workbook", {})
    if (recorded.get("profile"), recorded.get("seed")) != ("quick", 0) or find_problems(finished):
        raise LessonFailed(f"{show(executed)} is not a finished run at profile quick and seed 0: it is not published")
    cleaned = clean(finished)
    if machine_paths := find_machine_paths(cleaned):
        raise LessonFailed(f"{executed.stem} shows paths of this machine: {'; '.join(machine_paths)}")
    text = nbformat.writes(cleaned) + "\n"
    if (size := len(text.encode())) > LARGEST_NOTEBOOK:
        raise LessonFailed(f"{executed.stem} has {size:,} bytes, over {LARGEST_NOTEBOOK:,}: make its figures smaller")
    files.write_text(notebook, text)
    new = sorted((executed.parent / "figures").glob("*.png"))
    figures.mkdir(exist_ok=True)
    for old in figures.glob(f"{executed.stem[:2]}_*.png"):
        old.unlink()
    for figure in new:
        shutil.copyfile(figure, figures / figure.name)
    print(f"published {show(notebook)} ({size / 1e3:.0f} kB), figures: {len(new)}", flush=True)


def summarise(executed: Sequence[Path]) -> str:
    """Returns where each run's notebook, figures and results lie, and its headline numbers."""
    lines = []
    for path in executed:
        results = _read(path.with_name("results.json"))
        num_figures = len(list((path.parent / "figures").glob("*.png")))
        lines += ["", f"{path.stem} · {results['profile']} · seed {results['seed']} · {results['device']}"]
        lines += [f"  notebook  {show(path)}", f"  results   {show(path.with_name('results.json'))}"]
        lines += [f"  figures   {show(path.parent / 'figures')}/ ({num_figures})"] if num_figures else []
        metrics = list(results["metrics"].items())
        lines += [f"    {name:<36} {value:10.4g}" for name, value in metrics[:HEADLINES]]
        lines += [f"    … and {len(metrics) - HEADLINES} more in results.json"] if len(metrics) > HEADLINES else []
    return "\n".join(lines)


def _read(path: Path) -> dict:
    """Returns the content of a `results.json`, or of a notebook, unchecked: that is many times as fast."""
    return json.loads(path.read_text(encoding="utf-8"))


def show(path: Path) -> str:
    """Return `path` for the terminal: relative to the workbook's folder if it lies inside."""
    return str(path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path)
