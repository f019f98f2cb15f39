"""Grades: the marks of all tasks, and the tables and results that are written from them.

data/grades/
    points.csv    a row per submission: points per lesson, their sum, what could be reached, sandbox, remarks
    tasks.csv     a row per submission and task: points, groups of cases, known mistakes, what is wrong
    canvas.csv    for the import of grades into Canvas
    moodle.csv    for the upload of a grading worksheet into Moodle
    results/      a JSON file per submission: the marks with all that a page for the student needs
    feedback/     that page, see `feedback`; class.html is about all submissions
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import files
from helpers.course.exercises import Plan
from helpers.course.submissions import Submission, make_visible
from helpers.tasks.compiled import CompiledTask
from helpers.tasks.judging import Verdict
from helpers.tasks.tasks import describe_call, name_inputs
from helpers.tasks.values import describe, to_json

INTERRUPTED = "not graded: interrupted"
NOT_HANDED_IN, UNCHANGED = "not handed in", "left as it was"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
LONGEST_JSON = 100_000  # characters of a value of a student: the marks of a class stay in memory until all are graded
MOODLE_NAME = re.compile(r"^(?P<name>.+?)_(?P<id>\d+)_assignsubmission_\w*$")
CANVAS_NAME = re.compile(r"^(?P<name>[^_]+)(?:_LATE)?_(?P<id>\d+)_\d+_")


@dataclass(frozen=True)
class Mark:
    """Result of one task of one submission."""

    submission: str
    lesson: str  # stem
    task: str  # number of an exercise in its lesson, or name of a build task
    points: float
    of: float
    remark: str = ""  # what is wrong
    detail: Mapping[str, Any] | None = None  # of a build task: `describe_verdict`
    is_graded: bool = True  # False: interrupted, or an error of the grader

    @property
    def passed(self) -> bool:
        """Whether the task earned all its points."""
        return self.points == self.of


def describe_verdict(task: CompiledTask, verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON can hold it; texts are for a reader, `…_value` hold the JSON of plain values.

    `got_value` is None if its JSON is longer than `LONGEST_JSON`.
    """
    detail: dict[str, Any] = {
        "name": task.name,
        "number": task.number,
        "title": task.title,
        "hints": list(task.hints),
        "is_written": verdict.is_written,
        "groups": {group: {"passed": passed, "of": total} for group, (passed, total) in verdict.passed.items()},
        "convention": verdict.convention,
        "missing_partners": list(verdict.skipped),
        "mistakes": [
            {
                "code": diagnosis.mistake.code,
                "name": diagnosis.mistake.name,
                "hint": diagnosis.mistake.hint,
                "is_certain": diagnosis.is_certain,
            }
            for diagnosis in verdict.diagnoses
        ],
        "first_failure": None,
    }
    if verdict.failures:
        failure = verdict.failures[0]
        case, outcome = task.cases[failure.number], failure.outcome
        detail["first_failure"] = {
            "group": case.group,
            "title": case.title,
            "checked": describe_call(case),
            "input_names": name_inputs(task, case),
            "inputs": [describe(value) for value in case.inputs],
            "keywords": {name: describe(value) for name, value in case.keywords.items()},
            "expected": describe(failure.expected),
            "got": describe(outcome.value),
            "changed_inputs": [position + 1 for position in outcome.changed],
            "place": outcome.place,
            "input_values": [to_json(value) for value in case.inputs],
            "expected_value": to_json(failure.expected),
            "got_value": _limit_json(to_json(outcome.value)),
        }
    return detail


def _limit_json(content: Any) -> Any:
    return content if len(json.dumps(content)) <= LONGEST_JSON else None


def describe_groups(mark: Mark) -> str:
    """Return how many groups of a build task passed: "4 of 6"; "" for an exercise."""
    groups = (mark.detail or {}).get("groups", {})
    complete = [group["passed"] == group["of"] for group in groups.values()]
    return f"{sum(complete)} of {len(complete)}" if complete else ""


def list_mistakes(mark: Mark) -> str:
    """Return the codes of the known mistakes in a build task."""
    return " ".join(mistake["code"] for mistake in (mark.detail or {}).get("mistakes", []))


def tabulate(
    submissions: Sequence[Submission], plans: Sequence[Plan], marks: Sequence[Mark], sandbox: str
) -> list[dict[str, object]]:
    """Return a row per submission: name, points per lesson, their sum, the highest possible sum, sandbox, remarks."""
    rows = []
    for submission in submissions:
        earned = [mark for mark in marks if mark.submission == submission.name]
        row: dict[str, object] = {"submission": submission.name}
        for plan in plans:
            row[plan.lesson.stem[:2]] = add_points([mark.points for mark in earned if mark.lesson == plan.lesson.stem])
        row["points"] = add_points([mark.points for mark in earned])
        row["of"] = add_points([mark.of for mark in earned])
        row["sandbox"] = sandbox
        remarks = []
        for stem, texts in sorted(submission.remarks.items()):
            remarks += [f"{stem[:2]} {text}".strip() for text in texts]
        ungraded = sum(not mark.is_graded for mark in earned)
        remarks += [f"tasks that were not graded: {ungraded}"] if ungraded else []
        row["remarks"] = "; ".join(remarks)
        rows.append(row)
    return rows


def add_points(points: Iterable[float]) -> float:
    """Return the sum of points as all tables show it: two decimals, and a whole number as an int."""
    total = round(sum(points), 2)
    return int(total) if total == int(total) else total


def list_tasks(marks: Sequence[Mark]) -> list[dict[str, object]]:
    """Return a row per submission and task."""
    return [
        {
            "submission": mark.submission,
            "lesson": mark.lesson,
            "task": mark.task,
            "points": add_points([mark.points]),
            "of": add_points([mark.of]),
            "groups": describe_groups(mark),
            "mistakes": list_mistakes(mark),
            "remark": mark.remark,
        }
        for mark in marks
    ]


def list_canvas(rows: Sequence[Mapping[str, object]], title: str) -> list[dict[str, object]]:
    """Return the rows of a gradebook of Canvas: the row of possible points, and a row per student.

    The student's number in Canvas is taken from the names that Canvas gives to downloaded submissions.
    """
    assignment = f"{title} (points)"
    empty = {"Student": "", "ID": "", "SIS User ID": "", "SIS Login ID": "", "Section": ""}
    highest = max((row["of"] for row in rows), key=_to_number, default=0)
    table: list[dict[str, object]] = [{**empty, "Student": "    Points Possible", assignment: highest}]
    for row in rows:
        match = CANVAS_NAME.match(str(row["submission"]))
        name, number = (match["name"], match["id"]) if match else (row["submission"], "")
        table.append({**empty, "Student": name, "ID": number, assignment: row["points"]})
    return table


def _to_number(value: object) -> float:
    return float(str(value))


def list_moodle(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return the rows of a grading worksheet of Moodle.

    The identifier is taken from the names of the folders in which Moodle downloads submissions.
    """
    table = []
    for row in rows:
        match = MOODLE_NAME.match(str(row["submission"]))
        name, number = (match["name"], f"Participant {match['id']}") if match else (row["submission"], "")
        table.append(
            {
                "Identifier": number,
                "Full name": name,
                "Grade": row["points"],
                "Maximum grade": row["of"],
                "Feedback comments": row["remarks"],
            }
        )
    return table


def write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write `rows` as CSV; text that begins like a formula is quoted, and control characters are made visible."""
    rows, text = list(rows), io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writerow({name: defuse(name) for name in rows[0]})
    table.writerows({key: defuse(value) for key, value in row.items()} for row in rows)
    files.write_text(path, text.getvalue())


def defuse(value: object) -> object:
    """Return `value`; text that begins like a formula gets an apostrophe: students choose the names of their files."""
    if not isinstance(value, str):
        return value
    visible = make_visible(value)
    return f"'{visible}" if value.startswith(FORMULA) or visible.lstrip().startswith(FORMULA) else visible


def name_result(submission: str) -> str:
    """Return the name of the file with the result of a submission: readable, and different for each."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", submission).strip("_")[:40]
    digest = hashlib.sha256(submission.encode(errors="backslashreplace")).hexdigest()[:8]
    return f"{readable}_{digest}.json"


def write_results(folder: Path, submissions: Sequence[Submission], marks: Sequence[Mark], sandbox: str) -> None:
    """Write a JSON file per submission, in place of those of an earlier grading."""
    shutil.rmtree(folder, ignore_errors=True)
    for submission in submissions:
        earned = [mark for mark in marks if mark.submission == submission.name]
        content = {
            "submission": submission.name,
            "points": add_points([mark.points for mark in earned]),
            "of": add_points([mark.of for mark in earned]),
            "sandbox": sandbox,
            "remarks": submission.remarks,
            "tasks": [
                {
                    "lesson": mark.lesson,
                    "task": mark.task,
                    "kind": "exercise" if mark.detail is None and mark.task.isdecimal() else "build",
                    "points": add_points([mark.points]),
                    "of": add_points([mark.of]),
                    "remark": mark.remark,
                    "is_graded": mark.is_graded,
                    "verdict": mark.detail,
                }
                for mark in earned
            ],
        }
        files.write_text(folder / name_result(submission.name), json.dumps(content, indent=1) + "\n")
