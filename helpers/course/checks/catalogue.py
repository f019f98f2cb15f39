"""The catalogue of all build tasks, in the order of the lessons."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from helpers.course.checks.definition import Definition, compile_task
from helpers.tasks.compiled import CompiledTask

NAMES = (
    "anchors",
    "average_precision",
    "box_losses",
    "boxes",
    "colour_baseline",
    "detection_loss",
    "detection_model",
    "dialects",
    "heatmaps",
    "keypoint_ablations",
    "keypoint_metrics",
    "keypoint_models",
    "matching",
    "reading",
    "resizing",
    "scales",
    "suppression",
    "training_step",
)
"""Modules of this package that define tasks."""
MODULES = tuple(import_module(f"{__package__}.{name}") for name in NAMES)


def list_definitions() -> list[Definition]:
    """Return the definitions of all tasks, sorted by lesson and position."""
    definitions = [definition for module in MODULES for definition in module.DEFINITIONS]
    return sorted(definitions, key=lambda definition: [int(part) for part in definition.number.split(".")])


def find_definition(name: str) -> Definition:
    """Return the definition of the task `name`.

    Raises:
        KeyError: there is no such task.
    """
    for definition in list_definitions():
        if definition.name == name:
            return definition
    names = ", ".join(definition.name for definition in list_definitions())
    raise KeyError(f"there is no task {name!r}; the tasks are {names}")


@cache
def compile_visible(name: str) -> CompiledTask:
    """Return the visible checks of a task; each process compiles them once."""
    return compile_task(find_definition(name))
