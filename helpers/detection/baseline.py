"""Baselines without training: connected regions of one colour, with more or less knowledge of the generator.

In the handout's data the class determines the colour and every shape has an outline, so every visible piece of a shape
is one connected region of one colour. A trained detector that does not exceed these baselines may have learned colours
only, so they are rows of the results tables. `detect_regions` uses the colour alone; `detect_by_colour` adds rules
about outlines, sizes and shapes, some of which are read out of the generator.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Int, UInt8
from scipy import ndimage
from torch import Tensor

from helpers.average_precision import Detections
from helpers.detection.dataset import PADDING, ShapeDetectionDataset

Rules = Literal["area", "outline", "shape"]
"""What a detector knows besides the colour; each entry includes the ones before it."""
OUTLINES = ((2, 2, 2, 2), (2, 2, 2, 2), (3, 3, 3, 2))
"""Width in pixels of the outline around the coloured inside of each class: left, top, right, bottom."""
FILL_SHARES = (math.pi / 4, 1.0, 0.5)
"""Share of its box that a complete circle, square and triangle cover."""
SMALLEST_SIZES = (16, 48, 96)
"""Smallest size in pixels of a complete shape of each class."""


class Region(NamedTuple):
    """A connected region of the pixels of one class colour."""

    label: int
    box: tuple[int, int, int, int]  # (x1, y1, x2, y2): the extent of its pixels, without the outline
    num_pixels: int


def find_regions(image: UInt8[np.ndarray, "H W 3"]) -> list[Region]:
    """Return the connected regions of red (circle), green (square) and blue (triangle) pixels.

    A pixel is red if its red channel is above 127 and the two others are not; green and blue likewise.
    """
    regions = []
    bright = image > 127
    for label in range(3):
        is_pure = bright[..., label] & (bright.sum(axis=-1) == 1)
        numbered, num_regions = cast(tuple[np.ndarray, int], ndimage.label(is_pure))
        counts = np.bincount(numbered.ravel(), minlength=num_regions + 1)[1:]  # without 0, the other pixels
        for (rows, columns), num_pixels in zip(ndimage.find_objects(numbered), counts, strict=True):
            regions.append(Region(label, (columns.start, rows.start, columns.stop, rows.stop), int(num_pixels)))
    return regions


def detect_regions(image: UInt8[np.ndarray, "H W 3"]) -> Detections:
    """Return one detection per region, with the box of its pixels and the score 1: the detector of colour alone."""
    regions = find_regions(image)
    return _to_detections([region.box for region in regions], [1.0] * len(regions), regions)


def detect_by_colour(image: UInt8[np.ndarray, "H W 3"], rules: Rules = "shape") -> Detections:
    """Return one detection per region, best score first. The pieces of a partly covered shape are not joined.

    Args:
        image: bytes (red, green, blue).
        rules: "area" scores a region by its number of pixels, as a share of the image; "outline" also adds an outline
            of two pixels to its box; "shape" uses the outline of each class, and scores how complete its shape is.
    """
    regions = find_regions(image)
    boxes, scores = [], []
    for region in regions:
        x1, y1, x2, y2 = region.box
        if rules != "area":
            left, top, right, bottom = OUTLINES[region.label] if rules == "shape" else (2, 2, 2, 2)
            # A true box is one pixel smaller than its shape, so the last pixel of the outline is not added.
            x1, y1, x2, y2 = x1 - left, y1 - top, x2 - 1 + right, y2 - 1 + bottom
        boxes.append((x1, y1, x2, y2))
        if rules == "shape":
            scores.append(estimate_completeness(region, x2 - x1, y2 - y1))
        else:
            scores.append(region.num_pixels / image[..., 0].size)
    return _to_detections(boxes, scores, regions)


def estimate_completeness(region: Region, width: int, height: int) -> float:
    """Return a score from 0 to 1 that is high for a complete shape: its box is square and not too small.

    The score is the shorter side of the box divided by the longer one, times min(1, size / smallest size of the class).
    Here size is that of a complete shape of this class with the same number of pixels as the region: a circle covers
    pi / 4 of its box, so a circle of size s has pi / 4 * s ** 2 pixels.

    Example: the smallest circle has size 16. Its region, without the outline, has 137 pixels, so size is
    (137 / (pi / 4)) ** 0.5 = 13.2. The score of this complete circle is 13.2 / 16 = 0.83.
    """
    size = math.sqrt(region.num_pixels / FILL_SHARES[region.label])
    return min(width, height) / max(width, height) * min(1.0, size / SMALLEST_SIZES[region.label])


def _to_detections(boxes: list[tuple[int, int, int, int]], scores: list[float], regions: list[Region]) -> Detections:
    """Return the detections, best score first; equal scores keep the order of the regions."""
    order = np.argsort(-np.array(scores), kind="stable")
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)[order],
        torch.tensor(scores, dtype=torch.float32)[order],
        torch.tensor([region.label for region in regions], dtype=torch.int64)[order],
    )


def classify_by_colour(dataset: ShapeDetectionDataset) -> Int[Tensor, "M N"]:
    """Return the class of each object from one pixel: the strongest of red, green and blue at the centre of its box.

    Law: with the handout's palette the class is right for every object that no other object covers, because each of the
    three shapes covers its centre. Padding rows keep the label `PADDING`.

    Shape letters: M images, N places for objects in each.
    """
    centres = (dataset.boxes[..., :2] + dataset.boxes[..., 2:]) / 2  # [M, N, 2]
    x, y = centres.long().unbind(dim=-1)  # [M, N] each: column and row of the centre's pixel
    rows = torch.arange(len(dataset), device=x.device)[:, None]  # [M, 1]: all N objects of a row have the same image
    pixels = dataset.images[rows, y, x]  # [M, N, 3]: red, green and blue of one pixel per object
    strongest = pixels.int().argmax(dim=-1)  # [M, N]
    return strongest.where(dataset.labels != PADDING, PADDING)
