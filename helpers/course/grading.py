"""Grading: checks and hidden tests of the lessons, run over a folder of submissions (command: `workbook grade`).

Only the solution cells of a submission are used. They are put into the lesson's own source, so that every other cell,
the checks and their hidden tests among them, is the instructor's. Each attempt then runs at `smoke` in a process of its
own, in a temporary copy of the workbook that holds the instructor's checkpoints, so that only what the student wrote is
trained. A task that hangs or kills its process is left out, and the other tasks run again without it.

    data/grades/
        points.csv   a row per submission: points per lesson, their sum, what could be reached, remarks
        tasks.csv    a row per submission and task: points, and the message of its check
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from helpers import files, paths, plotting
from helpers.course.execution import run_lesson
from helpers.course.lessons import find_code_cells, find_lessons, shorten, show
from helpers.course.sandbox import DEFAULT_LIMITS, LONGEST_REMARK, Attempt, AttemptEnded, Limits, make_workbook
from helpers.course.student import Lesson, Task, find_id
from helpers.course.submissions import Submission, collect_submissions

GRADES = paths.DATA / "grades"
INTERRUPTED = "not graded: interrupted"
LESSON_LIMIT = 1800.0  # seconds for one of the lesson's own cells, which are trusted to end


@dataclass(frozen=True)
class Mark:
    """Result of one task of one submission."""

    submission: str
    lesson: str
    task: Task
    passed: bool
    remark: str = ""  # what is wrong

    @property
    def points(self) -> float:
        """Points that the task earned."""
        return self.task.points if self.passed else 0


def grade_lesson(
    submission: Submission,
    lesson: Lesson,
    limits: Limits = DEFAULT_LIMITS,
    workbook: Callable[[Path, str], None] = make_workbook,
) -> list[Mark]:
    """Return the marks of one submission in one lesson.

    Args:
        workbook: fills the empty folder in which the lesson of this name is attempted.
    """
    solutions = submission.solutions.get(lesson.stem, {})
    messages = _find_missing(lesson, solutions)
    while remaining := [task for task in lesson.tasks if task.number not in messages]:
        with tempfile.TemporaryDirectory(prefix="workbook_", ignore_cleanup_errors=True) as name:
            folder = Path(name).resolve()
            workbook(folder, lesson.stem)
            result = _run_tasks(lesson, remaining, solutions, folder, limits)
        if result.culprit is not None:
            messages[result.culprit.number] = result.reason  # the other tasks run again without it
            continue
        for task in remaining:
            messages[task.number] = result.messages.get(task.number, result.reason)
    return [
        Mark(submission.name, lesson.stem, task, not messages[task.number], messages[task.number])
        for task in lesson.tasks
    ]


def _find_missing(lesson: Lesson, solutions: Mapping[str, str]) -> dict[int, str]:
    """Return a message for each task without a solution, by the number of the task."""
    messages = {}
    for task in lesson.tasks:
        if task.solution not in solutions:
            messages[task.number] = "not handed in"
        elif solutions[task.solution].strip() == lesson.stubs[task.solution].strip():
            messages[task.number] = "left as it was"
    return messages


@dataclass(frozen=True)
class _Result:
    """Result of one run of a lesson with solutions."""

    messages: dict[int, str]  # number of a task -> message of its check, "" if it passed
    culprit: Task | None  # the task that ended the process too early
    reason: str  # how the culprit ended the process; without a culprit, why checks without a message were not reached


def _run_tasks(
    lesson: Lesson, tasks: Sequence[Task], solutions: Mapping[str, str], folder: Path, limits: Limits
) -> _Result:
    """Run the lesson with the solutions of `tasks`; cells of its other tasks are left out."""
    task_of = {name: task for task in tasks for name in (task.solution, task.check)}
    left_out = {name for task in lesson.tasks for name in (task.solution, task.check)} - task_of.keys()
    messages: dict[int, str] = {}
    current: Task | None = None
    solution_error = ""
    try:
        with contextlib.closing(Attempt(folder, limits)) as attempt:
            for cell in find_code_cells(lesson.notebook):
                name = find_id(cell)
                if name in left_out:
                    continue
                if name not in task_of:
                    error = attempt.run(cell.source, LESSON_LIMIT)
                    if error and current is None:
                        return _Result(messages, None, f"not graded: the lesson itself failed: {error}")
                    continue
                current = task_of[name]
                if name == current.solution:
                    solution_error = attempt.run(solutions[name], limits.cell)
                else:
                    error = attempt.run(cell.source, limits.cell)
                    messages[current.number] = error and (solution_error or error)
    except AttemptEnded as error:
        return _Result(messages, current, str(error))
    return _Result(messages, None, "not reached")


def grade_folder(
    folder: Path,
    lessons: Sequence[Lesson],
    limits: Limits = DEFAULT_LIMITS,
    workbook: Callable[[Path, str], None] | None = None,
) -> tuple[list[Submission], list[Mark]]:
    """Return all submissions in `folder` and their marks, one core per attempt; print a line per graded lesson.

    After Ctrl-C the submissions that are not graded yet have no points, and the remark `INTERRUPTED`.
    """
    submissions = collect_submissions(folder, lessons)

    def grade(pair: tuple[Submission, Lesson]) -> list[Mark]:
        submission, lesson = pair
        started = time.perf_counter()
        try:
            marks = grade_lesson(submission, lesson, limits, workbook or make_workbook)
        except Exception as error:  # an error of the grader costs one row, and is shown there
            reason = shorten(f"not graded: {type(error).__name__}: {error}", LONGEST_REMARK)
            marks = [Mark(submission.name, lesson.stem, task, False, reason) for task in lesson.tasks]
        points = f"{sum(mark.points for mark in marks):g} of {lesson.points:g}"
        print(f"  {submission.name}  {lesson.stem}  {points}  {time.perf_counter() - started:.0f} s", flush=True)
        return marks

    pairs = [(submission, lesson) for submission in submissions for lesson in lessons]
    pool = ThreadPoolExecutor(os.cpu_count())
    graded = [pool.submit(grade, pair) for pair in pairs]
    with contextlib.suppress(KeyboardInterrupt):  # running attempts are waited for, and no other is started
        wait(graded)
    pool.shutdown(cancel_futures=True)
    marks = []
    for (submission, lesson), future in zip(pairs, graded, strict=True):
        missing = [Mark(submission.name, lesson.stem, task, False, INTERRUPTED) for task in lesson.tasks]
        marks += missing if future.cancelled() else future.result()
    return submissions, marks


def tabulate(submissions: Sequence[Submission], lessons: Sequence[Lesson], marks: Sequence[Mark]) -> list[dict]:
    """Return a row per submission: its name, points per lesson, their sum, the highest possible sum, and remarks."""
    rows = []
    for submission in submissions:
        earned = [mark for mark in marks if mark.submission == submission.name]
        row: dict[str, object] = {"submission": submission.name}
        for lesson in lessons:
            row[lesson.stem[:2]] = sum(mark.points for mark in earned if mark.lesson == lesson.stem)
        row["points"] = sum(mark.points for mark in earned)
        row["of"] = sum(lesson.points for lesson in lessons)
        remarks = []
        for stem, texts in sorted(submission.remarks.items()):
            remarks += [f"{stem[:2]} {text}".strip() for text in texts]
        row["remarks"] = "; ".join(remarks)
        rows.append(row)
    return rows


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write `rows` as CSV; text that begins like a formula is quoted, so that a spreadsheet does not compute it."""
    rows, text = list(rows), io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({key: _defuse(value) for key, value in row.items()} for row in rows)
    files.write_text(path, text.getvalue())


def _defuse(value: object) -> object:
    """Return `value`; text that begins like a formula gets an apostrophe: students choose the names of their files."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def grade(folder: Path, numbers: Sequence[str] = (), limits: Limits = DEFAULT_LIMITS) -> bool:
    """Grade `folder`, write both tables into `GRADES`, print them, and return whether every submission was graded.

    Args:
        numbers: of the lessons; none means all that were handed in.

    Raises:
        LessonFailed: there is nothing to grade, or a lesson's own source cannot be read or does not pass.
    """
    notebook_paths = find_lessons(numbers)
    lessons = [Lesson.read(path) for path in notebook_paths]
    handed_in = {stem for submission in collect_submissions(folder, lessons) for stem in submission.solutions}
    lessons = [lesson for lesson in lessons if lesson.stem in handed_in or numbers]
    # The instructor's own run shows that the solutions pass, and leaves the checkpoints of the lesson.
    for path in notebook_paths:
        if path.stem in {lesson.stem for lesson in lessons}:
            run_lesson(path, paths.RUNS / path.stem / "smoke", "smoke")
    print(f"grading {folder}", flush=True)
    submissions, marks = grade_folder(folder, lessons, limits)
    rows = tabulate(submissions, lessons, marks)
    write_table(GRADES / "points.csv", rows)
    write_table(
        GRADES / "tasks.csv",
        (
            {"submission": mark.submission, "lesson": mark.lesson, "task": mark.task.number}
            | {"points": mark.points, "of": mark.task.points, "remark": mark.remark}
            for mark in marks
        ),
    )
    points = {row["submission"]: {key: row[key] for key in row if key not in ("submission", "remarks")} for row in rows}
    print(f"\n{plotting.format_table(points, decimals=0)}\n")
    print("\n".join(f"{row['submission']}: {row['remarks']}" for row in rows if row["remarks"]))
    print(f"written to {show(GRADES)}: points.csv, tasks.csv")
    return not any(mark.remark == INTERRUPTED for mark in marks)
