"""Explorers of the digit wing: sliders over a picture that follows them.

What a slider changes is computed by a plain function and drawn by `figures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from ipywidgets import FloatSlider, IntSlider, SelectionSlider, ToggleButtons, VBox
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from helpers.average_precision import Detections
from helpers.digits.anchors import ANCHOR_SETS, STRIDES, AnchorSet, Resize, measure_best_iou
from helpers.digits.figures import plot_anchors, plot_reading, update_anchors, update_reading
from helpers.digits.metrics import NO_NUMBER
from helpers.digits.reading import ReadingConfig, read_numbers, suppress
from helpers.explorers import join

NO_BOX = np.empty((0, 4))
ASPECT = 1333 / 800
"""Of torchvision's two limits of an image's sides; the explorer keeps it."""


class AnchorDescription(NamedTuple):
    """An image and one digit of it as the model resizes them, and the shapes that the digit can start from."""

    size: tuple[int, int]  # (height, width), pixels
    box: Float[np.ndarray, " 4"]  # pixels of the resized image
    shapes: Float[np.ndarray, "A 4"]  # around the middle of the box
    best: int  # row of the shape that fits the box best where torchvision places it
    best_iou: float


def describe_anchors(
    image_size: tuple[int, int], box: Float[np.ndarray, " 4"], anchors: AnchorSet, resize: Resize
) -> AnchorDescription:
    """Returns what of `anchors` a digit meets after the resize.

    Args:
        image_size: (height, width) of the image as it is on disk, as are the pixels of `box`.
    """
    sizes, boxes = torch.tensor([image_size]), torch.from_numpy(box).float()[None]
    resized = resize.boxes(boxes, sizes)[0]
    iou, shapes = [], []
    for level, own in enumerate(anchors.sizes):
        for side in own:
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


def explore_anchors(image: UInt8[np.ndarray, "H W 3"], box: Float[np.ndarray, " 4"]) -> VBox:
    """Returns controls for the resize and the set of anchors above the resized image, one digit and all shapes."""
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    ax = figure.subplots()
    sides = (32, 48, 64, 96, 128, 200, 300, 400, 600, 800)
    controls = {
        "side": SelectionSlider(options=sides, value=800, description="short side (px)"),
        "name": ToggleButtons(options=tuple(ANCHOR_SETS), value="report", description="anchors"),
    }

    def describe(side: int, name: str) -> tuple[AnchorDescription, str]:
        seen = describe_anchors(image.shape[:2], box, ANCHOR_SETS[name], Resize(side, round(side * ASPECT)))
        return seen, f"{seen.size[1]} × {seen.size[0]} px, anchors of the {name} set: best IoU {seen.best_iou:.2f}"

    def draw(side: int, name: str) -> None:
        seen, title = describe(side, name)
        update_anchors(seen.size, seen.box, seen.shapes, seen.shapes[seen.best], ax, title)

    seen, title = describe(800, "report")
    plot_anchors(image, seen.size, seen.box, seen.shapes, seen.shapes[seen.best], ax, title)
    return join(figure, controls, draw)


class ReadingDescription(NamedTuple):
    """What two thresholds leave of an image's detections, and the number that it makes."""

    kept: Detections
    number: str


def describe_reading(detections: Detections, score_threshold: float, nms_threshold: float) -> ReadingDescription:
    """Returns the digits that are left and the number that is read of them."""
    config = ReadingConfig((score_threshold,), nms_threshold)
    kept = suppress(detections, nms_threshold).above(score_threshold)
    return ReadingDescription(kept, read_numbers([detections], config)[0])


def explore_reading(
    images: Sequence[UInt8[np.ndarray, "_h _w 3"]], detections: Sequence[Detections], numbers: Sequence[str]
) -> VBox:
    """Returns sliders for image and thresholds above the image with the digits that are left.

    Args:
        numbers: the true ones.
    """
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    ax = plot_reading(images[0], NO_BOX, NO_BOX, np.empty(0, int), figure.subplots())
    controls = {
        "index": IntSlider(0, min=0, max=len(images) - 1, description="image"),
        "score": FloatSlider(0.5, min=0.0, max=0.99, step=0.01, description="score from"),
        "nms": FloatSlider(0.5, min=0.1, max=1.0, step=0.05, description="NMS above"),
    }

    def draw(index: int, score: float, nms: float) -> None:
        seen = describe_reading(detections[index], score, nms)
        read = "nothing" if seen.number == NO_NUMBER else seen.number
        boxes, digits = seen.kept.boxes.numpy(), seen.kept.labels.numpy() - 1
        title = f"{numbers[index]} is read as {read}: score from {score:.2f}, NMS above {nms:.2f}"
        update_reading(images[index], NO_BOX, boxes, digits, ax, title)

    return join(figure, controls, draw)
