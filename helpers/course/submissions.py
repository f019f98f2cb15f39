"""Submissions: what students handed in, read from a folder.

Every entry of the folder becomes a submission, whatever it is. A notebook is recognised by its content, and its lesson
by the identifiers of its task cells, so it may have any name, lie at any depth, and lie in a zip archive. Names and
sources come from students: nothing in them may stop the grader, reach a terminal, or be taken for a path.
"""

from __future__ import annotations

import json
import os
import stat
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.course.exercises import Plan
from helpers.course.lessons import LessonFailed, find_code_cells, shorten
from helpers.course.student import find_id

LARGEST_SUBMISSION = 50_000_000  # bytes of a notebook, outputs included
LARGEST_STRUCTURE = 2_000_000  # brackets and commas of a notebook: JSON takes up to 40 times as much memory as a file
LARGEST_ARCHIVE = 200_000_000  # bytes of an archive's notebooks together
MOST_FILES = 5000  # in one submission
LONGEST_NAME = 100  # characters of a name in a remark
HIDDEN = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # and names that begin with a point
NOTEBOOK = ".ipynb"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".rar", ".7z", ".gz")
TEXTS = (".json", ".txt")  # what a browser appends to the name of a notebook


@dataclass
class Submission:
    """Solutions of one student, and remarks for the instructor."""

    name: str
    solutions: dict[str, dict[str, str]] = field(default_factory=dict)  # lesson -> identifier -> source
    remarks: dict[str, list[str]] = field(default_factory=dict)  # lesson, or "" for no lesson -> remarks

    def add_remark(self, lesson: str, remark: str) -> None:
        """Add a remark about `lesson`, or about no lesson in particular ("")."""
        self.remarks.setdefault(lesson, []).append(make_visible(remark))


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook that was handed in."""

    name: str | None  # identifier of its task
    source: str
    is_code: bool


class NotANotebook(Exception):
    """A file holds no notebook; the message says why."""


def make_visible(text: str) -> str:
    """Return a text without control characters, parts of characters, or marks that change the direction of writing.

    They are written as escape sequences: a byte of a file name that is no text becomes "\\xe9", a line break "\\n".
    """
    shown = []
    for character in text:
        category = unicodedata.category(character)
        if "\udc80" <= character <= "\udcff":
            shown.append(f"\\x{ord(character) - 0xDC00:02x}")
        elif category in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            shown.append(character.encode("unicode_escape", "surrogatepass").decode())
        else:
            shown.append(character)
    return "".join(shown)


def collect_submissions(folder: Path, plans: Sequence[Plan]) -> list[Submission]:
    """Return the submissions in `folder`: one per entry, which may be a folder or any file.

    Files that cannot be read, and second notebooks of a lesson, get a remark.

    Raises:
        LessonFailed: `folder` is empty or missing.
    """
    try:
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise LessonFailed(f"{folder} cannot be read: {error.strerror or error}") from None
    entries = [path for path in entries if not _is_hidden(path.name)]
    if not entries:
        raise LessonFailed(f"{folder} holds no submission: a subfolder per student, or a notebook each, is expected")
    submissions: list[Submission] = []
    names: set[str] = set()
    for path in entries:
        name = make_visible(path.name)
        while name in names:  # two names that differ in invisible parts only
            name += "'"
        names.add(name)
        submissions.append(_read_submission(name, path, plans))
    return submissions


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in HIDDEN


def _read_submission(name: str, entry: Path, plans: Sequence[Plan]) -> Submission:
    """Return the submission in one entry of the folder."""
    submission = Submission(name)
    others = []  # files that are no notebook and do not look like one
    has_notebook = False
    for place, content in _find_files(submission, entry):
        stem = place.rpartition("/")[2].partition(".")[0]
        lesson = stem if stem in {plan.lesson.stem for plan in plans} else ""
        shown = shorten(place, LONGEST_NAME)
        if isinstance(content, str):
            submission.add_remark(lesson, f"{shown} {content}")
            continue
        try:
            cells = read_cells(content)
        except NotANotebook as error:
            if _looks_like_notebook(place) or entry.is_file():
                submission.add_remark(lesson, f"{shown} is no notebook ({shorten(error, 80)})")
            else:
                others.append(shown)
            continue
        has_notebook = True
        _add_notebook(submission, place, cells, plans)
    if not has_notebook and not submission.remarks:
        files = f", only {shorten(', '.join(others), LONGEST_NAME)}" if others else ""
        submission.add_remark("", f"no notebook was handed in{files}")
    return submission


def _looks_like_notebook(place: str) -> bool:
    return NOTEBOOK in place.lower()


def _find_files(submission: Submission, entry: Path) -> Iterator[tuple[str, bytes | str]]:
    """Yield place and content of each file of a submission; a text in place of the content says what is wrong with it.

    Links are not followed.
    """
    for number, (place, path) in enumerate(_walk(submission, entry)):
        if number >= MOST_FILES:
            submission.add_remark("", f"more than {MOST_FILES} files: the rest was not read")
            return
        lower = place.lower()
        try:
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode):
                yield place, "is a link, which is not followed" if stat.S_ISLNK(mode) else "is not a regular file"
            elif lower.endswith(ARCHIVES):
                yield place, "is an archive that is not opened: unpack it, or hand in a .zip"
            elif lower.endswith(".zip"):
                yield from _read_archive(place, path)
            elif _looks_like_notebook(place) or lower.endswith(TEXTS) or path == entry:
                yield place, _read_bytes(path)
            else:
                yield place, b""
        except OSError as error:
            yield place, f"cannot be read ({error.strerror or type(error).__name__})"


def _walk(submission: Submission, entry: Path) -> Iterator[tuple[str, Path]]:
    """Yield place and path of each file in an entry, in order, without hidden ones."""
    if entry.is_symlink() or not entry.is_dir():
        yield entry.name, entry
        return

    def report(error: OSError) -> None:
        submission.add_remark("", f"a folder cannot be read ({error.strerror or type(error).__name__})")

    for folder, folder_names, file_names in os.walk(entry, onerror=report):
        folder_names[:] = sorted(name for name in folder_names if not _is_hidden(name))
        linked = [name for name in folder_names if Path(folder, name).is_symlink()]
        for name in sorted([*file_names, *linked]):
            if not _is_hidden(name):
                path = Path(folder, name)
                yield path.relative_to(entry).as_posix(), path


def _read_bytes(path: Path) -> bytes | str:
    if path.stat().st_size > LARGEST_SUBMISSION:
        return f"is no notebook (over {LARGEST_SUBMISSION / 1e6:.0f} MB)"
    return path.read_bytes()


def _read_archive(place: str, path: Path) -> Iterator[tuple[str, bytes | str]]:
    """Yield place and content of the files in a zip archive; nothing is written to the disk."""
    remaining = LARGEST_ARCHIVE
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if not members:
                yield place, "is an empty archive"
            for number, member in enumerate(members):
                inside = f"{place}/{member.filename}"
                if any(_is_hidden(part) for part in member.filename.split("/") if part not in ("", ".", "..")):
                    continue
                if number >= MOST_FILES:
                    yield place, f"holds more than {MOST_FILES} files: the rest was not read"
                    return
                lower = member.filename.lower()
                if lower.endswith((".zip", *ARCHIVES)):
                    yield inside, "is an archive in an archive, which is not opened"
                elif not (_looks_like_notebook(lower) or lower.endswith(TEXTS)):
                    yield inside, b""
                else:
                    with archive.open(member) as file:
                        content = file.read(min(LARGEST_SUBMISSION, remaining) + 1)
                    remaining -= len(content)
                    if remaining < 0 or len(content) > LARGEST_SUBMISSION:
                        yield inside, "is too large when it is unpacked: the rest of the archive was not read"
                        return
                    yield inside, content
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        yield place, f"is an archive that cannot be read ({shorten(error, 60) or type(error).__name__})"
    except Exception as error:  # zlib.error, lzma.LZMAError, UnicodeDecodeError: an archive costs itself only
        yield place, f"is an archive that cannot be read ({type(error).__name__})"


def read_cells(data: bytes) -> list[Cell]:
    """Return the cells of a notebook; parts of a wrong type cost their cell only.

    Raises:
        NotANotebook: the file is not JSON, holds no cells, or is too large in memory.
    """
    content = _read_json(data)
    if not isinstance(content, dict) or not {"cells", "worksheets"} & content.keys():
        raise NotANotebook("the JSON has no cells")
    cells = content.get("cells")
    if not isinstance(cells, list):
        raise NotANotebook("it has another format than nbformat 4: save it in a current JupyterLab")
    return [_read_cell(cell) for cell in cells if isinstance(cell, dict)]


def _read_json(data: bytes) -> Any:
    if not data.strip():
        raise NotANotebook("the file is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotANotebook("the file is not text in UTF-8") from None
    if sum(text.count(character) for character in "[{,") > LARGEST_STRUCTURE:
        raise NotANotebook(f"over {LARGEST_STRUCTURE} brackets and commas")
    try:
        return json.loads(text)
    except RecursionError:
        raise NotANotebook("its JSON is nested too deeply") from None
    except ValueError as error:
        cut = "the file ends too early" if text.lstrip().startswith("{") else "the file is not JSON"
        raise NotANotebook(f"{cut}: {shorten(error, 50)}") from None


def _read_cell(cell: Mapping[str, Any]) -> Cell:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    metadata = cell.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    return Cell(
        name if isinstance(name, str) else None,
        source if isinstance(source, str) else "",
        cell.get("cell_type") == "code",
    )


def _add_notebook(submission: Submission, place: str, cells: Sequence[Cell], plans: Sequence[Plan]) -> None:
    """Add the solutions of one notebook to its submission, or a remark that says why they are not used.

    Args:
        place: path of the notebook in the submission.
    """
    shown = shorten(place, LONGEST_NAME)
    plan = _find_plan(place, cells, plans)
    if plan is None:
        submission.add_remark("", f"{shown} belongs to none of the lessons asked for")
        return
    stem = plan.lesson.stem
    solutions, remarks = join_solutions(cells, plan)
    if submission.solutions.setdefault(stem, solutions) != solutions:
        submission.solutions[stem] = {}
        submission.add_remark(stem, f"{shown} is a second, different notebook: none is graded")
        return
    for remark in [*remarks, *_compare_cells(cells, plan)]:
        if remark not in submission.remarks.get(stem, []):
            submission.add_remark(stem, remark)


def _find_plan(place: str, cells: Sequence[Cell], plans: Sequence[Plan]) -> Plan | None:
    """Return the lesson with which a notebook shares most solution cells, or the lesson of its file name."""
    names = {cell.name for cell in cells}

    def rank(plan: Plan) -> tuple[int, bool]:
        file_name = place.rpartition("/")[2]
        return sum(name in names for name in plan.solution_ids), file_name.partition(".")[0] == plan.lesson.stem

    best = max(plans, key=rank)
    return best if any(rank(best)) else None


def join_solutions(cells: Sequence[Cell], plan: Plan) -> tuple[dict[str, str], list[str]]:
    """Return the source of each solution by its identifier, and remarks.

    Cells with one identifier, as Jupyter makes them when a cell is split or copied, are joined in order; cells that
    are still the stub are left out.
    """
    stubs = find_stubs(plan)
    solutions, remarks = {}, []
    for name in plan.solution_ids:
        sources = [cell.source for cell in cells if cell.name == name and cell.is_code]
        written = [source for source in sources if source.strip() and normalise(source) not in stubs[name]]
        if not sources:
            continue
        solutions[name] = "\n\n".join(written) if written else sources[0]
        if len(written) > 1:
            remarks.append(f"the solution of {describe_task(plan, name)} stands in {len(written)} cells: joined")
    return solutions, remarks


def find_stubs(plan: Plan) -> dict[str, set[str]]:
    """Return the normalised sources that a solution cell has before a student writes into it, by identifier."""
    stubs: dict[str, set[str]] = {name: set() for name in plan.solution_ids}
    for cell in find_code_cells(plan.lesson.copy):
        name = find_id(cell)
        if name in stubs:
            stubs[name].add(normalise(cell.source))
    return stubs


def normalise(source: str) -> str:
    """Return a source without empty lines and without blanks at the ends of lines."""
    return "\n".join(line.rstrip() for line in source.splitlines() if line.strip())


def describe_task(plan: Plan, name: str) -> str:
    """Return a task in words, by the identifier of its solution cell."""
    for exercise in plan.exercises:
        if exercise.task.solution == name:
            return f"task {exercise.task.number}"
    return f"task {name.removesuffix('-solution')}"


def _compare_cells(cells: Sequence[Cell], plan: Plan) -> list[str]:
    """Return a remark for each difference between a notebook and the lesson, apart from the solutions."""
    code = {cell.name for cell in cells if cell.is_code}
    text = {cell.name for cell in cells if not cell.is_code}
    remarks = []
    for name in plan.solution_ids:
        if name not in code:
            state = "is a text cell now: its code does not count" if name in text else "is gone"
            remarks.append(f"the solution cell of {describe_task(plan, name)} {state}")
    originals = set()
    for notebook in (plan.lesson.copy, plan.lesson.notebook):
        originals |= {(find_id(cell), normalise(cell.source)) for cell in find_code_cells(notebook)}
    returned = {(cell.name, normalise(cell.source)) for cell in cells if cell.is_code}
    for exercise in plan.exercises:
        checks = {(name, source) for name, source in returned if name == exercise.task.check}
        if not checks & originals:
            remarks.append(f"the check cell of task {exercise.task.number} was edited or is gone; the original was run")
    known = {source for _, source in originals} | {""}
    added = [source for name, source in returned if name is None and source not in known]
    if added:
        remarks.append(f"cells that are not part of the lesson and were not run: {len(added)}")
    return remarks
