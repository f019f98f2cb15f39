"""Attempts: what a submission's code returns in the sandbox, and the checks of its answers in a clean process.

Only plain values come back. A task is blamed for the end of its process only after it ended one alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from helpers.course.exercises import Exercise, Plan
from helpers.course.lessons import find_code_cells
from helpers.course.sandbox import (
    BUBBLEWRAP,
    NUM_PROCESSES,
    START_LIMIT,
    AttemptEnded,
    Limits,
    Process,
    View,
    open_process,
)
from helpers.course.student import find_id
from helpers.tasks.attempt import MISSING
from helpers.tasks.compiled import CompiledTask
from helpers.tasks.judging import UNWRITTEN
from helpers.tasks.running import Outcome
from helpers.tasks.values import Failure, NotPlain, from_json, to_json

MARGIN = 20.0  # seconds that a reply may take beyond the limits that the attempt itself enforces
ENDED = "Ended"  # kind of the failure in place of outcomes that were not sent

Request = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What all attempts of a grading share."""

    limits: Limits
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Answer:
    """Reply of an attempt about one task, as it came: every part of it may be forged."""

    values: list[Any]
    problem: str  # why the attempt ended too early, or ""
    lesson: str = ""  # first error of the lesson's own cells before the task


def collect_answers(
    keys: Sequence[Any], make_request: Callable[[Sequence[Any]], Request], view: View, setting: Setting, seconds: float
) -> dict[Any, Answer]:
    """Return the reply about each task; processes are started until each task has one.

    Args:
        keys: of the tasks, in the order in which the attempt replies.
        make_request: returns the request for some of the keys.
        seconds: until a reply, the attempt's start included.

    Raises:
        Stopped: the grader was told to stop.
    """
    answers: dict[Any, Answer] = {}
    batches = [list(keys)]
    while batches:
        batch = batches.pop(0)
        waiting = list(batch)
        try:
            with open_process(view, setting.limits, setting.stop) as process:
                shared = {"memory": setting.limits.memory, "seconds": setting.limits.cell, "copies": process.copies}
                num_processes = NUM_PROCESSES if process.kind == BUBBLEWRAP else 0
                process.send(shared | {"num_processes": num_processes} | make_request(batch))
                while waiting:
                    answers[waiting[0]] = _read_answer(process.receive(seconds), waiting[0])
                    del waiting[0]
        except AttemptEnded as error:
            if len(batch) == 1:
                answers[batch[0]] = Answer([], str(error))
            else:
                batches += [[key] for key in waiting[:1]] + [waiting[1:]] * bool(waiting[1:])
    return answers


def _read_answer(reply: Mapping[str, Any], key: Any) -> Answer:
    """Return a reply in the types that are promised."""
    values, problem, lesson = reply.get("values"), reply.get("problem"), reply.get("lesson", "")
    if reply.get("task") != key or not isinstance(values, list):
        raise AttemptEnded("its reply is about another task")
    return Answer(values, problem if isinstance(problem, str) else "", lesson if isinstance(lesson, str) else "")


# Build tasks


@dataclass(frozen=True)
class Tried:
    """What a student's function returned on the cases of its task."""

    outcomes: list[Outcome]  # one per case; empty if the function could not be loaded
    problem: str  # why there are none, or why the last ones are missing


def try_functions(
    tasks: Sequence[CompiledTask], sources: Mapping[str, str], view: View, setting: Setting
) -> dict[str, Tried]:
    """Return what the functions of a submission return on the inputs of their tasks.

    Args:
        tasks: those that were handed in.
        sources: cells of the submission by the name of their task. Those that work serve as partners of pair checks,
            and take the place of the workbook's functions, as in the student's own lessons.

    Raises:
        Stopped: the grader was told to stop.
    """
    task_of = {task.name: task for task in tasks}
    seconds = START_LIMIT + setting.limits.cell + MARGIN

    def run(names: Sequence[str], solutions: Mapping[str, str]) -> dict[str, Tried]:
        def make_request(asked: Sequence[str]) -> Request:
            return {
                "kind": "functions",
                "solutions": dict(solutions),
                "tasks": [_make_task(task_of[name], sources[name], solutions) for name in asked],
            }

        answers = collect_answers(names, make_request, view, setting, seconds)
        return {name: read_outcomes(task_of[name], answer) for name, answer in answers.items()}

    tried = run(list(task_of), {})  # each function alone, so that none can end or hang another one
    working = {name: sources[name] for name, attempt in tried.items() if attempt.outcomes}
    again = [name for name in working if _find_partners(task_of[name]) or _needs_others(tried[name])]
    if again:
        tried |= run(again, working)
    return {name: set_skips(task_of[name], attempt, set(working)) for name, attempt in tried.items()}


def _needs_others(tried: Tried) -> bool:
    """Return whether a function called one of the workbook's functions whose body is a task."""
    return any(isinstance(outcome.value, Failure) and outcome.value.kind == UNWRITTEN for outcome in tried.outcomes)


def _find_partners(task: CompiledTask) -> set[str]:
    return {partner for case in task.cases for partner in case.partners}


def _make_task(task: CompiledTask, source: str, solutions: Mapping[str, str]) -> Request:
    """Return a task as an attempt may see it: inputs alone."""
    return {
        "name": task.name,
        "source": source,
        "partners": {name: solutions[name] for name in sorted(_find_partners(task)) if name in solutions},
        "cases": [
            {
                "driver": case.driver,
                "partners": case.partners,
                "inputs": to_json(case.inputs),
                "keywords": to_json(case.keywords),
                "may_change_inputs": case.may_change_inputs,
            }
            for case in task.cases
        ],
    }


def read_outcomes(task: CompiledTask, answer: Answer) -> Tried:
    """Return the outcomes in a reply; those that are missing or cannot be read are failures."""
    outcomes: list[Outcome] = []
    problem = answer.problem
    for content in answer.values[: len(task.cases)]:
        try:
            if "problem" in content:
                problem = str(content["problem"])
                break
            outcomes.append(_read_outcome(content))
        except (NotPlain, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            problem = f"a value that cannot be read: {error}"
            break
    if len(outcomes) < len(task.cases):
        problem = problem or "its process died"
        missing = Outcome(Failure(ENDED, problem))
        outcomes = outcomes and [*outcomes, *[missing] * (len(task.cases) - len(outcomes))]
    return Tried(outcomes, problem)


def _read_outcome(content: Mapping[str, Any]) -> Outcome:
    return Outcome(
        from_json(content["value"]),
        tuple(int(position) for position in content["changed"]),
        bool(content["is_input"]),
        bool(content["is_skipped"]),
        float(content["seconds"]),
        str(content["place"])[:200],
    )


def set_skips(task: CompiledTask, tried: Tried, usable: set[str]) -> Tried:
    """Return outcomes in which the cases are skipped that need a partner which is not handed in or does not work.

    An attempt may not decide which cases it skips.

    Args:
        usable: names of the functions that could be loaded.
    """
    outcomes = []
    for case, outcome in zip(task.cases, tried.outcomes, strict=bool(tried.outcomes)):
        if not set(case.partners) <= usable:
            outcome = Outcome(None, is_skipped=True)
        elif outcome.is_skipped:
            outcome = Outcome(Failure(ENDED, "its partner could not be loaded"))
        outcomes.append(outcome)
    return Tried(outcomes, tried.problem)


# Exercises


@dataclass(frozen=True)
class Answered:
    """Answers of an exercise, or why there are none."""

    answers: dict[str, Any]  # JSON of plain values by name
    problem: str


def try_exercises(
    plan: Plan, exercises: Sequence[Exercise], solutions: Mapping[str, str], view: View, setting: Setting
) -> dict[int, Answered]:
    """Return the answers of a submission to exercises of a lesson, by the number of the task.

    Raises:
        Stopped: the grader was told to stop.
    """
    exercise_of = {exercise.task.number: exercise for exercise in exercises}

    def make_request(numbers: Sequence[int]) -> Request:
        asked = {exercise_of[number].task.solution: exercise_of[number] for number in numbers}
        cells: list[Request] = []
        for name, source in _list_cells(plan):
            if name in asked:
                answers = list(asked[name].answers)
                number = asked[name].task.number
                cells.append({"task": number, "source": solutions[name], "names": answers})
            elif name is None:
                cells.append({"source": source})
        last = max(position for position, cell in enumerate(cells) if "task" in cell)
        return {"kind": "answers", "cells": cells[: last + 1]}

    seconds = START_LIMIT + setting.limits.lesson + setting.limits.cell + MARGIN
    replies = collect_answers(list(exercise_of), make_request, view, setting, seconds)
    return {number: read_answers(exercise_of[number], reply) for number, reply in replies.items()}


def _list_cells(plan: Plan) -> list[tuple[str | None, str]]:
    """Return identifier and source of each cell of a lesson.

    The cells of build tasks are left out, or replaced by the reference, because later cells may call the function.
    """
    left_out = {f"{name}-{part}" for name in plan.builds for part in ("solution", "check")}
    cells = []
    for cell in find_code_cells(plan.lesson.notebook):
        name = find_id(cell)
        if name not in left_out:
            cells.append((name, str(cell.source)))
        elif name in plan.references:
            cells.append((None, plan.references[name]))
    return cells


def read_answers(exercise: Exercise, answer: Answer) -> Answered:
    """Return the answers in a reply, each of which is the JSON of a plain value."""
    content = answer.values[0] if answer.values and isinstance(answer.values[0], dict) else {}
    if content.get("error"):
        reason = f" (the lesson's own cells failed before: {answer.lesson})" if answer.lesson else ""
        return Answered({}, f"{content['error']}{reason}")
    if not isinstance(content.get("answers"), dict):
        return Answered({}, answer.problem or "its process died")
    answers = {}
    for name in exercise.answers:
        part = content["answers"].get(name)
        if not isinstance(part, dict) or part.get("problem") == MISSING:
            return Answered({}, f"the cell defines no `{name}`")
        if "value" not in part:
            return Answered(
                {}, f"`{name}` is {part.get('problem')}; numbers, texts, lists, dicts and arrays can be graded"
            )
        try:
            answers[name] = to_json(from_json(part["value"]))
        except NotPlain as error:
            return Answered({}, f"`{name}` cannot be read: {error}")
    return Answered(answers, "")


class Checker:
    """Process of one lesson that checks answers. No student's code runs in it; it starts when it is first needed."""

    def __init__(self, plan: Plan, view: View, setting: Setting) -> None:
        """Remember what to start."""
        self.plan, self._view, self._setting = plan, view, setting
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._failure = ""  # of the lesson itself

    def check(self, exercise: Exercise, answers: Mapping[str, Any]) -> str:
        """Return the error of a check on these answers, or "" if it passed.

        Raises:
            AttemptEnded: the lesson itself failed, or its process died.
            Stopped: the grader was told to stop.
        """
        with self._lock:
            process = self._start()
            try:
                process.send({"task": exercise.task.number, "answers": dict(answers)})
                reply = process.receive(self._setting.limits.cell + MARGIN)
            except AttemptEnded:
                self._stop()  # the next check starts another one
                raise
        return str(reply.get("error", "the check gave no result"))

    def _start(self) -> Process:
        if self._failure:
            raise AttemptEnded(self._failure)
        if self._process is None:
            process = Process(self._view, self._setting.limits, self._setting.stop)
            self._process = process
            try:
                process.send(self._make_request(process))
                problems = process.receive(START_LIMIT + self._setting.limits.lesson)["problems"]
            except AttemptEnded as error:
                problems = [str(error)]
            if problems:
                self._failure = f"the lesson itself failed: {problems[0]}"
                raise AttemptEnded(self._failure)
        return self._process

    def _make_request(self, process: Process) -> Request:
        cells: list[Request] = []
        exercises = {exercise.task.solution: exercise for exercise in self.plan.exercises}
        checks = {exercise.task.check for exercise in self.plan.exercises}
        skipped = {f"{name}-check" for name in self.plan.builds}
        for cell in find_code_cells(self.plan.lesson.notebook):
            name, source = find_id(cell), str(cell.source)
            if name in exercises:
                exercise = exercises[name]
                cells.append({"task": exercise.task.number, "source": source, "check": exercise.check})
            elif name not in checks | skipped:
                cells.append({"source": source})
        limits = self._setting.limits
        shared = {"memory": limits.memory, "seconds": limits.cell, "copies": process.copies, "num_processes": 0}
        return shared | {"kind": "checks", "cells": cells}

    def _stop(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def find_processes(self) -> list[psutil.Process]:
        """Return all processes of the checks."""
        return [] if self._process is None else self._process.find_processes()

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._stop()
