"""Lessons: finding and checking their notebooks, their parameters, and the identity and results of a run.

    data/runs/<lesson>/<profile>/
        <lesson>.ipynb              the executed notebook: complete, from one run, or absent
        <lesson>.unfinished.ipynb   the cells that a running, failed or killed run has executed so far
        results.json                written by the notebook's last cell
        figures/                    written by the notebook while it runs

`execution` writes these files, `publishing` copies them into the repository.
"""

from __future__ import annotations

import ast
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nbformat
from nbformat import NotebookNode

from helpers import identity as identities
from helpers import paths
from helpers.identity import Identity

HELPERS = paths.ROOT / "helpers"
COURSE = "course"  # the folder in HELPERS that no lesson imports: a change there makes no lesson stale
COMPILED_CHECKS = HELPERS / "tasks" / "compiled_checks"  # only a student's copy has this folder
NOTEBOOKS = paths.ROOT / "notebooks"
FIGURES = paths.ROOT / "figures"
RESULTS = "results.json"  # name of the file with the numbers of a run
DEFAULTS: Mapping[str, Any] = MappingProxyType({})  # no parameter is given: the notebook's own values are used
LOADS: Mapping[str, str] = MappingProxyType({"04": "03", "08": "07"})
"""For a lesson's number, the number of the lesson whose trained models it loads. It runs after that lesson.

Lesson 6 is not here: it trains its own networks and loads none of lesson 5.
"""
NO_SOLUTION = "no solution yet"  # message of the error that a student's empty exercise raises
NBFORMAT = 4  # major version of the notebook format that the workbook reads and writes


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
        names = ", ".join(lessons) or "none"
        raise LessonFailed(f"no lesson {', '.join(unknown) or 'at all'} in {show(folder)}; it holds {names}")
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
            f"{path}: the notebook has format {shorten(repr(version), 40)}; only {NBFORMAT} can be read. Open it "
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
            raise LessonFailed(f"{path}: cell {number} is not valid (field 'nbgrader'): {shorten(repr(task))}")
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
        raise LessonFailed(f"{path}: the file is not JSON that can be read: {shorten(reason)}") from None


def _describe_violation(error: Exception) -> str:
    """Return where and how a notebook violates the schema of its format."""
    place = list(getattr(error, "absolute_path", []))
    where = f"cell {place[1] + 1}" if place[:1] == ["cells"] and len(place) > 1 else "the notebook"
    field = next((f" (field {name!r})" for name in reversed(place) if isinstance(name, str) and name != "cells"), "")
    message = getattr(error, "message", "") or f"{type(error).__name__}: {error}"
    return f"{where} is not valid{field}: {shorten(message)}"


def find_code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the notebook's code cells in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_parameters(notebook: NotebookNode, path: Path | None = None) -> dict[str, Any]:
    """Return the names and default values of the notebook's parameters.

    They are the assignments in the first code cell tagged `parameters`, as papermill infers them: with or without a
    type, beside comments, docstrings and any other statements. A value is what JSON can hold, with lists for tuples. A
    default that is no plain literal, such as `1 / 128`, is given as its source text in angle brackets.

    Args:
        path: file of the notebook, which the error names.

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
        place = f"{path}: " if path else ""
        raise LessonFailed(
            f"{place}the parameters cell is not valid Python: {shorten(error)}; write lines like `seed = 0`"
        ) from None
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


def identify_run(notebook: NotebookNode, profile: str, parameters: Mapping[str, Any] = DEFAULTS) -> Identity:
    """Return the identity of a run: everything that its results depend on.

    That is: all parameters, given or the notebook's; the profile; the environment's variables `WORKBOOK_…`; source and
    tags of each cell, but no output, so publishing a run into `notebooks/` leaves it up to date; and the code that a
    lesson can import, with the locked versions of the packages, a student's solutions of earlier lessons, and the
    published results that it shows. Cells and files are represented by digests.
    """
    cells = [
        identities.digest({"type": cell.cell_type, "source": cell.source, "tags": cell.metadata.get("tags", [])})[:16]
        for cell in notebook.cells
    ]
    helpers = [path for pattern in ("*.py", "*.mplstyle") for path in sorted(HELPERS.rglob(pattern))]
    sources = [path for path in helpers if not path.is_relative_to(HELPERS / COURSE)]
    code = [*sources, *find_solutions(notebook), *find_published(notebook), paths.ROOT / "requirements.lock"]
    return {
        "parameters": read_parameters(notebook) | dict(parameters) | {"profile": profile},
        "environment": read_settings(),
        "cells": {str(number): digest for number, digest in enumerate(cells, start=1)},
        "code": {path.relative_to(paths.ROOT).as_posix(): identities.digest_file(path) for path in code},
    }


def find_published(notebook: NotebookNode) -> list[Path]:
    """Return the files of published results that a lesson shows: those that a code cell names as text."""
    code = "\n".join(cell.source for cell in find_code_cells(notebook))
    return [path for path in sorted(paths.RESULTS.glob("*.json")) if f'"{path.stem}"' in code]


def find_solutions(notebook: NotebookNode) -> list[Path]:
    """Return the student's saved solutions that a lesson uses: those of the lessons before the one it names.

    A lesson names itself in `tasks.use_saved("03")`. The instructor's workbook uses no saved solutions.
    """
    used = [re.search(r"""\buse_saved\(["'](\d\d)["']\)""", cell.source) for cell in find_code_cells(notebook)]
    numbers = [match[1] for match in used if match]
    solutions = []
    for path in sorted(COMPILED_CHECKS.glob("*.json")) if numbers else []:
        task = json.loads(path.read_text(encoding="utf-8"))
        solution = paths.DATA / "solutions" / f"{path.stem}.py"
        if int(task["number"].split(".")[0]) < int(numbers[0]) and solution.is_file():
            solutions.append(solution)
    return solutions


def compute_digest(notebook: NotebookNode, profile: str, parameters: Mapping[str, Any] = DEFAULTS) -> str:
    """Return the digest of `identify_run`: runs with the same digest have the same results."""
    return identities.digest(identify_run(notebook, profile, parameters))


def read_settings() -> dict[str, str]:
    """Return the environment's variables `WORKBOOK_…` that can change what a lesson computes, such as its photos."""
    excluded = {paths.PROFILE_VARIABLE, paths.RUNS_VARIABLE, paths.FRAMES_VARIABLE}  # no result depends on them
    return {name: text for name, text in os.environ.items() if name.startswith("WORKBOOK_") and name not in excluded}


def find_problems(notebook: NotebookNode) -> list[str]:
    """Return the reasons why an executed notebook is not a finished run; empty if it is one.

    papermill's status is not enough: the cells after a killed kernel are "completed" there, and an exception in a
    widget's callback is stored in the state of the widget, not in the cell.
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


@dataclass(frozen=True)
class Results:
    """Numbers of a run, as its `results.json` holds them."""

    profile: str = ""
    seed: int = 0
    device: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)  # by name, headline numbers first


_FIELDS = {
    "profile": (str, "a text"),
    "seed": (int, "a whole number"),
    "device": (str, "a text"),
    "metrics": (dict, "an object of numbers by name"),
}


def read_results(path: Path) -> Results:
    """Return the content of a `results.json`; a field that it lacks has the default value of `Results`.

    Raises:
        LessonFailed: the file cannot be read, is not a JSON object, or a field has another type; the message names it.
    """
    remedy = "`save_results` in the last cell of a lesson writes this file: run the lesson again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LessonFailed(f"{show(path)} cannot be read ({error.strerror or error}); {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise LessonFailed(f"{show(path)} is damaged ({shorten(error, 100)}); {remedy}") from None
    if not isinstance(content, dict):
        raise LessonFailed(f"{show(path)} holds no JSON object but {shorten(repr(content), 40)}; {remedy}")
    for name, (kind, words) in _FIELDS.items():
        value = content.get(name, kind())
        if not isinstance(value, kind) or isinstance(value, bool):
            raise LessonFailed(f"{show(path)}: {name!r} is {shorten(repr(value), 40)}, not {words}; {remedy}")
    return Results(**{name: content[name] for name in _FIELDS if name in content})


def read_metadata(executed: Path) -> dict[str, Any]:
    """Return the metadata of a notebook, {} if it cannot be read.

    The cells are not checked, which makes this many times as fast as `read_notebook`.
    """
    try:
        content = json.loads(executed.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    metadata = content.get("metadata") if isinstance(content, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _read_record(executed: Path) -> dict[str, Any]:
    """Return what `execution` wrote into an executed notebook about its run; {} for any other notebook."""
    record = read_metadata(executed).get("workbook")
    return record if isinstance(record, dict) else {}


def find_seed(notebook: NotebookNode, parameters: Mapping[str, Any] = DEFAULTS) -> int:
    """Return the seed of a run: the given one, or else that of the notebook, or else 0."""
    return (read_parameters(notebook) | dict(parameters)).get("seed", 0)


def is_up_to_date(
    notebook: NotebookNode, executed: Path, profile: str, parameters: Mapping[str, Any] = DEFAULTS
) -> bool:
    """Return whether `executed` and its results come from this notebook, run with this profile and these parameters."""
    if not executed.exists():
        return False
    return is_run(executed, compute_digest(notebook, profile, parameters), find_seed(notebook, parameters))


def is_run(executed: Path, digest: str, seed: int) -> bool:
    """Return whether `executed` and the `results.json` beside it are files of the run with this digest and seed."""
    if _read_record(executed).get("digest") != digest:
        return False
    try:
        # a lesson that is run by hand writes its results into this folder, too
        return read_results(executed.with_name(RESULTS)).seed == seed
    except LessonFailed:
        return False


def describe_changes(executed: Path, identity: Identity) -> str:
    """Return in one line why the executed notebook is not the run with this identity and its results.

    Args:
        executed: an existing notebook that is not up to date.
    """
    recorded = _read_record(executed).get("identity")
    if not isinstance(recorded, dict):  # damaged, or written by another program
        return f"{executed.name} has no record of what made it"
    changes = identities.describe_differences(recorded, identity)
    return changes or f"{RESULTS} is missing, damaged or of another seed"


def shorten(value: object, length: int = 160) -> str:
    """Return `value` as one line of at most `length` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def show(path: Path) -> str:
    """Return `path` for the terminal: relative to the workbook's folder if it lies inside."""
    return str(path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path)
