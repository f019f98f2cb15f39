"""Progress: the table of all build tasks, with those that are solved."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, runtime_checkable

import pandas as pd

SOLVED, GIVEN, OPEN = "solved", "given", "open"
"""States of a task: the student's cell has passed its check; the course has given its solution; neither."""


@runtime_checkable  # the shape checker of the tests needs it
class Described(Protocol):
    """What the table shows of a task; compiled checks and definitions have it."""

    @property
    def name(self) -> str:
        """Name of the function."""
        ...

    @property
    def number(self) -> str:
        """Lesson and position: "2.3"."""
        ...

    @property
    def points(self) -> float:
        """Points for the whole task."""
        ...

    @property
    def difficulty(self) -> int:
        """From 1 (easy) to 5."""
        ...

    @property
    def minutes(self) -> tuple[int, int]:
        """Time for the task, from and to."""
        ...

    @property
    def lesson(self) -> str:
        """Two-digit number of the lesson."""
        ...


def make_table(tasks: Sequence[Described], solved: Collection[str], given: Collection[str]) -> pd.DataFrame:
    """Return a row per task, and below them the sums.

    Args:
        tasks: in the order of the lessons.
        solved: names of the tasks whose check has passed.
        given: names of the tasks whose solution the course has given.
    """
    rows = []
    for task in tasks:
        state = SOLVED if task.name in solved else GIVEN if task.name in given else OPEN
        first, last = task.minutes
        row = {"task": task.number, "name": task.name, "points": task.points, "difficulty (1 to 5)": task.difficulty}
        rows.append(row | {"minutes": f"{first} to {last}", "state": state})
    solved_tasks = [task for task in tasks if task.name in solved]
    points = sum(task.points for task in solved_tasks)
    shortest, longest = (sum(task.minutes[end] for task in tasks) for end in (0, 1))
    total = {"task": "all", "name": "", "points": sum(task.points for task in tasks), "difficulty (1 to 5)": ""}
    state = f"{len(solved_tasks)} of {len(tasks)} solved, {points:g} points"
    rows.append(total | {"minutes": f"{shortest} to {longest}", "state": state})
    table = pd.DataFrame(rows)
    table["points"] = [f"{value:g}" for value in table["points"]]
    return table.set_index("task")


def show_table(table: pd.DataFrame) -> str:
    """Return the table as lines for a terminal."""
    return table.reset_index().to_string(index=False, justify="left")
