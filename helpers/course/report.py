"""Writes a report per assignment, as HTML and as PDF (command: `workbook report`).

A report is the executed lessons one after another: their text, and whatever text cells a reader has added, figures,
tables and numbers. In the HTML file code is folded; on paper it is left out. pandoc reads the notebooks and writes
both, typst sets the PDF; both come as wheels, and neither needs LaTeX, a browser or a network. The HTML file holds its
pictures itself, and its formulas are MathML, which browsers draw without a script.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pypandoc
import typst
from nbformat import NotebookNode

from helpers import files, paths
from helpers.course.lessons import LessonFailed, find_lessons, find_problems, is_up_to_date, read_notebook, show
from helpers.course.publishing import clean

REPORTS = paths.DATA / "reports"
STYLE = Path(__file__).with_name("report.css")
LAYOUT = Path(__file__).with_name("report.typ")
FULL_WIDTH = 730  # pixels of a figure that fills the width of a page; a smaller one is smaller in proportion
_NAVIGATION = re.compile(r"^.*\]\(\.\./README\.md\).*$", flags=re.MULTILINE)  # from file to file, not in a report
_REMOTE_PICTURE = re.compile(r"!\[([^\]]*)\]\(\s*<?\w+://[^)]*\)")
_REMOTE_TAG = re.compile(r"<(?:img|script|link|iframe|video|audio|embed|object)\b[^>]*://[^>]*>", flags=re.IGNORECASE)

Document = dict  # pandoc's: {"blocks": [...], ...}
Block = dict  # one element of it: {"t": type, "c": content}


@dataclass(frozen=True)
class Assignment:
    """What one report is about."""

    name: str  # of its files
    title: str
    lessons: tuple[str, ...]  # numbers


ASSIGNMENTS = (
    Assignment("detection_and_keypoints", "Shapes and points", ("01", "02", "03", "04", "05", "06")),
    Assignment("digits", "House numbers", ("07", "08")),
)


def find_executed(path: Path, profile: str) -> tuple[NotebookNode, str]:
    """Returns a lesson as it ran, and where that lies.

    A run at `profile` counts if it is of the lesson as it stands; or else the outputs that are saved in the lesson.
    """
    lesson = read_notebook(path)
    run = paths.RUNS / path.stem / profile / path.name
    if is_up_to_date(lesson, run, profile):
        return read_notebook(run), f"the run at {profile}"
    problems = find_problems(lesson)
    return lesson, "its saved outputs" + (f", but {'; '.join(problems)}" if problems else "")


def merge(notebooks: Sequence[NotebookNode]) -> NotebookNode:
    """Returns one notebook with the cells of all, and of their outputs what can be read on paper.

    A source that a cell shows becomes a code cell below it. Pictures from elsewhere become their text: neither who
    makes a report nor who reads it may need a network.
    """
    cells = []
    for notebook in map(clean, notebooks):
        notebook.cells[0].source = _NAVIGATION.sub("", notebook.cells[0].source)
        for cell in notebook.cells:
            cells.append(cell)
            if cell.cell_type == "markdown":
                cell.source = _REMOTE_TAG.sub("", _REMOTE_PICTURE.sub(r"\1", cell.source))
            elif cell.cell_type == "code":
                sources = [output.data["text/plain"] for output in cell.outputs if _is_source(output)]
                cell.outputs = [output for output in cell.outputs if _is_legible(output)]
                cells += [nbformat.v4.new_code_cell(source.strip()) for source in sources]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata=notebooks[0].metadata)


def _is_source(output: NotebookNode) -> bool:
    """Returns whether an output is highlighted code, as `runtime.show_source` displays it."""
    return "text/latex" in output.get("data", {}) and "highlight" in output.data.get("text/html", "")


def _is_legible(output: NotebookNode) -> bool:
    """Returns whether an output is a result that needs no kernel: neither code nor a widget nor a warning."""
    widget = "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    return not (widget or _is_source(output) or output.get("name") == "stderr")


def fold_code(source: Block) -> list[Block]:
    """Returns a block of Python for the screen: one line that opens it."""
    opened, closed = "<details><summary>Code</summary>", "</details>"
    return [{"t": "RawBlock", "c": ["html", opened]}, source, {"t": "RawBlock", "c": ["html", closed]}]


def leave_out_code(source: Block) -> list[Block]:
    """Returns what paper shows of a block of Python: nothing."""
    return []


def open_cells(document: Document, treat: Callable[[Block], list[Block]]) -> Document:
    """Returns the document without the frames of its cells, and with `treat` of the Python in its code cells."""
    blocks = []
    for cell in document["blocks"]:
        framed = cell["t"] == "Div" and "cell" in cell["c"][0][1]
        is_code = framed and "code" in cell["c"][0][1]
        for part in cell["c"][1] if framed else [cell]:
            inside = part["c"][1] if part["t"] == "Div" else [part]
            is_source = [one["t"] for one in inside] == ["CodeBlock"] and "python" in inside[0]["c"][0][1]
            blocks += treat(inside[0]) if is_code and is_source else [part]
    return document | {"blocks": blocks}


def settle_links(document: Document, folder: Path, anchors: dict[str, str]) -> None:
    """Changes links and pictures so that the report needs nothing beside it.

    Links to lessons in the report lead to their headings; links to other files become their text, and so do pictures
    that are not there. Pictures are found in `folder` and get a width.

    Args:
        anchors: file name of a lesson -> identifier of its heading.
    """

    def settle(value: object) -> object:
        if isinstance(value, list):
            settled = [settle(one) for one in value]
            return [part for one in settled for part in (one["c"] if _is_loose(one) else [one])]
        if not isinstance(value, dict):
            return value
        value = {key: settle(one) for key, one in value.items()}
        if value.get("t") == "Link":
            target = value["c"][2][0]
            if target in anchors:
                value["c"][2][0] = f"#{anchors[target]}"
            elif "://" not in target and not target.startswith(("#", "mailto:")):
                return {"t": "Loose", "c": value["c"][1]}
        if value.get("t") == "Image":
            picture = folder / value["c"][2][0]
            if not picture.is_file():
                return {"t": "Loose", "c": value["c"][1]}
            value["c"][0][2] = [["width", f"{measure_width(picture):.0%}"]]
        return value

    document["blocks"] = settle(document["blocks"])


def _is_loose(value: object) -> bool:
    """Returns whether `value` is what is left of a link: text that belongs into the list around it."""
    return isinstance(value, dict) and value.get("t") == "Loose"


def measure_width(picture: Path) -> float:
    """Returns the share of a page's width that a picture takes: 1 for all but small PNG files."""
    with open(picture, "rb") as file:
        start = file.read(24)
    width = struct.unpack(">I", start[16:20])[0] if start.startswith(b"\x89PNG") else FULL_WIDTH
    return min(1.0, width / FULL_WIDTH)


def find_anchors(document: Document, lesson_paths: Sequence[Path]) -> dict[str, str]:
    """Returns the identifier of each lesson's heading, by the lesson's file name."""
    headings = [part for block in document["blocks"] if block["t"] == "Div" for part in block["c"][1]]
    first = [part["c"][1][0] for part in headings if part["t"] == "Header" and part["c"][0] == 1]
    return {path.name: name for path in lesson_paths for name in first if name.startswith(f"{int(path.stem[:2]):02d}")}


def write_report(
    assignment: Assignment, notebooks: Sequence[NotebookNode], lesson_paths: Sequence[Path], to: Path
) -> list[Path]:
    """Returns the HTML and the PDF file of one assignment, written into the folder `to`.

    Args:
        notebooks: executed lessons, in order.
        lesson_paths: of the lessons; pictures in their texts are found beside them.

    Raises:
        LessonFailed: pandoc or typst is missing or refuses the text.
    """
    to.mkdir(parents=True, exist_ok=True)
    targets = [to / f"{assignment.name}.{kind}" for kind in ("html", "pdf")]
    with tempfile.TemporaryDirectory(prefix="report_") as name:
        folder = Path(name).resolve()
        try:
            media = ["--extract-media=media", f"--resource-path={lesson_paths[0].parent}"]
            text = pypandoc.convert_text(nbformat.writes(merge(notebooks)), "json", "ipynb", media, cworkdir=name)
            document = json.loads(text)
            settle_links(document, folder, find_anchors(document, lesson_paths))
            title = [f"--metadata=title={assignment.title}", "--metadata=lang=en"]
            screen = [
                "--standalone",
                "--embed-resources",
                "--mathml",
                "--toc",
                "--toc-depth=2",
                f"--css={STYLE}",
                *title,
            ]
            paper = [f"--template={LAYOUT}", *title]
            text = json.dumps(open_cells(document, fold_code))
            text = pypandoc.convert_text(text, "html5", "json", screen, cworkdir=name)
            files.write_text(targets[0], text)
            text = json.dumps(open_cells(document, leave_out_code))
            text = pypandoc.convert_text(text, "typst", "json", paper, cworkdir=name)
            (folder / "report.typ").write_text(text, encoding="utf-8")
            with files.replace_when_complete(targets[1]) as partial:
                partial.write_bytes(typst.compile(folder / "report.typ", root=folder))
        except (OSError, RuntimeError) as error:
            raise LessonFailed(f"no report {assignment.name}: {error}") from error
    return targets


def write_reports(profile: str) -> None:
    """Write the reports of all assignments into `REPORTS`, and print where they are and what their numbers are from.

    Args:
        profile: of the runs that are reported where they are up to date.

    Raises:
        LessonFailed: a lesson cannot be read, or a report cannot be made.
    """
    for assignment in ASSIGNMENTS:
        lesson_paths = find_lessons(assignment.lessons)
        executed = [find_executed(path, profile) for path in lesson_paths]
        for path, (notebook, source) in zip(lesson_paths, executed, strict=True):
            print(f"  {path.stem}: {source}", flush=True)
            notebook.cells[0].source += f"\n\n*Figures and numbers: {source}. The text speaks of a run at quick.*"
        for target in write_report(assignment, [notebook for notebook, _ in executed], lesson_paths, REPORTS):
            print(f"{show(target)} ({target.stat().st_size / 1e6:.1f} MB)", flush=True)
