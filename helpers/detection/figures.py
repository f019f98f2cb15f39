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
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from helpers.average_precision import Detections
from helpers.detection.anchors import ANCHOR_SCALES
from helpers.detection.metrics import PrecisionRecall
from helpers.detection.scenes import CLASS_NAMES, MAX_IOU, SIZE_RANGES
from helpers.diagrams import Block, draw_network
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
SMALL_SIDE = 40
"""Longest side in pixels of a box that is too small for hatching."""
TEXT_SIZE = (38.0, 12.0)
"""Width and height of a detection's text in pixels of the image, for 224 pixels drawn 2.2 inches wide."""


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
) -> Axes:
    """Draw `boxes` [N, 4] `(x1, y1, x2, y2)` in pixels over the content of `ax`.

    Args:
        boxes: one rectangle each.
        ax: shows the image.
        colour: of the lines and behind the texts.
        style: of the lines.
        texts: one short text per box, written inside its top-left corner.
    """
    width = 1.6
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
                path_effects=add_halo(width),
            )
        )
        if texts is not None:
            background = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
            ax.text(x1 + 2, y1 + 2, texts[index], color="white", fontsize=7, va="top", bbox=background)
    return ax


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
) -> Axes:
    """Draw an image with its true boxes (solid) and the same boxes read in the wrong format (dashed).

    The axes include the part of the misread boxes that lies outside the image.
    """
    plot_framed_image(image, ax)
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
) -> Axes:
    """Draw an image with its true boxes (solid) and detections (dashed) with class initial and score.

    Args:
        image: bytes.
        true_boxes: in pixels.
        detections: all are drawn; apply the score threshold first (`Detections.above`).
        ax: a new one if `None`.
        title: above the image.
    """
    ax = plot_framed_image(image, ax, title)
    plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)
    boxes = detections.boxes.numpy()
    plot_boxes(boxes, ax, colour=PREDICTION_COLOUR, style=PREDICTION_STYLE)
    corners = place_texts(boxes, np.array(TEXT_SIZE), image.shape[:2])
    background = {"facecolor": PREDICTION_COLOUR, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    for (x, y), text in zip(corners, describe_detections(detections), strict=True):
        middle = (x + TEXT_SIZE[0] / 2, y + TEXT_SIZE[1] / 2)
        ax.text(*middle, text, color="white", fontsize=6, ha="center", va="center_baseline", bbox=background)
    return ax


def describe_detections(detections: Detections) -> list[str]:
    """Return the class initial and the score of each detection as a short text, such as "s 0.93"."""
    labels, scores = detections.labels.tolist(), detections.scores.tolist()
    return [f"{CLASS_NAMES[label][0]} {score:.2f}" for label, score in zip(labels, scores, strict=True)]


def place_texts(
    boxes: Float[np.ndarray, "N 4"], text_size: Float[np.ndarray, " 2"], image_size: tuple[int, ...]
) -> list[Float[np.ndarray, " 2"]]:
    """Return the top-left corner of the text of each box, chosen so that it covers no other text and no other box.

    The candidates are above or below the box, beside it, inside it, and one line further away; of equally good ones the
    first is chosen. Every text stays inside the image.

    Args:
        boxes: in pixels.
        text_size: width and height of every text in pixels.
        image_size: height and width of the image in pixels.
    """
    near = 3  # pixels; a text closer to a box appears to belong to it
    width, height = text_size
    placed: list[Float[np.ndarray, " 2"]] = []
    for row, (x1, y1, x2, y2) in enumerate(boxes):
        aligned, beside = (x1, x2 - width), (x2, x1 - width)
        places = (
            (aligned, (y1 - height, y2)),
            (beside, (y1, y2 - height)),
            (aligned, (y1, y2 - height)),
            (aligned, (y1 - 2 * height, y2 + height)),
        )
        candidates = np.array([(x, y) for columns, rows in places for y in rows for x in columns])
        candidates = candidates.clip(0, np.array(image_size[::-1]) - text_size)
        distances = np.abs(candidates[:, None] - np.reshape(placed, (-1, 2)))  # [candidates, placed, 2]
        covered_area = (text_size - distances).clip(min=0).prod(axis=-1).sum(axis=-1)
        other_boxes = np.delete(boxes, row, axis=0)
        starts = np.maximum(candidates[:, None], other_boxes[:, :2] - near)
        ends = np.minimum(candidates[:, None] + text_size, other_boxes[:, 2:] + near)
        ambiguous_area = (ends - starts).clip(min=0).prod(axis=-1).sum(axis=-1)
        placed.append(candidates[(10 * covered_area + ambiguous_area).argmin()])
    return placed


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
    figure, axes = image_grid(len(images))
    for number, ax in enumerate(axes):
        plot_detections(images[number], true_boxes[number], detections[number], ax, titles[number])
    return figure


def plot_failure(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    detections: Detections,
    failed_box: tuple[float, float, float, float],
    ax: Axes,
    *,
    is_missed: bool,
    title: str = "",
) -> Axes:
    """Draw an image with its true boxes and detections, and mark the box of one failure.

    A large box is hatched; a box of at most `SMALL_SIDE` pixels gets a thick frame around it.

    Args:
        image: bytes.
        true_boxes: in pixels.
        detections: all are drawn.
        failed_box: of the missed object or the false positive, in pixels.
        ax: where to draw.
        is_missed: mark the box in the colour of true boxes instead of detections.
        title: above the image.
    """
    plot_detections(image, true_boxes, detections, ax, title)
    colour = TRUTH_COLOUR if is_missed else PREDICTION_COLOUR
    x1, y1, x2, y2 = failed_box
    if min(x2 - x1, y2 - y1) > SMALL_SIDE:
        hatching: dict[str, Any] = {"facecolor": colour, "alpha": 0.25, "edgecolor": colour, "hatch": "///"}
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **hatching))
    else:
        margin = 8  # pixels, so that the frame covers no part of the object
        frame: dict[str, Any] = {"fill": False, "edgecolor": colour, "linewidth": 3.5, "path_effects": add_halo(3.5)}
        corner = (x1 - margin, y1 - margin)
        ax.add_patch(Rectangle(corner, x2 - x1 + 2 * margin, y2 - y1 + 2 * margin, **frame))
    return ax


def plot_precision_recall(
    curves: Mapping[str, PrecisionRecall], average_precision: Mapping[str, float], ax: Axes | None = None
) -> Axes:
    """Draw precision against recall for each class, with its envelope and its average precision in the legend."""
    ax = ax or plt.figure(figsize=(4.5, 3.2)).add_subplot()
    for name, curve in curves.items():
        colour = CLASS_COLOURS[CLASS_NAMES.index(name)]
        ax.plot(curve.recall, curve.precision, color=colour, linewidth=0.8, alpha=0.5)
        ax.plot(*curve.outline(), color=colour, label=f"{name}, AP {average_precision[name]:.2f}")
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.03))
    ax.legend(loc="lower left")
    return ax


# Statistics of a dataset


def plot_data_flow() -> Axes:
    """Draw the way of the data of detection, from random numbers to a measured detector."""
    blocks = {
        "stream": Block("random numbers\nseed 641", 0.0, 0.5, "data"),
        "layout": Block("lay out:\nclass, size, box", 1.9, 0.5, "step"),
        "paint": Block("paint the shapes", 3.8, 1.0, "step"),
        "count": Block("count visible\npixels", 3.8, 0.0, "step"),
        "image": Block("image\n224 × 224", 5.7, 1.0, "data"),
        "file": Block("annotation file:\nboxes, visibility", 5.7, 0.0, "data"),
        "reader": Block("reader: checks\nthe format", 7.6, 0.0, "step"),
        "detector": Block("detector", 7.6, 1.0, "layer"),
        "metric": Block("AP", 9.5, 0.5, "step"),
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
    return draw_network(blocks, arrows)


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
    """Draw the cumulative distribution of the visibility of each class."""
    shares = np.linspace(0, 0.995, 200)  # at 1 every curve jumps to 100 %
    for label, (name, colour) in enumerate(zip(CLASS_NAMES, CLASS_COLOURS, strict=True)):
        below = (visibility[labels == label] <= shares[:, None] + 1e-6).mean(axis=1)
        ax.plot(shares, below, color=colour, label=name)
    ax.set(xlabel="visibility", ylabel="objects with at most this visibility", xlim=(-0.02, 1), ylim=(0, 0.62))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.legend(loc="upper left")
