"""Reports of the assignments, as HTML and as PDF (command: `workbook report`).

A report is the executed lessons one after another: their text, text cells that a reader has added, figures, tables and
numbers. In the HTML file code is folded; the PDF leaves it out. `report_cells` makes sanitised HTML of each cell,
pandoc (with `report.lua`) makes of it the HTML file and the source of the PDF, and typst typesets the PDF. Both come as
wheels, and neither needs LaTeX, a browser or a network. The HTML file contains its pictures, and its formulas are
MathML, which browsers draw without a script. Explorers move in the HTML file; the PDF has their saved pictures.

Nothing in a cell stops a report: what cannot be shown is listed at its end, with lesson and cell.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import pypandoc
import typst
from nbformat import NotebookNode

from helpers import files, paths
from helpers.course.cleaning import clean
from helpers.course.lessons import (
    FIGURES,
    LessonFailed,
    find_lessons,
    find_problems,
    is_up_to_date,
    read_notebook,
    show,
)
from helpers.course.report_cells import LessonCells, find_unknown_letters, frame, read_text, shorten
from helpers.explorer_frames import SCRIPT_HASH, FragmentError, read_fragments

REPORTS = paths.DATA / "reports"
STYLE = Path(__file__).with_name("report.css")
LAYOUT = Path(__file__).with_name("report.typ")
FILTER = Path(__file__).with_name("report.lua")
FONTS = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVuSans*.ttf"))  # letters that typst's lack
PANDOC_LIMIT = 60  # seconds; a report takes about two
PANDOC_MEMORY = "1g"  # a report takes less than 0.2
LONGEST_SOURCE = 300  # characters of a line about where outputs are from, or why there is no report
SECURITY = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{SCRIPT_HASH}'"
"""The browser fetches nothing, and runs no script but the one that moves explorers."""
_PICTURE = re.compile(r'<p><img\s+src="([0-9a-f]{24})\.png"[^>]*></p>')  # alone in its paragraph, as pandoc writes it
_NAVIGATION = re.compile(r"^.*\]\(\.\./README\.md\).*$", flags=re.MULTILINE)  # links between files, not for a report


@dataclass(frozen=True)
class Assignment:
    """Subject of one report."""

    name: str  # of its files
    title: str
    lessons: tuple[str, ...]  # numbers


ASSIGNMENTS = (
    Assignment("detection_and_keypoints", "Shapes and points", ("01", "02", "03", "04", "05", "06")),
    Assignment("digits", "House numbers", ("07", "08")),
)


@dataclass(frozen=True)
class Lesson:
    """An executed lesson."""

    path: Path  # of the lesson; the pictures of its text cells are found in its folder
    notebook: NotebookNode
    source: str  # in words, where its outputs are from
    explorers: Path | None = None  # folder of the fragments of its explorers


@dataclass(frozen=True)
class Report:
    """Files of one report."""

    files: tuple[Path, ...]  # HTML and PDF
    left_out: list[str]  # a line each: lesson, cell and what was left out


@dataclass(frozen=True)
class Cell:
    """A cell of a report."""

    place: str  # lesson and number
    html: str  # sanitised
    text: str  # its source, shown if the HTML cannot be converted


T = TypeVar("T")
Formula = dict[str, str]  # "place", "tex" and "typst" source


class ConversionError(Exception):
    """pandoc or typst refused a document; the message is the reason."""


def find_executed(path: Path, profile: str) -> Lesson:
    """Return a lesson with its outputs.

    A run at `profile` is taken if it is of the lesson as it is now; otherwise the outputs that are saved in the lesson.

    Raises:
        LessonFailed: a file is no notebook, or not one that Jupyter wrote.
    """
    lesson = read_notebook(path)
    run = paths.RUNS / path.stem / profile / path.name
    try:
        if is_up_to_date(lesson, run, profile):
            return Lesson(path, clean(read_notebook(run)), f"the run at {profile}", run.parent / "explorers")
        problems = find_problems(lesson)
        lesson = clean(lesson)
    except LessonFailed as error:  # of the cell of parameters
        problems = [str(error)]
    except (AttributeError, KeyError, TypeError) as error:  # metadata that are no mappings
        raise LessonFailed(f"{show(path)} has metadata that Jupyter does not write ({shorten(repr(error))})") from error
    saved = "its saved outputs" + (f", but {'; '.join(problems)}" if problems else "")
    return Lesson(path, lesson, shorten(saved, length=LONGEST_SOURCE), FIGURES / "explorers")


def render_lesson(lesson: Lesson, folder: Path) -> tuple[list[Cell], list[str]]:
    """Return the cells of a lesson and lines about what was left out; pictures are written into `folder`."""
    renderer = LessonCells(lesson.path, folder)
    cells = []
    for number, cell in enumerate(lesson.notebook.cells, start=1):
        if number == 1:
            cell.source = _NAVIGATION.sub("", cell.source)
        place, html = renderer.render(number, cell)
        if number == 1:
            origin = f"Figures and numbers: {lesson.source}. The text is about a run at quick."
            html = f'<div id="lesson-{renderer.prefix}"></div>{html}<p><em>{escape(origin)}</em></p>'
        cells.append(Cell(place, html, read_text(cell.source)))
    if lesson.explorers is not None:
        write_explorers(renderer.explorers, lesson.explorers, renderer.prefix, folder)
    return cells, renderer.left_out


def write_explorers(names: Mapping[str, str], explorers: Path, lesson: str, folder: Path) -> None:
    """Write the fragments of explorers beside their saved pictures, whose place they take in the HTML file.

    Args:
        names: of the explorers, by the files of their saved pictures.
        explorers: folder of the fragments.
        lesson: two-digit number.
        folder: holds the pictures.

    Raises:
        LessonFailed: a file is no fragment.
    """
    try:
        fragments = read_fragments(explorers, lesson)
    except FragmentError as error:
        raise LessonFailed(f"{show(explorers)}: {error}; run the lesson again") from error
    for picture, name in names.items():
        if name in fragments:
            files.write_text((folder / picture).with_suffix(".html"), fragments[name])


def run_pandoc(text: str, *options: str) -> str:
    """Return what pandoc makes of `text`; it reads no file but its filter, template and style, and no network.

    Raises:
        ConversionError: pandoc refuses the text.
        OSError: pandoc is missing.
    """
    limits = ["+RTS", f"-M{PANDOC_MEMORY}", "-RTS"]
    command = [pypandoc.get_pandoc_path(), *limits, "--sandbox", f"--lua-filter={FILTER}", *options]
    try:
        finished = subprocess.run(command, input=text.encode(), capture_output=True, timeout=PANDOC_LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ConversionError(f"pandoc needs more than {PANDOC_LIMIT} s") from error
    if finished.returncode:
        raise ConversionError(f"pandoc: {shorten(finished.stderr.decode(errors='replace'))}")
    return finished.stdout.decode()


def run_typst(source: str, folder: Path) -> bytes:
    """Return the PDF of a typst source whose pictures are in `folder`.

    Raises:
        ConversionError: typst refuses the source.
    """
    (folder / "report.typ").write_text(source, encoding="utf-8")
    if not (folder / "fonts").exists():
        (folder / "fonts").mkdir()
        for font in FONTS:
            shutil.copy(font, folder / "fonts")
    try:
        return typst.compile(folder / "report.typ", root=folder, font_paths=[folder / "fonts"])
    except RuntimeError as error:
        raise ConversionError(f"typst: {shorten(str(error))}") from error


def find_culprits(parts: Sequence[T], convert: Callable[[Sequence[T]], object]) -> list[tuple[T, str]]:
    """Return the parts that `convert` refuses, each with the reason, found by halving.

    All parts are returned if each passes alone and they fail only together.
    """
    try:
        convert(parts)
        return []
    except ConversionError as error:
        reason = str(error)
    if len(parts) == 1:
        return [(parts[0], reason)]
    middle = len(parts) // 2
    culprits = find_culprits(parts[:middle], convert) + find_culprits(parts[middle:], convert)
    return culprits or [(part, reason) for part in parts]


def find_untypeset(formulas: Sequence[Formula], folder: Path) -> list[Formula]:
    """Return the formulas whose typst source cannot be compiled."""

    def convert(part: Sequence[Formula]) -> None:
        run_typst("\n\n".join(formula["typst"] for formula in part), folder)

    return [formula for formula, _ in find_culprits(formulas, convert)] if formulas else []


def make_files(assignment: Assignment, cells: Sequence[Cell], left_out: list[str], folder: Path) -> tuple[str, bytes]:
    """Return the HTML and the PDF of a report; lines about what they leave out are added to `left_out`.

    Args:
        folder: holds the pictures.

    Raises:
        ConversionError: pandoc or typst refuses the text.
    """
    text = run_pandoc("".join(cell.html for cell in cells), "--from=html-auto_identifiers", "--to=json")
    document = json.loads(text)
    meta = document["meta"]
    left_out += [line for line in map(_read_meta, meta["left-out"]["c"]) if line not in left_out]
    formulas = [{name: _read_meta(value) for name, value in entry["c"].items()} for entry in meta["formulas"]["c"]]
    order = {cell.place: number for number, cell in enumerate(cells)}
    left_out.sort(key=lambda line: order.get(line.partition(": ")[0], 0))
    meta["left-out"] = _write_meta(left_out)
    title = [f"--metadata=title:{assignment.title}", "--metadata=lang:en"]
    html = _make_html(document, title, folder)

    untypeset = find_untypeset(formulas, folder)
    left_out += [f'{formula["place"]}: the formula "{shorten(formula["tex"])}" in the PDF' for formula in untypeset]
    letters = find_unknown_letters(_strip_tags(cell.html) for cell in cells)
    left_out += [f"PDF: characters that no font of this machine has: {shorten(letters)}"] if letters else []
    meta["untypeset"] = _write_meta([formula["tex"] for formula in untypeset])
    meta["left-out"] = _write_meta(left_out)
    source = run_pandoc(json.dumps(document), "--from=json", "--to=typst", f"--template={LAYOUT}", *title)
    return html, run_typst(source, folder)


def _make_html(document: dict[str, Any], title: Sequence[str], folder: Path) -> str:
    """Return the HTML file of a document with its pictures embedded."""
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{SECURITY}">\n<style>\n{STYLE.read_text("utf-8")}</style>'
    )
    options = ["--standalone", "--mathml", "--toc", "--toc-depth=2", "--metadata=document-css:false"]
    html = run_pandoc(
        json.dumps(document),
        "--from=json",
        "--to=html5",
        *options,
        f"--variable=header-includes:{head}",
        *title,
    )

    def show_explorer(picture: re.Match[str]) -> str:
        fragment = folder / f"{picture[1]}.html"
        return fragment.read_text(encoding="utf-8") if fragment.is_file() else picture[0]

    def embed(source: re.Match[str]) -> str:
        picture = folder / source[1]
        coded = base64.b64encode(picture.read_bytes()).decode()
        return f'src="data:image/{picture.suffix[1:]};base64,{coded}"'

    html = _PICTURE.sub(show_explorer, html)
    return re.sub(r'src="([0-9a-f]{24}\.(?:png|jpeg|gif|webp))"', embed, html)


def _read_meta(value: dict[str, Any]) -> str:
    """Return the text of a value in pandoc's metadata."""
    if value["t"] == "MetaString":
        return value["c"]
    return "".join(" " if part["t"] in ("Space", "SoftBreak") else part["c"] for part in value["c"])


def _write_meta(lines: Sequence[str]) -> dict[str, Any]:
    """Return a list of texts as a value of pandoc's metadata."""
    return {"t": "MetaList", "c": [{"t": "MetaString", "c": line} for line in lines]}


def _strip_tags(html: str) -> str:
    """Return the text of HTML as far as letters go."""
    return re.sub(r"<[^>]*>", "", html)


def write_report(assignment: Assignment, lessons: Sequence[Lesson], to: Path) -> Report:
    """Write one assignment's report of executed lessons into the folder `to`, as an HTML and a PDF file.

    Raises:
        LessonFailed: pandoc or typst is missing, or fails on plain text, or a file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="report_") as name:
        folder = Path(name).resolve()
        cells: list[Cell] = []
        left_out: list[str] = []
        for lesson in lessons:
            lesson_cells, lines = render_lesson(lesson, folder)
            cells += lesson_cells
            left_out += lines
        try:
            try:
                html, pdf = make_files(assignment, cells, left_out, folder)
            except ConversionError:
                cells, lines = replace_culprits(assignment, cells, folder)
                left_out += lines
                html, pdf = make_files(assignment, cells, left_out, folder)
            html_file, pdf_file = (to / f"{assignment.name}.{kind}" for kind in ("html", "pdf"))
            files.write_text(html_file, html)
            with files.replace_when_complete(pdf_file) as partial:
                partial.write_bytes(pdf)
        except (OSError, ConversionError) as error:
            raise LessonFailed(f"no report {assignment.name}: {shorten(str(error), length=LONGEST_SOURCE)}") from error
    return Report((html_file, pdf_file), left_out)


def replace_culprits(assignment: Assignment, cells: Sequence[Cell], folder: Path) -> tuple[list[Cell], list[str]]:
    """Return the cells with those that stop pandoc or typst as plain text, and a line about each of these."""
    culprits = find_culprits(cells, lambda part: make_files(assignment, part, [], folder))
    replaced = [cell for cell, _ in culprits]
    plain = [
        Cell(cell.place, frame(cell.place, f"<pre>{escape(cell.text)}</pre>"), cell.text) if cell in replaced else cell
        for cell in cells
    ]
    return plain, [f"{cell.place}: all but its text ({reason})" for cell, reason in culprits]


def write_reports(profile: str) -> None:
    """Write the reports of all assignments into `REPORTS`, and print their files and what they leave out.

    A report that fails does not stop the next.

    Args:
        profile: of the runs to report, where they are up to date.

    Raises:
        LessonFailed: at the end, if a report failed; the message holds the reason of each.
    """
    failures = []
    for assignment in ASSIGNMENTS:
        try:
            lessons = [find_executed(path, profile) for path in find_lessons(assignment.lessons)]
            for lesson in lessons:
                print(f"  {lesson.path.stem}: {lesson.source}")
            report = write_report(assignment, lessons, REPORTS)
        except LessonFailed as error:
            failures.append(f"no report {assignment.name}: {error}")
        except Exception as error:  # a mistake in this module: the next report does not depend on it
            reason = shorten(f"{type(error).__name__}: {error}", length=LONGEST_SOURCE // 2)  # of two in one line
            failures.append(f"no report {assignment.name}: {reason}")
        else:
            for line in report.left_out:
                print(f"  left out: {line}")
            for file in report.files:
                print(f"{show(file)} ({file.stat().st_size / 1e6:.1f} MB)")
    if failures:
        raise LessonFailed("; ".join(failures))
