"""Pages of feedback: one for each submission, and one about the whole class for the instructor.

data/grades/
    feedback/     an HTML file per submission, with the name of its file in results/
    class.html    tasks, distribution of points, commonest known mistakes, submissions with remarks

The pages are written from the marks, as the tables of `grades`. A page contains its style and its figures, runs no
script and loads nothing. A page of a submission is made of this submission's marks and remarks alone. Students choose
names, values and messages: all of these are shortened, control characters become visible, and the templates escape
everything.
"""

from __future__ import annotations

import base64
import io
import shutil
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers import files, plotting
from helpers.course import grades
from helpers.course.exercises import Plan
from helpers.course.grades import INTERRUPTED, NOT_HANDED_IN, UNCHANGED, Mark
from helpers.course.lessons import shorten
from helpers.course.submissions import Submission, make_visible
from helpers.tasks.compiled import CompiledTask

SECURITY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the browser runs and fetches nothing
LONGEST_LINE = 300  # characters of a name, a remark or a message
LONGEST_NAME = 120
LONGEST_VALUE = 1500  # characters of a value; those of `grades.describe_verdict` have 600 at most
MOST_LINES = 40  # of a value
MOST_REMARKS = 50  # of one submission
MOST_MISTAKES = 20  # in the table of the class
BIN_WIDTH = 10  # percent of the points, in the figure of their distribution

GROUP_TITLES = {
    "by hand": "small examples worked out by hand",
    "borders and empty input": "borders and empty input",
    "shapes and batches": "shapes and batches",
    "laws": "rules that hold for every right function",
    "pairs": "together with another function of the workbook",
    "data": "random data",
}
"""Titles of the groups of cases, for a student."""

STATES = ("passed", "partly", "not passed", "not handed in", "not graded")
"""States of a task in a submission, in the order of table and figure."""
STATE_COLOURS = ("#009E73", "#E69F00", "#D55E00", "#C9CED1", "#FFFFFF")
STATE_STYLES = ("passed", "partly", "failed", "missing", "missing")
"""Classes of `feedback.css`."""


def find_state(mark: Mark) -> str:
    """Return the state of a task in a submission: one of `STATES`."""
    if not mark.is_graded:
        return "not graded"
    if mark.passed:
        return "passed"
    if mark.points > 0:
        return "partly"
    is_unwritten = mark.detail is not None and not mark.detail["is_written"]
    return "not handed in" if is_unwritten or mark.remark in (NOT_HANDED_IN, UNCHANGED) else "not passed"


def show_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Return a text of a student as one short line without control characters."""
    return shorten(make_visible(shorten(text[: 10 * longest], longest)), longest)


def show_value(text: str) -> str:
    """Return a described value without control characters, shortened; its lines are kept."""
    lines = text[:LONGEST_VALUE].split("\n")
    visible = "\n".join(make_visible(line) for line in lines[:MOST_LINES])[:LONGEST_VALUE]
    is_cut = len(text) > LONGEST_VALUE or len(lines) > MOST_LINES or len(visible) == LONGEST_VALUE
    return f"{visible} …" if is_cut else visible


def show_name(submission: str) -> str:
    """Return the name of a submission as the tables show it, shortened: text like a formula gets an apostrophe."""
    return shorten(grades.defuse(submission[:LONGEST_LINE]), LONGEST_NAME)


def name_page(submission: str) -> str:
    """Return the name of the file with the feedback for a submission."""
    return grades.name_result(submission).removesuffix(".json") + ".html"


def describe_lesson(plan: Plan) -> str:
    """Return number and name of a lesson: "Lesson 02: anchors and boxes"."""
    number, _, name = plan.lesson.stem.partition("_")
    return f"Lesson {number}: {name.replace('_', ' ')}"


def describe_task(mark: Mark, tasks: Mapping[str, CompiledTask]) -> str:
    """Return the title of a task: "2.3 compute_iou", or "exercise 02-1"."""
    if mark.task in tasks:
        return f"{tasks[mark.task].number} {mark.task}"
    return f"exercise {mark.lesson[:2]}-{mark.task}" if mark.task.isdecimal() else mark.task


def list_remarks(submission: Submission) -> list[str]:
    """Return the remarks about the files of a submission, with the numbers of their lessons."""
    remarks = []
    for stem, texts in sorted(submission.remarks.items()):
        remarks += [f"Lesson {stem[:2]}: {show_line(text)}" if stem else show_line(text) for text in texts]
    num_more = len(remarks) - MOST_REMARKS
    return [*remarks[:MOST_REMARKS], f"and {num_more} more"] if num_more > 0 else remarks


# The page of a submission


def describe_failure(failure: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first failing case of a build task as the page shows it."""
    inputs = [*zip(failure["input_names"], failure["inputs"], strict=True), *failure["keywords"].items()]
    changed = [f"{position} ({failure['input_names'][position - 1]})" for position in failure["changed_inputs"]]
    return {
        "title": failure["title"],
        "checked": failure["checked"],
        "inputs": [(name, show_value(value)) for name, value in inputs],
        "expected": show_value(failure["expected"]),
        "got": show_value(failure["got"]),
        "place": show_value(failure["place"]),
        "changed": ", ".join(changed),
    }


def describe_mark(mark: Mark, tasks: Mapping[str, CompiledTask]) -> dict[str, Any]:
    """Return a task of a submission as the page shows it."""
    state = find_state(mark)
    detail = mark.detail or {}
    title = f"Exercise {mark.task}" if mark.task.isdecimal() else describe_task(mark, tasks)
    if mark.task in tasks:
        title = f"{title}: {tasks[mark.task].title}"
    failure, mistakes = detail.get("first_failure"), detail.get("mistakes", [])
    is_written = detail.get("is_written", False)
    message = ""
    if not mark.is_graded:
        # The remark may be an error of the grader, with paths and names that are not the student's.
        message = mark.remark if mark.remark == INTERRUPTED else "This task was not graded. Ask your instructor."
    elif mark.detail is not None and not is_written:
        message = "The function is not written yet: it returns nothing, or its own input, or the stub is still there."
    elif mark.detail is None and state == "not passed":
        message = show_line(mark.remark.removeprefix("AssertionError: "))
    elif mark.remark == UNCHANGED:
        message = "The cell is left as it was."
    groups = [{"title": GROUP_TITLES[name], **counts} for name, counts in detail.get("groups", {}).items()]
    return {
        "title": title,
        "state": "Partly passed" if state == "partly" else state.capitalize(),
        "style": STATE_STYLES[STATES.index(state)],
        "points": grades.add_points([mark.points]),
        "of": grades.add_points([mark.of]),
        "groups": groups if is_written else [],
        "partners": ", ".join(detail.get("missing_partners", [])),
        "message": message,
        "failure": describe_failure(failure) if failure and is_written else None,
        "mistakes": mistakes,
        "hint": detail["hints"][0] if failure and not mistakes and detail["hints"] else "",
    }


def make_page(
    submission: Submission, plans: Sequence[Plan], marks: Sequence[Mark], tasks: Mapping[str, CompiledTask]
) -> str:
    """Return the HTML page for the student who handed in a submission.

    Args:
        plans: what is graded of each lesson.
        marks: of all submissions; only those of `submission` are used.
        tasks: build tasks by name.
    """
    earned = [mark for mark in marks if mark.submission == submission.name]
    lessons = []
    for plan in plans:
        of_lesson = [mark for mark in earned if mark.lesson == plan.lesson.stem]
        questions = [
            {"number": question.number, "points": grades.add_points([question.points])}
            for question in plan.lesson.questions
        ]
        lessons.append(
            {
                "title": describe_lesson(plan),
                "points": grades.add_points(mark.points for mark in of_lesson),
                "of": grades.add_points(mark.of for mark in of_lesson),
                "tasks": [describe_mark(mark, tasks) for mark in of_lesson],
                "questions": questions,
            }
        )
    return fill_template(
        "feedback_student.html",
        name=show_name(submission.name),
        points=grades.add_points(mark.points for mark in earned),
        of=grades.add_points(mark.of for mark in earned),
        written_points=grades.add_points(plan.lesson.written_points for plan in plans),
        num_ungraded=sum(not mark.is_graded for mark in earned),
        remarks=list_remarks(submission),
        lessons=lessons,
    )


def fill_template(template: str, **values: Any) -> str:
    """Return the page that `template`, a file of this folder, makes of `values`; all of them are escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(security=SECURITY, **values)


# The page of the class


def count_states(marks: Sequence[Mark], tasks: Mapping[str, CompiledTask]) -> dict[str, Counter[str]]:
    """Return for each task, by its title and in the order of the marks, how many submissions are in each state."""
    counts: dict[str, Counter[str]] = {}
    for mark in marks:
        counts.setdefault(describe_task(mark, tasks), Counter())[find_state(mark)] += 1
    return counts


def count_mistakes(marks: Sequence[Mark], tasks: Mapping[str, CompiledTask]) -> list[dict[str, Any]]:
    """Return a row per known mistake, the commonest first: number of submissions, task, code, name and hint."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for mark in marks:
        for mistake in (mark.detail or {}).get("mistakes", []):
            row = {"count": 0, "task": describe_task(mark, tasks)}
            row |= {name: mistake[name] for name in ("code", "name", "hint")}
            rows.setdefault((mark.task, mistake["code"]), row)["count"] += 1
    return sorted(rows.values(), key=lambda row: -row["count"])


def plot_states(counts: Mapping[str, Counter[str]]) -> Figure:
    """Return a figure with a bar per task: how many submissions passed, partly, not, or did not hand it in."""
    figure = Figure(figsize=(4.2, 1.0 + 0.27 * len(counts)))
    ax = figure.add_subplot()
    titles = list(counts)
    starts = [0] * len(titles)
    for state, colour in zip(STATES, STATE_COLOURS, strict=True):
        numbers = [counts[title][state] for title in titles]
        if any(numbers):
            ax.barh(titles, numbers, left=starts, color=colour, edgecolor="0.4", linewidth=0.5, label=state)
        starts = [start + number for start, number in zip(starts, numbers, strict=True)]
    ax.set(xlabel="submissions", ylim=(len(titles) - 0.5, -0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(False, axis="y")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def count_bins(shares: Sequence[float]) -> list[int]:
    """Return how many shares (0 to 1) lie in each bin of `BIN_WIDTH` percent; the last bin holds 100 %, too."""
    num_bins = 100 // BIN_WIDTH
    bins = [0] * num_bins
    for share in shares:
        bins[min(int(share * num_bins + 1e-9), num_bins - 1)] += 1
    return bins


def plot_points(bins: Sequence[int]) -> Figure:
    """Return a figure of the distribution of points, in percent of the highest sum."""
    figure = Figure(figsize=(4.2, 2.5))
    ax = figure.add_subplot()
    starts = range(0, 100, BIN_WIDTH)
    ax.bar(starts, bins, width=BIN_WIDTH, align="edge", color=plotting.COLOURS[0], edgecolor="white")
    ax.set(xlabel="points in percent of the highest sum", ylabel="submissions", xlim=(0, 100))
    ax.set_xticks(range(0, 101, 2 * BIN_WIDTH))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.grid(False, axis="x")
    return figure


def embed_figure(figure: Figure) -> str:
    """Return a figure as the address of an embedded SVG image."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(content.getvalue()).decode()}"


def make_class_page(submissions: Sequence[Submission], marks: Sequence[Mark], tasks: Mapping[str, CompiledTask]) -> str:
    """Return the HTML page about all submissions, for the instructor.

    Args:
        marks: of all submissions.
        tasks: build tasks by name.
    """
    counts = count_states(marks, tasks)
    shown_states = [state for state in STATES if state != "not graded" or any(row[state] for row in counts.values())]
    mistakes = count_mistakes(marks, tasks)
    ungraded = {mark.submission for mark in marks if not mark.is_graded}
    sums, highest_sum = [], 0.0
    for submission in submissions:
        earned = [mark for mark in marks if mark.submission == submission.name]
        highest_sum = max(highest_sum, grades.add_points(mark.of for mark in earned))
        if earned and submission.name not in ungraded:
            sums.append(grades.add_points(mark.points for mark in earned))
    tasks_text = f"Bars: how many submissions passed each of {len(counts)} tasks. The table below has the numbers."
    bins = count_bins([points / highest_sum for points in sums] if highest_sum else [])
    bin_texts = [
        f"{number * BIN_WIDTH} to {(number + 1) * BIN_WIDTH} %: {count}" for number, count in enumerate(bins) if count
    ]
    with matplotlib.rc_context():
        plotting.use_style()
        points_figure = embed_figure(plot_points(bins)) if any(bins) else ""
        tasks_figure = embed_figure(plot_states(counts)) if counts else ""
    remarked = [
        {"name": show_name(each.name), "page": f"feedback/{name_page(each.name)}", "remarks": list_remarks(each)}
        for each in submissions
        if each.remarks
    ]
    return fill_template(
        "feedback_class.html",
        num_submissions=len(submissions),
        num_ungraded=len(ungraded),
        median=grades.add_points([statistics.median(sums)]) if sums else 0,
        lowest=min(sums, default=0),
        highest=max(sums, default=0),
        of=grades.add_points([highest_sum]),
        points_figure=points_figure,
        points_text=f"Number of submissions by points in percent of the highest sum. {'; '.join(bin_texts)}.",
        tasks_figure=tasks_figure,
        tasks_text=tasks_text,
        states=[state.capitalize() for state in shown_states],
        tasks=[{"title": title, "counts": [row[state] for state in shown_states]} for title, row in counts.items()],
        unsolved=[title for title, row in counts.items() if not row["passed"]],
        mistakes=mistakes[:MOST_MISTAKES],
        num_more_mistakes=max(0, len(mistakes) - MOST_MISTAKES),
        remarked=remarked,
    )


def write_feedback(
    folder: Path,
    submissions: Sequence[Submission],
    plans: Sequence[Plan],
    marks: Sequence[Mark],
    tasks: Mapping[str, CompiledTask],
) -> list[Path]:
    """Write the page of each submission and that of the class, in place of those of an earlier grading.

    Args:
        folder: of the grades.
        tasks: build tasks by name.

    Returns:
        The pages of the submissions.
    """
    shutil.rmtree(folder / "feedback", ignore_errors=True)
    pages = []
    for submission in submissions:
        path = folder / "feedback" / name_page(submission.name)
        files.write_text(path, make_page(submission, plans, marks, tasks))
        pages.append(path)
    files.write_text(folder / "class.html", make_class_page(submissions, marks, tasks))
    return pages
