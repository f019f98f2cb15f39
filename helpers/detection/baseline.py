"""Baseline without training: a colour threshold and connected components.

In the handout's data the class determines the colour and every shape has an outline, so every visible piece of a shape
is one connected region of one colour. A trained detector that does not exceed this baseline may have learned colours
only, so the baseline is a row of every results table.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Int, UInt8
from scipy import ndimage
from torch import Tensor

from helpers.average_precision import Detections
from helpers.detection.dataset import PADDING, ShapeDetectionDataset

OUTLINES = ((2, 2, 2, 2), (2, 2, 2, 2), (3, 3, 3, 2))
"""Width in pixels of the outline around the fill of each class: left, top, right, bottom."""
FILL_SHARES = (math.pi / 4, 1.0, 0.5)
"""Share of its box that a circle, a square and a triangle fill."""
SMALLEST_SIZES = (16, 48, 96)
"""Smallest size in pixels of a complete shape of each class."""


def detect_by_colour(image: UInt8[np.ndarray, "H W 3"]) -> Detections:
    """Return one detection per connected region of red (circle), green (square) or blue (triangle) pixels.

    The box is the extent of the region and its outline. The pieces of a partly covered shape are not joined. The score
    estimates how complete the region is: the shorter side of the box divided by the longer one (a complete shape has a
    square box), times min(1, size / smallest size of the class), where size is that of a complete shape with as many
    pixels.
    """
    boxes, scores, labels = [], [], []
    bright = image > 127
    for label in range(3):
        is_pure = bright[..., label] & (bright.sum(axis=-1) == 1)
        regions, num_regions = cast(tuple[np.ndarray, int], ndimage.label(is_pure))
        num_pixels = np.bincount(regions.ravel(), minlength=num_regions + 1)[1:]
        left, top, right, bottom = OUTLINES[label]
        for (rows, columns), count in zip(ndimage.find_objects(regions), num_pixels, strict=True):
            # A slice ends one past the last pixel of the fill; x2 of a true box is the last pixel of its outline.
            box = (columns.start - left, rows.start - top, columns.stop - 1 + right, rows.stop - 1 + bottom)
            width, height = box[2] - box[0], box[3] - box[1]
            size = math.sqrt(count / FILL_SHARES[label])
            scores.append(min(width, height) / max(width, height) * min(1.0, size / SMALLEST_SIZES[label]))
            boxes.append(box)
            labels.append(label)
    order = np.argsort(-np.array(scores), kind="stable")
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)[order],
        torch.tensor(scores, dtype=torch.float32)[order],
        torch.tensor(labels, dtype=torch.int64)[order],
    )


def classify_by_colour(dataset: ShapeDetectionDataset) -> Int[Tensor, "M N"]:
    """Return the class of each object from one pixel: the strongest of red, green and blue at the centre of its box.

    Law: with the handout's palette the class is right for every object that no other object covers, because each of the
    three shapes covers its centre. Padding rows keep the label `PADDING`.
    """
    x, y = ((dataset.boxes[..., :2] + dataset.boxes[..., 2:]) / 2).long().unbind(dim=-1)
    images = torch.arange(len(dataset), device=x.device)[:, None]
    strongest = dataset.images[images, y, x].int().argmax(dim=-1)
    return strongest.where(dataset.labels != PADDING, PADDING)
