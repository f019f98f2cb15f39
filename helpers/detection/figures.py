"""Figures of boxes: true objects, detections, failures, precision and recall, statistics of a dataset.

Every function takes arrays and draws into an `Axes`; metrics are computed elsewhere. Figures of anchors, scales and
receptive fields are in `anchor_figures`, `scale_figures` and `receptive_field_figures`.

Shape letters: N objects, M images, H W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import PercentFormatter

from helpers.average_precision import Detections
from helpers.detection.anchors import ANCHOR_SCALES
from helpers.detection.metrics import PrecisionRecall
from helpers.detection.scenes import CLASS_NAMES, MAX_IOU, SIZE_RANGES
from helpers.diagrams import BLOCK_COLOURS, Block, draw_network
from helpers.plotting import (
    CLASS_COLOURS,
    COLOURS,
    PREDICTION_COLOUR,
    PREDICTION_STYLE,
    TRUTH_COLOUR,
    TRUTH_STYLE,
    add_halo,
    fade,
    image_grid,
    plot_framed_image,
    use_log_ticks,
)

CLASS_MARKERS = ("o", "s", "^")
TEXT_SIZE = (36.0, 13.0)
"""Width and height of a detection's text in pixels of the image, for 224 pixels drawn 2.6 inches wide."""
TEXT_MARGIN = 14
"""Pixels around an image in which the texts of its detections may stand."""
MISSED_WIDTH = 3.6
"""Points: the outline of a missed object in `plot_detections`."""
SMALLEST_PART = 96
"""Smallest side in pixels of the part of an image that shows a failure."""


# Shared parts


def plot_faded_image(image: UInt8[np.ndarray, "H W 3"], ax: Axes, title: str = "") -> Axes:
    """Draw `image` so pale that everything drawn over it stands out."""
    return plot_framed_image(fade(image, 0.2), ax, title)


def use_size_axis(ax: Axes) -> None:
    """Make the x axis one of object sizes: logarithmic, with ticks at the assignment's anchor sizes."""
    use_log_ticks(ax.xaxis, sorted({size for sizes in ANCHOR_SCALES for size in sizes}), "{x:.0f}")
    ax.set(xlabel="size of the object (px)", xlim=(15, 205))


def mark_class_sizes(ax: Axes, height: float) -> None:
    """Write the name of each class above the range of its sizes, at `height` of the y axis."""
    for name, (smallest, largest) in zip(CLASS_NAMES, SIZE_RANGES, strict=True):
        ax.plot((smallest, largest), (height, height), color="0.5", linewidth=1, marker="|", clip_on=False)
        ax.text((smallest * largest) ** 0.5, height + 0.01, name, color="0.3", fontsize=9, ha="center", va="bottom")


def plot_boxes(
    boxes: np.ndarray,
    ax: Axes,
    *,
    colour: str,
    style: str = "-",
    texts: Sequence[str] | None = None,
    width: float = 1.6,
    has_halo: bool = True,
) -> Axes:
    """Draw `boxes` [N, 4] `(x1, y1, x2, y2)` in pixels over the content of `ax`.

    Args:
        boxes: one rectangle each.
        ax: shows the image.
        colour: of the lines and behind the texts.
        style: of the lines.
        texts: one short text per box, written inside its top-left corner.
        width: of the lines, in points.
        has_halo: whether the lines have white edges, which partly cover other lines below them.
    """
    for index, (x1, y1, x2, y2) in enumerate(np.asarray(boxes, dtype=float).reshape(-1, 4)):
        ax.add_patch(
            Rectangle(
                (x1, y1),
                x2 - x1,
                y2 - y1,
                fill=False,
                edgecolor=colour,
                linestyle=style,
                linewidth=width,
                path_effects=add_halo(width) if has_halo else None,
            )
        )
        if texts is not None:
            background = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
            ax.text(x1 + 2, y1 + 2, texts[index], color="white", fontsize=7, va="top", bbox=background)
    return ax


def make_box_handles(prediction: str = "detection", truth: str = "true box") -> list[Line2D]:
    """Return the handles of a legend of true boxes (solid) and predicted boxes (dashed), with these texts."""
    true_line = Line2D([], [], color=TRUTH_COLOUR, linestyle=TRUTH_STYLE, linewidth=1.6, label=truth)
    predicted_line = Line2D([], [], color=PREDICTION_COLOUR, linestyle=PREDICTION_STYLE, linewidth=1.6)
    predicted_line.set_label(prediction)
    return [true_line, predicted_line]


def make_truth_handles(hatched: str) -> list[Line2D | Patch]:
    """Return the handles of a legend of true boxes and of hatched true boxes, which have the text `hatched`."""
    hatched_box = Patch(facecolor="white", edgecolor=TRUTH_COLOUR, hatch="////", label=hatched)
    return [make_box_handles()[0], hatched_box]


# True boxes


def plot_truth(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "N 4"],
    ax: Axes | None = None,
    title: str = "",
    texts: Sequence[str] = (),
    filled: Bool[np.ndarray, " N"] | None = None,
) -> Axes:
    """Draw an image with its true boxes, each with its text at its centre; the `filled` boxes are hatched."""
    ax = plot_framed_image(image, ax, title)
    plot_boxes(boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)
    if filled is not None:
        for x1, y1, x2, y2 in boxes[filled]:
            style: dict[str, Any] = {
                "facecolor": "white",
                "edgecolor": TRUTH_COLOUR,
                "hatch": "////",
                "alpha": 0.7,
            }
            ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
    for (x1, y1, x2, y2), text in zip(boxes, texts, strict=False):
        font: dict[str, Any] = {"fontsize": 7, "color": "white", "ha": "center", "va": "center_baseline"}
        background = {"facecolor": TRUTH_COLOUR, "edgecolor": "none", "pad": 1.0}
        ax.text((x1 + x2) / 2, (y1 + y2) / 2, text, bbox=background, **font)
    return ax


def plot_misread_boxes(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    misread_boxes: Float[np.ndarray, "N 4"],
    ax: Axes,
    title: str = "",
) -> Axes:
    """Draw an image with its true boxes (solid) and the same boxes read in the wrong format (dashed).

    The axes include the part of the misread boxes that lies outside the image.
    """
    plot_framed_image(image, ax, title)
    plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)
    plot_boxes(misread_boxes, ax, colour=PREDICTION_COLOUR, style=PREDICTION_STYLE)
    right, bottom = np.maximum(image.shape[1::-1], misread_boxes[:, 2:].max(axis=0)) + 4
    ax.set(xlim=(-4, right), ylim=(bottom, -4))
    return ax


def plot_iou_by_class(iou: Float[np.ndarray, " N"], labels: Int[np.ndarray, " N"], ax: Axes) -> Axes:
    """Draw a histogram of the IoU of the objects of each class."""
    bins = np.linspace(0, 1, 41).tolist()
    for label, (name, colour) in enumerate(zip(CLASS_NAMES, CLASS_COLOURS, strict=True)):
        ax.hist(iou[labels == label], bins=bins, color=colour, label=name, histtype="stepfilled", alpha=0.6)
    ax.set(xlabel="IoU", ylabel="objects", xlim=(0, 1))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(CLASS_NAMES))
    return ax


# Detections


def plot_detections(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    detections: Detections,
    ax: Axes | None = None,
    title: str = "",
    is_missed: Bool[np.ndarray, " N"] | None = None,
) -> Axes:
    """Draw an image with its true boxes (solid) and detections (dashed) with class initial and score.

    Args:
        image: bytes.
        true_boxes: in pixels.
        detections: all are drawn; apply the score threshold first (`Detections.above`).
        ax: a new one if `None`.
        title: above the image.
        is_missed: which true boxes are thick and numbered from 1, left to right.
    """
    ax = plot_framed_image(image, ax, title, margin=TEXT_MARGIN)
    plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)
    if is_missed is not None:
        _plot_missed_boxes(true_boxes[is_missed], ax)
    boxes = detections.boxes.numpy()
    plot_boxes(boxes, ax, colour=PREDICTION_COLOUR, style=PREDICTION_STYLE)
    corners = place_texts(boxes, np.array(TEXT_SIZE), image.shape[:2], margin=TEXT_MARGIN, obstacles=true_boxes)
    background = {"facecolor": PREDICTION_COLOUR, "edgecolor": "none", "pad": 0.8}
    for (x, y), text in zip(corners, describe_detections(detections), strict=True):
        middle = (x + TEXT_SIZE[0] / 2, y + TEXT_SIZE[1] / 2)
        ax.text(*middle, text, color="white", fontsize=7, ha="center", va="center_baseline", bbox=background)
    return ax


def _plot_missed_boxes(boxes: Float[np.ndarray, "N 4"], ax: Axes) -> None:
    """Draw true boxes with thick lines, each with its number at its lower left corner."""
    boxes = boxes[boxes[:, 0].argsort(kind="stable")]
    plot_boxes(boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE, width=MISSED_WIDTH)
    background = {"facecolor": TRUTH_COLOUR, "edgecolor": "white", "pad": 1.6}
    font: dict[str, Any] = {"fontsize": 9, "color": "white", "ha": "center", "va": "center_baseline"}
    for number, (x1, _, _, y2) in enumerate(boxes, start=1):
        ax.text(x1, y2, str(number), zorder=4, bbox=background, **font)  # above the lines of the detections


def describe_detections(detections: Detections) -> list[str]:
    """Return the class initial and the score of each detection as a short text, such as "s 0.93"."""
    labels, scores = detections.labels.tolist(), detections.scores.tolist()
    return [f"{CLASS_NAMES[label][0]} {score:.2f}" for label, score in zip(labels, scores, strict=True)]


def place_texts(
    boxes: Float[np.ndarray, "N 4"],
    text_size: Float[np.ndarray, " 2"],
    image_size: tuple[int, ...],
    margin: float = 0,
    obstacles: Float[np.ndarray, "_obstacles 4"] | None = None,
) -> list[Float[np.ndarray, " 2"]]:
    """Return the top-left corner of the text of each box, chosen so that it covers no other text and no box.

    The candidates are above or below the box, beside it, one line further away, and inside it; of equally good ones the
    first is chosen. Every text stays inside the image and its margin.

    Args:
        boxes: in pixels.
        text_size: width and height of every text in pixels.
        image_size: height and width of the image in pixels.
        margin: pixels around the image that texts may use.
        obstacles: further boxes that no text should cover.
    """
    near = 3  # pixels; a text closer to a box appears to belong to it
    width, height = text_size
    limits = np.array([-margin, -margin]), np.array(image_size[::-1]) + margin - text_size
    further_boxes = np.zeros((0, 4)) if obstacles is None else obstacles
    placed: list[Float[np.ndarray, " 2"]] = []
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        aligned, beside = (x1, x2 - width), (x2, x1 - width)
        places = (
            (aligned, (y1 - height, y2)),
            (beside, (y1, y2 - height, (y1 + y2 - height) / 2)),
            (((x1 + x2 - width) / 2,), (y1 - height, y2)),
            (aligned, (y1 - 2 * height, y2 + height)),
            (aligned, (y1, y2 - height)),
        )
        candidates = np.array([(x, y) for columns, rows in places for y in rows for x in columns])
        candidates = candidates.clip(*limits)
        distances = np.abs(candidates[:, None] - np.reshape(placed, (-1, 2)))  # [candidates, placed, 2]
        covered_text = (text_size - distances).clip(min=0).prod(axis=-1).sum(axis=-1)
        other_boxes = np.delete(boxes, row, axis=0)
        ambiguous_area = _overlap_area(candidates, text_size, other_boxes, near)
        covered_boxes = np.concatenate([boxes[row : row + 1], further_boxes])
        covered_area = _overlap_area(candidates, text_size, covered_boxes, 0)
        placed.append(candidates[(10 * covered_text + ambiguous_area + covered_area).argmin()])
    return placed


def _overlap_area(
    corners: Float[np.ndarray, "C 2"],
    text_size: Float[np.ndarray, " 2"],
    boxes: Float[np.ndarray, "_boxes 4"],
    near: float,
) -> Float[np.ndarray, " C"]:
    """Return the area that a text at each of the corners shares with all boxes, each enlarged by `near` pixels."""
    starts = np.maximum(corners[:, None], boxes[:, :2] - near)
    ends = np.minimum(corners[:, None] + text_size, boxes[:, 2:] + near)
    return (ends - starts).clip(min=0).prod(axis=-1).sum(axis=-1)


def visualize_detections(
    images: Sequence[UInt8[np.ndarray, "H W 3"]],
    true_boxes: Sequence[Float[np.ndarray, "_n 4"]],
    detections: Sequence[Detections],
    titles: Sequence[str],
) -> Figure:
    """Draw images in a grid with their true boxes (solid) and their detections (dashed).

    Args:
        images: bytes.
        true_boxes: of each image, in pixels.
        detections: of each image; all are drawn.
        titles: one per image.
    """
    figure, axes = image_grid(len(images), size=2.6)
    for number, ax in enumerate(axes):
        plot_detections(images[number], true_boxes[number], detections[number], ax, titles[number])
    return figure


def plot_failure(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    predicted_boxes: Float[np.ndarray, "D 4"],
    failed_box: tuple[float, float, float, float],
    ax: Axes,
    *,
    is_missed: bool,
    title: str = "",
) -> Axes:
    """Draw the part of an image around one failure: true boxes (solid), detections (dashed), the failed box thick.

    The part is a square around the failed box, twice as wide as the box and at least `SMALLEST_PART` pixels.

    Args:
        image: bytes.
        true_boxes: in pixels.
        predicted_boxes: of the detections, in pixels; all are drawn.
        failed_box: of the missed object or the false positive, in pixels.
        ax: where to draw.
        is_missed: the failed box is a true box; otherwise it is a detection.
        title: above the image.
    """
    plot_framed_image(fade(image, 0.5), ax, title)
    plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)
    plot_boxes(predicted_boxes, ax, colour=PREDICTION_COLOUR, style=PREDICTION_STYLE)
    x1, y1, x2, y2 = failed_box
    width = 4.5
    mark: dict[str, Any] = {"fill": False, "linewidth": width, "path_effects": add_halo(width)}
    mark["edgecolor"] = TRUTH_COLOUR if is_missed else PREDICTION_COLOUR
    mark["linestyle"] = TRUTH_STYLE if is_missed else PREDICTION_STYLE
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **mark))

    height, image_width = image.shape[:2]
    side = min(max(SMALLEST_PART, 2 * (x2 - x1), 2 * (y2 - y1)), height, image_width)
    left = np.clip((x1 + x2 - side) / 2, 0, image_width - side)
    top = np.clip((y1 + y2 - side) / 2, 0, height - side)
    margin = 2  # pixels, so that a line on the border of the image is drawn in full width
    ax.set(xlim=(left - margin, left + side + margin), ylim=(top + side + margin, top - margin))
    return ax


def plot_precision_recall(
    curves: Mapping[str, PrecisionRecall], average_precision: Mapping[str, float], ax: Axes | None = None
) -> Axes:
    """Draw precision against recall for each class, with its envelope and its average precision in the legend."""
    ax = ax or plt.figure(figsize=(6.2, 3.2)).add_subplot()
    for name, curve in curves.items():
        colour = CLASS_COLOURS[CLASS_NAMES.index(name)]
        ax.plot(curve.recall, curve.precision, color=colour, linewidth=0.8, alpha=0.5)
        ax.plot(*curve.outline(), color=colour, label=f"{name}, AP {average_precision[name]:.2f}")
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


# Statistics of a dataset


def plot_data_flow() -> Axes:
    """Draw the way of the data of detection, from random numbers to a measured detector, above a legend."""
    blocks = {
        "stream": Block("random numbers\nseed 641", 0.0, 0.5, "data"),
        "layout": Block("lay out:\nclass, size, box", 1.9, 0.5, "step"),
        "paint": Block("paint the shapes", 3.8, 1.0, "step"),
        "count": Block("count visible\npixels", 3.8, 0.0, "step"),
        "image": Block("image\n224 × 224", 5.7, 1.0, "data"),
        "file": Block("annotation file:\nboxes, visibility", 5.7, 0.0, "data"),
        "reader": Block("reader: checks\nthe format", 7.6, 0.0, "step"),
        "detector": Block("detector", 7.6, 1.0, "layer"),
        "metric": Block("metric: average\nprecision (AP)", 9.5, 0.5, "step"),
    }
    arrows = [
        ("stream", "layout"),
        ("layout", "paint"),
        ("layout", "count"),
        ("paint", "image"),
        ("count", "file"),
        ("image", "detector"),
        ("file", "reader"),
        ("detector", "metric"),
        ("reader", "metric"),
    ]
    ax = draw_network(blocks, arrows)
    kinds = {
        "data": "data",
        "step": "fixed computation",
        "layer": "detector: rules of colour in lesson 1, a network in lesson 3",
    }
    handles = []
    for kind, text in kinds.items():
        handles.append(Patch(facecolor=BLOCK_COLOURS[kind], edgecolor="0.35", label=text))
    figure = ax.figure
    assert isinstance(figure, Figure)
    figure.set_figheight(figure.get_figheight() + 0.35)  # inches, for the legend
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return ax


def plot_statistics(
    num_objects: Int[np.ndarray, " M"],
    widths: Mapping[str, Float[np.ndarray, " _objects"]],
    pair_iou: Float[np.ndarray, " pairs"],
    labels: Int[np.ndarray, " N"],
    visibility: Float[np.ndarray, " N"],
) -> Figure:
    """Draw the distributions of objects per image, widths, IoU of pairs, and visibility.

    Args:
        num_objects: objects of each image.
        widths: of all objects of each split by the split's name, pixels.
        pair_iou: IoU of every two objects in one image.
        labels: classes of all objects.
        visibility: of all objects.
    """
    figure, axes = plt.subplots(2, 2, figsize=(9, 6))
    _plot_object_counts(num_objects, axes[0, 0])
    _plot_widths(widths, axes[0, 1])
    _plot_pair_iou(pair_iou, axes[1, 0])
    _plot_visibility(visibility, labels, axes[1, 1])
    return figure


def _plot_object_counts(num_objects: Int[np.ndarray, " M"], ax: Axes) -> None:
    """Draw the number of images with each number of objects."""
    numbers, counts = np.unique(num_objects, return_counts=True)
    ax.bar(numbers, counts, color="0.6", width=0.7)
    ax.set(xlabel="objects in the image", ylabel="images", xticks=numbers)


def _plot_widths(widths: Mapping[str, Float[np.ndarray, " _objects"]], ax: Axes) -> None:
    """Draw a histogram of the widths of each split, as shares of its objects, below the names of the classes."""
    bins = list(range(15, 196, 4))  # two even widths each
    for (split, values), colour in zip(widths.items(), COLOURS, strict=False):
        shares = np.full(len(values), 1 / len(values))
        ax.hist(values, bins=bins, weights=shares, color=colour, label=split, histtype="step", linewidth=1.5)
    top = 1.15 * ax.get_ylim()[1]
    for name, sizes in zip(CLASS_NAMES, SIZE_RANGES, strict=True):
        ax.text(sum(sizes) / 2, 0.97 * top, name, ha="center", va="top", fontsize=9)
    ax.set(xlabel="width of the box (px)", ylabel="share of the split's objects", ylim=(0, top))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(loc="center right")


def _plot_pair_iou(pair_iou: Float[np.ndarray, " pairs"], ax: Axes) -> None:
    """Draw a histogram of the IoU of pairs, and the IoU above which the generator draws another position."""
    ax.hist(pair_iou, bins=np.linspace(0, 1, 41).tolist(), color="0.6")
    ax.axvline(MAX_IOU, color="black", linewidth=1, linestyle=":")
    ax.set(xlabel="IoU of two boxes in an image", ylabel="pairs", yscale="log", xlim=(0, 1))


def _plot_visibility(visibility: Float[np.ndarray, " N"], labels: Int[np.ndarray, " N"], ax: Axes) -> None:
    """Draw the cumulative distribution of the visibility of each class; at 1 every curve jumps to 100 %."""
    shares = np.linspace(0, 1, 201)
    for label, (name, colour) in enumerate(zip(CLASS_NAMES, CLASS_COLOURS, strict=True)):
        below = (visibility[labels == label] <= shares[:, None] + 1e-6).mean(axis=1)
        ax.plot(shares, below, color=colour, label=name, drawstyle="steps-post")
    ax.set(xlabel="visibility", ylabel="objects with at most this visibility", xlim=(-0.02, 1.02), ylim=(0, 1.03))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(loc="upper left")
