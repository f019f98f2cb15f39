"""Publishing: executed lessons copied into the repository."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from helpers import files, paths
from helpers.course.cleaning import clean
from helpers.course.lessons import LessonFailed, find_code_cells, find_problems, read_notebook, show
from helpers.explorer_frames import LARGEST_FRAGMENT

LARGEST_NOTEBOOK = 1_000_000  # bytes; above it a repository viewer shows nothing

_FOLDERS = rf"{re.escape(str(paths.ROOT))}|/(?:home|root|Users|tmp|var|opt|usr|mnt)/|[A-Z]:\\"
_MACHINE_PATH = re.compile(rf"(?<![\w./:])(?:{_FOLDERS})[^\s'\"<>]*")


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
    """Write a finished `quick` run of seed 0 into the repository: the notebook, cleaned, and its figures and explorers.

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
    explorers = sorted((executed.parent / "explorers").glob("*.html"))
    for explorer in explorers:
        if (size := explorer.stat().st_size) > LARGEST_FRAGMENT:
            raise LessonFailed(f"{explorer.name} has {size:,} bytes, over {LARGEST_FRAGMENT:,}: render fewer values")
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
    (figures / "explorers").mkdir(exist_ok=True)
    for old in (figures / "explorers").glob(f"{executed.stem[:2]}_*.html"):
        old.unlink()
    for explorer in explorers:
        shutil.copyfile(explorer, figures / "explorers" / explorer.name)
    counts = f"figures: {len(new)}, explorers: {len(explorers)}"
    print(f"published {show(notebook)} ({size / 1e3:.0f} kB), {counts}", flush=True)
