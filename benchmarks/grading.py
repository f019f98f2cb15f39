"""Throughput of grading: copies of the reference solutions of one lesson, in the sandbox and without it.

python -m benchmarks.grading [LESSON] [COPIES]
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from benchmarks.timing import print_measurements
from helpers import handout, paths
from helpers.course import grading, sandbox
from helpers.course.attempts import Setting
from helpers.course.checks.catalogue import list_definitions
from helpers.course.checks.definition import Definition
from helpers.course.execution import run_lesson
from helpers.course.exercises import Plan, make_plan
from helpers.course.lessons import find_code_cells, find_lessons
from helpers.course.student import Lesson, find_id
from helpers.course.submissions import Submission
from helpers.course.views import Views

LESSON = "02"
COPIES = 4  # two at a time on two cores


def measure(number: str = LESSON, copies: int = COPIES) -> dict[str, float]:
    """Return seconds per submission, of the start of the checks, and the ratio of sandbox to plain process.

    The start is the lesson's run in the process of the checks, once per grading.
    """
    (path,) = find_lessons([number])
    definitions = list_definitions()
    plan = make_plan(Lesson.read(path), definitions)
    handout.ensure_handout()
    with contextlib.redirect_stdout(io.StringIO()):
        run_lesson(path, paths.RUNS / path.stem / "smoke", "smoke")
    used = [definition for definition in definitions if definition.name in plan.builds]
    seconds, start = _grade(plan, used, copies)
    with mock.patch.object(sandbox, "find_sandbox", return_value=(sandbox.PLAIN, "a benchmark")):
        plain_seconds, _ = _grade(plan, used, copies)
    return {
        "grading.seconds_per_submission": seconds,
        "grading.start_seconds": start,
        "grading.sandbox_ratio": seconds / plain_seconds,
    }


def _grade(plan: Plan, definitions: list[Definition], copies: int) -> tuple[float, float]:
    """Return the seconds per submission, and those of the first one, which starts the checks."""
    with tempfile.TemporaryDirectory(prefix="workbook_benchmark_") as folder:
        grader = grading.make_grader([plan], definitions, Views(Path(folder)), Setting(sandbox.DEFAULT_LIMITS))
        try:
            start = _time(plan, grader, 1)
            seconds = _time(plan, grader, copies)
        finally:
            grader.close()
    return seconds / copies, start


def _time(plan: Plan, grader: grading.Grader, copies: int) -> float:
    """Return the seconds of grading copies of the reference solutions.

    Raises:
        RuntimeError: a reference solution did not earn all points.
    """
    solutions = {str(find_id(cell)): cell.source for cell in find_code_cells(plan.lesson.notebook) if find_id(cell)}
    submissions = [Submission(str(number), {plan.lesson.stem: solutions}) for number in range(copies)]
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        marks = grading.grade_submissions(submissions, grader)
    seconds = time.perf_counter() - started
    if failed := [mark for mark in marks if not mark.passed and mark.task.isdecimal()]:
        raise RuntimeError(f"task {failed[0].task}: {failed[0].remark}")
    return seconds


if __name__ == "__main__":
    lesson = sys.argv[1] if len(sys.argv) > 1 else LESSON
    print_measurements(measure(lesson, int(sys.argv[2]) if len(sys.argv) > 2 else COPIES))
