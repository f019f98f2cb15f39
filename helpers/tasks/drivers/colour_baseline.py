"""Drivers of the colour baseline: they paint an image and list what is detected in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from helpers.detection.scenes import draw_scene

COLOURS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "dull red": (200, 60, 40),
    "dull blue": (30, 70, 180),
    "yellow": (255, 220, 0),
    "grey": (90, 90, 90),
}
"""Colours by name, as (red, green, blue)."""


def paint(size: Sequence[int], rectangles: Sequence[Sequence[Any]]) -> np.ndarray:
    """Return a white image [H, W, 3] with rectangles; it cannot be written to.

    Args:
        size: (height, width) in pixels.
        rectangles: (colour, x1, y1, x2, y2) of each; it covers the columns x1 to x2 - 1 and the rows y1 to y2 - 1.
    """
    height, width = size
    image = np.full((height, width, 3), 255, np.uint8)
    for colour, x1, y1, x2, y2 in rectangles:
        image[y1:y2, x1:x2] = COLOURS[colour]
    image.setflags(write=False)
    return image


def detect_in_drawing(
    function: Callable[[np.ndarray], Any], size: Sequence[int], rectangles: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    """Return the detections in a painted image, sorted: their order is free."""
    return list_detections(function(paint(size, rectangles)))


def detect_in_scene(function: Callable[[np.ndarray], Any], seed: int) -> dict[str, Any]:
    """Return the detections in a scene of the handout's generator, sorted: their order is free."""
    image = draw_scene(random.Random(seed)).image.copy()
    image.setflags(write=False)
    return list_detections(function(image))


def list_detections(result: Any) -> dict[str, Any]:
    """Return boxes, scores and labels as lists, all three sorted by label and box."""
    boxes, scores, labels = (torch.as_tensor(column) for column in result)
    rows = sorted(zip(labels.tolist(), boxes.tolist(), scores.tolist(), strict=True))
    return {
        "boxes": [box for _, box, _ in rows],
        "scores": [score for _, _, score in rows],
        "labels": [label for label, _, _ in rows],
    }


def describe_shapes(
    function: Callable[[np.ndarray], Any], size: Sequence[int], rectangles: Sequence[Sequence[Any]]
) -> dict[str, list[int]]:
    """Return the shapes of boxes, scores and labels for a painted image."""
    boxes, scores, labels = function(paint(size, rectangles))
    columns = {"boxes": boxes, "scores": scores, "labels": labels}
    return {name: list(torch.as_tensor(column).shape) for name, column in columns.items()}
