"""Explorers of anchors and of reading: sliders above a figure that follows them.

A plain function computes what the sliders describe, and `figures` draws it.

Shape letters: H W an image, A anchor shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from ipywidgets import FloatSlider, IntSlider, SelectionSlider, ToggleButtons
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from helpers.average_precision import Detections
from helpers.digits.anchors import ANCHOR_SETS, STRIDES, AnchorSet, Resize, measure_best_iou
from helpers.digits.figures import plot_anchors, plot_reading, update_anchors, update_reading
from helpers.digits.metrics import NO_NUMBER
from helpers.digits.reading import ReadingConfig, read_numbers, suppress
from helpers.explorers import Explorer, join

NO_BOX = np.empty((0, 4))
ASPECT = 1333 / 800
"""Longest / shortest side of torchvision's default resize; the explorer keeps this ratio."""


class AnchorDescription(NamedTuple):
    """A resized image, the box of one digit, and the anchor shapes around it."""

    size: tuple[int, int]  # (height, width) of the resized image, pixels
    box: Float[np.ndarray, " 4"]  # pixels of the resized image
    shapes: Float[np.ndarray, "A 4"]  # anchors around the middle of the box, pixels of the resized image
    best: int  # row of the shape with the highest IoU at the positions where torchvision places it
    best_iou: float


def describe_anchors(
    image_size: tuple[int, int], box: Float[np.ndarray, " 4"], anchors: AnchorSet, resize: Resize
) -> AnchorDescription:
    """Return the box of a digit after the resize, all shapes of `anchors` around it, and the best of them.

    Args:
        image_size: (height, width) of the image on disk, pixels; `box` is in its pixels.
    """
    sizes, boxes = torch.tensor([image_size]), torch.from_numpy(box).float()[None]
    resized = resize.boxes(boxes, sizes)[0]
    iou, shapes = [], []
    for level, sizes_of_level in enumerate(anchors.sizes):
        for side in sizes_of_level:
            for ratio in anchors.ratios:
                single = replace(anchors, sizes=((side,),), ratios=(ratio,))
                iou.append(measure_best_iou(boxes, sizes, single, resize, STRIDES[level : level + 1]).item())
                shapes.append(single.build_generator().cell_anchors[0][0])
    centre = ((resized[:2] + resized[2:]) / 2).repeat(2)
    height, width = resize.sizes(sizes)[0].tolist()
    best = int(np.argmax(iou))
    return AnchorDescription(
        (height, width), resized.numpy(), (torch.stack(shapes) + centre).numpy(), best, float(iou[best])
    )


def explore_anchors(image: UInt8[np.ndarray, "H W 3"], box: Float[np.ndarray, " 4"]) -> Explorer:
    """Return controls for resize and anchor set above a figure of the resized image, one digit and all shapes."""
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    ax = figure.subplots()
    sides = (32, 48, 64, 96, 128, 200, 300, 400, 600, 800)
    controls = {
        "side": SelectionSlider(options=sides, value=800, description="short side (px)"),
        "name": ToggleButtons(options=tuple(ANCHOR_SETS), value="report", description="anchors"),
    }

    def describe(side: int, name: str) -> tuple[AnchorDescription, str]:
        description = describe_anchors(image.shape[:2], box, ANCHOR_SETS[name], Resize(side, round(side * ASPECT)))
        height, width = description.size
        return description, f"{width} × {height} px, anchors of the {name} set: best IoU {description.best_iou:.2f}"

    def draw(side: int, name: str) -> None:
        description, title = describe(side, name)
        size, digit_box, shapes, best, _ = description
        update_anchors(size, digit_box, shapes, shapes[best], ax, title)

    description, title = describe(800, "report")
    size, digit_box, shapes, best, _ = description
    plot_anchors(image, size, digit_box, shapes, shapes[best], ax, title)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    text = "A resized image with the box of one digit, and all anchor shapes around it; the best one is emphasised."
    return join(figure, controls, draw, {"side": sides, "name": tuple(ANCHOR_SETS)}, text)


class ReadingDescription(NamedTuple):
    """Detections of an image after two thresholds, and the number that is read from them."""

    digits: Detections
    number: str  # `NO_NUMBER` without a digit


def describe_reading(detections: Detections, score_threshold: float, nms_threshold: float) -> ReadingDescription:
    """Return the detections after suppression and score threshold, and the number that is read from them."""
    config = ReadingConfig((score_threshold,), nms_threshold)
    digits = suppress(detections, nms_threshold).above(score_threshold)
    return ReadingDescription(digits, read_numbers([detections], config)[0])


def explore_reading(
    images: Sequence[UInt8[np.ndarray, "_h _w 3"]], detections: Sequence[Detections], numbers: Sequence[str]
) -> Explorer:
    """Return sliders for image and thresholds above a figure of the image with the remaining digits.

    Args:
        numbers: true number of each image.
    """
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    ax = plot_reading(images[0], NO_BOX, NO_BOX, np.empty(0, int), figure.subplots())
    controls = {
        "index": IntSlider(0, min=0, max=len(images) - 1, description="image"),
        "score": FloatSlider(0.5, min=0.0, max=0.99, step=0.01, description="score from"),
        "nms": FloatSlider(0.5, min=0.1, max=1.0, step=0.05, description="NMS above"),
    }

    def draw(index: int, score: float, nms: float) -> None:
        reading = describe_reading(detections[index], score, nms)
        number = "nothing" if reading.number == NO_NUMBER else reading.number
        boxes, digits = reading.digits.boxes.numpy(), reading.digits.labels.numpy() - 1
        title = f"{numbers[index]} is read as {number}: score from {score:.2f}, NMS above {nms:.2f}"
        update_reading(images[index], NO_BOX, boxes, digits, ax, title)

    frame_values = {
        "score": (0.05, 0.2, 0.5, 0.8, 0.95),
        "index": range(min(5, len(images))),
        "nms": (0.3, 0.5, 0.9),
    }
    text = "A photo of a house number with the boxes and digits that remain after both thresholds."
    return join(figure, controls, draw, frame_values, text)
