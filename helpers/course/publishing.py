"""Publishing: executed lessons copied into the repository, and the summary of a run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers import files, paths
from helpers.course.lessons import (
    RESULTS,
    LessonFailed,
    find_code_cells,
    find_problems,
    read_notebook,
    read_results,
    shorten,
    show,
)

LARGEST_NOTEBOOK = 1_000_000  # bytes; above it a repository viewer shows nothing
HEADLINES = 8  # metrics shown per lesson; a notebook saves its headline numbers first

_TQDM_CLOCK = re.compile(r"\[\d\d:\d\d[<,]")
_FOLDERS = rf"{re.escape(str(paths.ROOT))}|/(?:home|root|Users|tmp|var|opt|usr|mnt)/|[A-Z]:\\"
_MACHINE_PATH = re.compile(rf"(?<![\w./:])(?:{_FOLDERS})[^\s'\"<>]*")


def clean(notebook: NotebookNode) -> NotebookNode:
    """Return an executed notebook as it is committed: sources, outputs, counts and ids, without metadata of the run.

    Progress bars of measurement cells are removed: without the state of its widget a bar shows 0 %. nbval does not
    compare these cells.
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
    """Return the absolute paths in the notebook's outputs, each with its cell; no other machine has them."""
    machine_paths = []
    for number, cell in enumerate(find_code_cells(notebook), start=1):
        for output in cell.outputs:
            data = output.get("data", {})
            texts = [output.get("text", ""), *(data[kind] for kind in data if kind.startswith("text/"))]
            machine_paths += [f"code cell {number}: {path}" for text in texts for path in _MACHINE_PATH.findall(text)]
    return machine_paths


def publish(executed: Path, notebook: Path, figures: Path) -> None:
    """Write a finished `quick` run of seed 0 into the repository: the notebook, cleaned, and the lesson's figures.

    Raises:
        LessonFailed: the run has another profile or seed, shows paths of this machine or is too large; nothing is
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
    """Return for each run the places of its notebook, results and figures, and its headline numbers.

    Raises:
        LessonFailed: the results of a run are missing or damaged.
    """
    lines = []
    for path in executed:
        results = read_results(path.with_name(RESULTS))
        num_figures = len(list((path.parent / "figures").glob("*.png")))
        lines += ["", f"{path.stem} · {results.profile} · seed {results.seed} · {results.device}"]
        lines += [f"  notebook  {show(path)}", f"  results   {show(path.with_name(RESULTS))}"]
        if num_figures:
            lines.append(f"  figures   {show(path.parent / 'figures')}/ ({num_figures})")
        metrics = list(results.metrics.items())
        lines += [f"    {name:<36} {_show_number(value)}" for name, value in metrics[:HEADLINES]]
        if len(metrics) > HEADLINES:
            lines.append(f"    … and {len(metrics) - HEADLINES} more in {RESULTS}")
    return "\n".join(lines)


def _show_number(value: object) -> str:
    """Return a number with four digits, in a column of ten characters; anything else as short text."""
    return f"{value:10.4g}" if isinstance(value, int | float) else f"{shorten(value, 40):>10}"
