"""Functions and boxes that the tests of digits share."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch

from helpers import coco
from helpers.average_precision import Detections

LEFT, RIGHT = (10.0, 10.0, 30.0, 50.0), (32.0, 10.0, 52.0, 50.0)
"""Boxes of two digits beside each other."""


def seeded(seed: int) -> torch.Generator:
    """Return a new generator with this seed."""
    return torch.Generator().manual_seed(seed)


def build_detections(*records: tuple) -> Detections:
    """Return the detections of one image from `(box, score, digit)` each, best first."""
    boxes, scores, digits = zip(*records, strict=True) if records else ([], [], [])
    labels = torch.tensor(digits, dtype=torch.int64) + 1
    return Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores).float(), labels)


def build_file(records: list[tuple], num_images: int | None = None) -> coco.BoxFile:
    """Return the truth of images of 200 × 200 pixels from `(image row, box, digit)` records, in the given order.

    Args:
        num_images: the default ends with the last image that has a record.
    """
    owners, boxes, digits = zip(*records, strict=True) if records else ((), (), ())
    if num_images is None:
        num_images = max(owners) + 1
    corners = np.array(boxes, float).reshape(-1, 4)
    names = [f"{number}.png" for number in range(1, num_images + 1)]
    sizes = np.tile([200, 200], (num_images, 1))
    labels = np.array(digits, np.int64)
    return coco.BoxFile.of(np.arange(1, num_images + 1), names, sizes, np.array(owners, np.int64), corners, labels)


def changed_fields(first, second) -> set[str]:
    """Return the names of the fields in which two dataclass instances of one type differ."""
    return {field.name for field in fields(first) if getattr(first, field.name) != getattr(second, field.name)}
