"""Submissions: what students handed in, read from a folder.

A notebook is recognised by the identifiers of its task cells, so it may have any name and lie at any depth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nbconvert.exporters.exporter import ResourcesDict
from nbgrader.preprocessors import DeduplicateIds

from helpers.course.lessons import LessonFailed, find_code_cells, read_notebook, shorten
from helpers.course.student import Lesson, find_id

LARGEST_SUBMISSION = 50_000_000  # bytes of a notebook, outputs included


@dataclass
class Submission:
    """Solutions of one student, and remarks for the instructor."""

    name: str
    solutions: dict[str, dict[str, str]] = field(default_factory=dict)  # lesson -> identifier -> source
    remarks: dict[str, list[str]] = field(default_factory=dict)  # lesson, or "" for no lesson -> remarks

    def add_remark(self, lesson: str, remark: str) -> None:
        """Add a remark about `lesson`, or about no lesson in particular ("")."""
        self.remarks.setdefault(lesson, []).append(remark)


def collect_submissions(folder: Path, lessons: Sequence[Lesson]) -> list[Submission]:
    """Return the submissions in `folder`: one per subfolder, and one per notebook that lies directly in it.

    Files that cannot be read, and second notebooks of a lesson, get a remark.

    Raises:
        LessonFailed: `folder` is empty or missing.
    """
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    entries = [path for path in entries if not path.name.startswith(".")]
    entries = [path for path in entries if path.is_dir() or path.suffix == ".ipynb"]
    if not entries:
        raise LessonFailed(f"{folder} holds no submission: a subfolder per student, or a notebook each, is expected")
    return [_read_submission(path, lessons) for path in entries]


def _read_submission(entry: Path, lessons: Sequence[Lesson]) -> Submission:
    """Return the submission in one entry of the folder."""
    submission = Submission(entry.name)
    notebook_paths = [entry] if entry.is_file() else sorted(entry.rglob("*.ipynb"))
    for path in notebook_paths:
        place = path.relative_to(entry.parent if entry.is_file() else entry)
        if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in place.parts):
            continue  # .ipynb_checkpoints
        try:
            cells = _read_cells(path)
        except Exception as error:  # a broken file costs itself only
            stem = path.stem if path.stem in {lesson.stem for lesson in lessons} else ""
            reason = shorten(str(error).removeprefix(f"{path}: ") or type(error).__name__, 80)
            submission.add_remark(stem, f"{place} is no notebook ({reason})")
            continue
        _add_notebook(submission, place, cells, lessons)
    return submission


def _read_cells(path: Path) -> list[tuple[str | None, str]]:
    """Return identifier and source of each code cell; of cells with one identifier the last keeps it."""
    if path.stat().st_size > LARGEST_SUBMISSION:
        raise ValueError(f"over {LARGEST_SUBMISSION / 1e6:.0f} MB")
    notebook = read_notebook(path, keep_outputs=False)
    notebook, _ = DeduplicateIds().preprocess(notebook, ResourcesDict())
    return [(find_id(cell), str(cell.source)) for cell in find_code_cells(notebook)]


def _add_notebook(
    submission: Submission, place: Path, cells: Sequence[tuple[str | None, str]], lessons: Sequence[Lesson]
) -> None:
    """Add the solutions of one notebook to its submission, or a remark that says why they are not used.

    Args:
        place: path of the notebook in the submission.
        cells: identifier and source of each code cell.
    """
    sources = dict(cells)
    lesson = _find_lesson(place, sources, lessons)
    if lesson is None:
        submission.add_remark("", f"{place} belongs to none of the lessons asked for")
        return
    solutions = {task.solution: sources[task.solution] for task in lesson.tasks if task.solution in sources}
    if submission.solutions.setdefault(lesson.stem, solutions) != solutions:
        submission.solutions[lesson.stem] = {}
        submission.add_remark(lesson.stem, f"{place} is a second, different notebook: none is graded")
        return
    for remark in _compare_cells(cells, lesson):
        submission.add_remark(lesson.stem, remark)


def _find_lesson(place: Path, sources: Mapping[str | None, str], lessons: Sequence[Lesson]) -> Lesson | None:
    """Return the lesson with which a notebook shares most solution cells, or the lesson of its file name."""

    def rank(lesson: Lesson) -> tuple[int, bool]:
        return sum(task.solution in sources for task in lesson.tasks), lesson.stem == place.stem

    best = max(lessons, key=rank)
    return best if any(rank(best)) else None


def _compare_cells(cells: Sequence[tuple[str | None, str]], lesson: Lesson) -> list[str]:
    """Return a remark for each difference between a notebook and the lesson, apart from the solutions."""
    sources = dict(cells)
    remarks = [
        f"the solution cell of task {task.number} is gone" for task in lesson.tasks if task.solution not in sources
    ]
    originals = set()
    for notebook in (lesson.copy, lesson.notebook):
        originals |= {(find_id(cell), str(cell.source)) for cell in find_code_cells(notebook)}
    for task in lesson.tasks:
        if (task.check, sources.get(task.check)) not in originals:
            remarks.append(f"the check cell of task {task.number} was edited or is gone; the original was run")
    original_sources = {source for _, source in originals} | {""}
    added = [source for name, source in cells if name is None and source.strip() not in original_sources]
    if added:
        remarks.append(f"cells that are not part of the lesson and were not run: {len(added)}")
    return remarks
