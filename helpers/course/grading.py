"""Grading of a folder of submissions (command: `workbook grade`).

What judges an answer is never in a process that runs a student's code.

Only the solution cells of a submission are used. They run in a sandbox (`sandbox`), from which plain values come back:

    build tasks   the functions that a student writes are called with the inputs of hidden cases, which are drawn from a
                  secret seed; what they return is compared here (`helpers.tasks.judging`)
    exercises     the lesson's cells and the solution cells run; the named answers are put into a clean process in which
                  no student's code runs, and the check cell with its hidden tests runs there

A task that hangs or ends its process costs its own points only.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from helpers import paths, plotting
from helpers.course import feedback, grades, sandbox
from helpers.course.attempts import Checker, Setting, Tried, try_exercises, try_functions
from helpers.course.checks.catalogue import list_definitions
from helpers.course.checks.definition import Definition, compile_task
from helpers.course.execution import run_lesson
from helpers.course.exercises import Exercise, Plan, make_plan
from helpers.course.grades import INTERRUPTED, NOT_HANDED_IN, UNCHANGED, Mark
from helpers.course.lessons import find_lessons, shorten, show
from helpers.course.sandbox import DEFAULT_LIMITS, LONGEST_REMARK, AttemptEnded, Limits, Stopped
from helpers.course.schedule import count_cores
from helpers.course.student import Lesson
from helpers.course.submissions import Submission, collect_submissions, find_stubs, make_visible, normalise
from helpers.course.views import Views
from helpers.tasks.compiled import CompiledTask
from helpers.tasks.judging import judge

GRADES = paths.DATA / "grades"
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@dataclass(frozen=True)
class Grader:
    """Everything that the grading of each submission needs."""

    plans: Sequence[Plan]
    tasks: dict[str, CompiledTask]  # build tasks with hidden cases, by name
    checkers: dict[str, Checker]  # by lesson
    views: Views
    setting: Setting

    def close(self) -> None:
        """End the processes of all checks."""
        for checker in self.checkers.values():
            checker.close()


def make_grader(
    plans: Sequence[Plan], definitions: Sequence[Definition], views: Views, setting: Setting, seed: int | None = None
) -> Grader:
    """Return a grader.

    Args:
        definitions: of the build tasks of `plans`.
        seed: of the hidden cases; a secret one if None.
    """
    seed = secrets.randbits(62) if seed is None else seed
    tasks = {definition.name: compile_task(definition, seed) for definition in definitions}
    checkers = {
        plan.lesson.stem: Checker(plan, views.of_checks(plan.lesson.stem), setting) for plan in plans if plan.exercises
    }
    return Grader(plans, tasks, checkers, views, setting)


# One submission


def grade_builds(submission: Submission, grader: Grader) -> list[Mark]:
    """Return the marks of all build tasks of one submission.

    Raises:
        Stopped: the grader was told to stop.
    """
    sources: dict[str, str] = {}
    remarks: dict[str, str] = {}
    for plan in grader.plans:
        stubs = find_stubs(plan)
        for name in plan.builds:
            identifier = f"{name}-solution"
            known = stubs[identifier] | {normalise(grader.tasks[name].stub)}
            source, remark = find_solution(submission, plan, identifier, known)
            if remark:
                remarks[name] = remark
            else:
                sources[name] = source
    tried: dict[str, Tried] = {}
    if sources:
        tasks = [grader.tasks[name] for name in sources]
        tried = try_functions(tasks, sources, grader.views.of_functions(), grader.setting)
    marks = []
    for plan in grader.plans:
        for name in plan.builds:
            task = grader.tasks[name]
            if name in remarks:
                marks.append(Mark(submission.name, plan.lesson.stem, name, 0, task.points, remarks[name]))
            else:
                marks.append(mark_build(submission.name, plan.lesson.stem, task, tried[name]))
    return marks


def find_solution(submission: Submission, plan: Plan, identifier: str, stubs: set[str]) -> tuple[str, str]:
    """Return the source of a solution cell, or the remark that says why there is none to run."""
    source = submission.solutions.get(plan.lesson.stem, {}).get(identifier)
    if source is None:
        return "", NOT_HANDED_IN
    if normalise(source) in stubs:
        return "", UNCHANGED
    try:
        source.encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        return "", f"the cell contains {half}, half of a character (a lone surrogate): type that character again"
    return source, ""


def mark_build(submission: str, stem: str, task: CompiledTask, tried: Tried) -> Mark:
    """Return the mark of a build task."""
    if not tried.outcomes:
        return Mark(submission, stem, task.name, 0, task.points, shorten_remark(tried.problem))
    verdict = judge(task, tried.outcomes)
    detail = grades.describe_verdict(task, verdict)
    points = round(task.points * verdict.share, 2)
    remark = ""
    if not verdict.is_written:
        remark = "not written yet"
    elif verdict.failures:
        failure = verdict.failures[0]
        case = task.cases[failure.number]
        groups = [f"{group} {passed} of {total}" for group, (passed, total) in verdict.passed.items() if passed < total]
        mistakes = [f"{diagnosis.mistake.code}: {diagnosis.mistake.name}" for diagnosis in verdict.diagnoses]
        remark = "; ".join([", ".join(groups), *mistakes, f"first case that fails: {case.title}", tried.problem])
    elif verdict.skipped:
        remark = f"pair checks were left out, because of {', '.join(verdict.skipped)}"
    return Mark(submission, stem, task.name, points, task.points, shorten_remark(remark.rstrip("; ")), detail)


def shorten_remark(text: str) -> str:
    """Return a text of a student's process as one visible line."""
    return make_visible(shorten(text[: 10 * LONGEST_REMARK], LONGEST_REMARK))[: 2 * LONGEST_REMARK]


def grade_exercises(submission: Submission, plan: Plan, grader: Grader) -> list[Mark]:
    """Return the marks of one submission in the exercises of one lesson.

    Raises:
        Stopped: the grader was told to stop.
    """
    stem = plan.lesson.stem
    remarks: dict[int, str] = {}
    ungraded: set[int] = set()
    sources: dict[str, str] = {}
    stubs = find_stubs(plan)
    remaining: list[Exercise] = []
    for exercise in plan.exercises:
        identifier = exercise.task.solution
        source, remark = find_solution(submission, plan, identifier, stubs[identifier])
        if remark:
            remarks[exercise.task.number] = remark
        else:
            sources[identifier] = source
            remaining.append(exercise)
    if remaining:
        view = grader.views.of_answers(stem)
        answered = try_exercises(plan, remaining, sources, view, grader.setting)
        for exercise in remaining:
            number = exercise.task.number
            remarks[number] = answered[number].problem
            if not remarks[number]:
                try:
                    remarks[number] = grader.checkers[stem].check(exercise, answered[number].answers)
                except AttemptEnded as error:
                    remarks[number] = f"not graded: {error}"
                    ungraded.add(number)
    return [
        Mark(
            submission.name,
            stem,
            str(exercise.task.number),
            0 if remarks[exercise.task.number] else exercise.task.points,
            exercise.task.points,
            shorten_remark(remarks[exercise.task.number]),
            is_graded=exercise.task.number not in ungraded,
        )
        for exercise in plan.exercises
    ]


# All submissions


def list_unmarked(submission: Submission, plan: Plan | None, grader: Grader, remark: str) -> list[Mark]:
    """Return marks without points, for the build tasks of all lessons (no plan) or the exercises of one."""
    if plan is None:
        return [
            Mark(submission.name, each.lesson.stem, name, 0, grader.tasks[name].points, remark, is_graded=False)
            for each in grader.plans
            for name in each.builds
        ]
    return [
        Mark(submission.name, plan.lesson.stem, str(each.task.number), 0, each.task.points, remark, is_graded=False)
        for each in plan.exercises
    ]


def grade_submissions(submissions: Sequence[Submission], grader: Grader) -> list[Mark]:
    """Return the marks of all submissions, one core per attempt; print a line per submission and lesson.

    When the grader is told to stop, running attempts are ended. What is not graded by then has no points, and the
    remark `INTERRUPTED`.
    """
    has_builds = any(plan.builds for plan in grader.plans)
    parts: list[Plan | None] = [None] * has_builds + [plan for plan in grader.plans if plan.exercises]
    pairs = [(submission, plan) for submission in submissions for plan in parts]
    pool = ThreadPoolExecutor(count_cores())
    futures = [pool.submit(_grade_part, submission, plan, grader) for submission, plan in pairs]
    while not grader.setting.stop.is_set() and wait(futures, timeout=0.2).not_done:
        pass
    pool.shutdown(cancel_futures=True)
    marks: list[Mark] = []
    for (submission, plan), future in zip(pairs, futures, strict=True):
        is_missing = future.cancelled()
        marks += list_unmarked(submission, plan, grader, INTERRUPTED) if is_missing else future.result()
    order = {submission.name: number for number, submission in enumerate(submissions)}
    lessons = {plan.lesson.stem: number for number, plan in enumerate(grader.plans)}
    return sorted(marks, key=lambda mark: (order[mark.submission], lessons[mark.lesson]))


def _grade_part(submission: Submission, plan: Plan | None, grader: Grader) -> list[Mark]:
    """Return the marks of one submission in all build tasks (no plan) or in the exercises of one lesson."""
    started = time.perf_counter()
    try:
        if grader.setting.stop.is_set():
            raise Stopped
        marks = grade_builds(submission, grader) if plan is None else grade_exercises(submission, plan, grader)
    except Stopped:
        return list_unmarked(submission, plan, grader, INTERRUPTED)
    except Exception as error:  # an error of the grader costs one row, and is shown there
        reason = shorten_remark(f"not graded: {type(error).__name__}: {error}")
        marks = list_unmarked(submission, plan, grader, reason)
    points = f"{sum(mark.points for mark in marks):g} of {sum(mark.of for mark in marks):g}"
    part = "build tasks" if plan is None else plan.lesson.stem
    seconds = time.perf_counter() - started
    with contextlib.suppress(OSError):  # the terminal has gone: the tables are written all the same
        print(f"  {submission.name}  {part}  {points}  {seconds:.0f} s", flush=True)
    return marks


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` in place of ending this process when it is interrupted, terminated, or loses its terminal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.signal(number, lambda *_: stop()) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _interrupt() -> None:
    raise KeyboardInterrupt


def grade(folder: Path, numbers: Sequence[str] = (), limits: Limits = DEFAULT_LIMITS) -> bool:
    """Grade `folder`, write all tables into `GRADES`, print them, and return whether grading ran to its end.

    A submission that the grader could not grade has a remark in the tables. The feedback pages are written, too.

    Args:
        numbers: of the lessons; none means all that were handed in.

    Raises:
        LessonFailed: there is nothing to grade, or a lesson's own source cannot be read or does not pass.
    """
    sandbox.require_fork()
    with stop_on_signals(_interrupt):
        notebook_paths = find_lessons(numbers)
        definitions = list_definitions()
        plans = [make_plan(Lesson.read(path), definitions) for path in notebook_paths]
        handed_in = {stem for submission in collect_submissions(folder, plans) for stem in submission.solutions}
        plans = [plan for plan in plans if plan.lesson.stem in handed_in or numbers] or plans
        # The instructor's own run shows that the solutions pass, and leaves the checkpoints of the lesson.
        for path in notebook_paths:
            if path.stem in handed_in and any(path.stem == plan.lesson.stem and plan.exercises for plan in plans):
                run_lesson(path, paths.RUNS / path.stem / "smoke", "smoke")
        submissions = collect_submissions(folder, plans)
    warning = sandbox.describe_missing_sandbox()
    if warning:
        print(warning, file=sys.stderr, flush=True)
    print(f"grading {folder}", flush=True)
    setting = Setting(limits)
    with stop_on_signals(setting.stop.set), tempfile.TemporaryDirectory(prefix="workbook_grading_") as temporary:
        asked = {name for plan in plans for name in plan.builds}
        views = Views(Path(temporary).resolve(), definitions)
        grader = make_grader(plans, [each for each in definitions if each.name in asked], views, setting)
        try:
            marks = grade_submissions(submissions, grader)
        finally:
            grader.close()
        _write_tables(submissions, plans, marks)
        _write_feedback(submissions, grader, marks)
    with contextlib.suppress(OSError):
        print(warning or "sandbox: bubblewrap", flush=True)
    return not setting.stop.is_set()


def _write_tables(submissions: Sequence[Submission], plans: Sequence[Plan], marks: Sequence[Mark]) -> None:
    """Write and print all tables."""
    kind, _ = sandbox.find_sandbox()
    rows = grades.tabulate(submissions, plans, marks, kind)
    title = "Workbook " + " ".join(plan.lesson.stem[:2] for plan in plans)
    grades.write_table(GRADES / "points.csv", rows)
    if marks:
        grades.write_table(GRADES / "tasks.csv", grades.list_tasks(marks))
    grades.write_table(GRADES / "canvas.csv", grades.list_canvas(rows, title))
    grades.write_table(GRADES / "moodle.csv", grades.list_moodle(rows))
    grades.write_results(GRADES / "results", submissions, marks, kind)
    hidden = ("submission", "remarks", "sandbox")
    points = {str(row["submission"]): {key: row[key] for key in row if key not in hidden} for row in rows}
    with contextlib.suppress(OSError):
        print(f"\n{plotting.format_table(points, decimals=2)}\n")  # pyright: ignore[reportArgumentType]
        print("\n".join(f"{row['submission']}: {row['remarks']}" for row in rows if row["remarks"]))
        print(f"written to {show(GRADES)}: points.csv, tasks.csv, canvas.csv, moodle.csv, results/", flush=True)


def _write_feedback(submissions: Sequence[Submission], grader: Grader, marks: Sequence[Mark]) -> None:
    """Write all pages of feedback, and print where they are."""
    pages = feedback.write_feedback(GRADES, submissions, grader.plans, marks, grader.tasks)
    with contextlib.suppress(OSError):
        print(f"feedback: {show(GRADES / 'feedback')}/ ({len(pages)} pages), {show(GRADES / 'class.html')}", flush=True)
