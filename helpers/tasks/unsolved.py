"""Functions that a student has still to write: the error that takes the place of their bodies.

Only the standard library is imported: every module of a student's copy can import this one.
"""

from __future__ import annotations


class NotSolved(Exception):
    """A lesson needs a function whose task is not solved yet; the message names task and lesson.

    A notebook shows the message alone, without a traceback through code that the student has not written.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows."""
        return [f"{type(self).__name__}: {self}"]


def describe_task(name: str, number: str, lesson: str) -> str:
    """Return a task as messages name it: "compute_iou is task 2.2, lesson 02"."""
    return f"{name} is task {number}, lesson {lesson}"
