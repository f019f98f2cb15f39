"""The honest baseline: a colour threshold and connected components, which learn nothing.

On the handout's data class is colour and shapes are outlined, so every visible piece of a shape is one blob of one
colour. It stands as the first row of every results table: a detector that cannot beat it has learned colours.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Int, UInt8
from scipy import ndimage
from torch import Tensor

from helpers.average_precision import Detections
from helpers.detection.dataset import PADDING, ShapeDetectionDataset

OUTLINES = ((2, 2, 2, 2), (2, 2, 2, 2), (3, 3, 3, 2))
"""Pixels of outline around the fill of each class: left, top, right, bottom. Slanted edges have a thicker one."""
FILL_SHARES = (math.pi / 4, 1.0, 0.5)
"""Share of its box that a circle, a square, a triangle fills."""
SMALLEST_SIZES = (16, 48, 96)
"""Smallest size of a whole shape of each class, pixels."""


def detect_by_colour(image: UInt8[np.ndarray, "H W 3"]) -> Detections:
    """Returns one detection per connected blob of red (circle), green (square) or blue (triangle).

    The box is the blob's extent and the outline around it. Nothing puts the pieces of a covered shape together, so the
    score says how whole the blob looks: its box's shorter side over the longer one (every whole shape has a square
    box), times the size of the shape that would have as many pixels, over the smallest size of its class, up to 1.
    """
    boxes, scores, labels = [], [], []
    bright = image > 127
    for label in range(3):
        is_pure = bright[..., label] & (bright.sum(axis=-1) == 1)
        blobs, num_blobs = ndimage.label(is_pure)
        num_pixels = np.bincount(blobs.ravel(), minlength=num_blobs + 1)[1:]
        left, top, right, bottom = OUTLINES[label]
        for (rows, columns), count in zip(ndimage.find_objects(blobs), num_pixels, strict=True):
            # A slice ends one past the fill's last pixel; the truth's x2 is the last outline pixel itself.
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
    """Returns the class of each object by one pixel: red, green or blue, whichever is strongest at its box's centre.

    Law: with the handout's palette this is right for every object that nothing covers, because each of the three shapes
    fills its centre. Rows of padding stay padding.
    """
    x, y = ((dataset.boxes[..., :2] + dataset.boxes[..., 2:]) / 2).long().unbind(dim=-1)
    images = torch.arange(len(dataset), device=x.device)[:, None]
    strongest = dataset.images[images, y, x].int().argmax(dim=-1)
    return strongest.where(dataset.labels != PADDING, PADDING)
