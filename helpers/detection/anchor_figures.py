"""Figures of anchors: their boxes and centres, matches, coverage and guaranteed IoU.

Shape letters: N objects, A anchors, L levels, S sizes, T thresholds, C classes, h w feature map, H W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from helpers.detection.figures import CLASS_MARKERS, mark_class_sizes, plot_boxes, plot_faded_image, use_size_axis
from helpers.detection.matching import IGNORED
from helpers.detection.scenes import CLASS_NAMES, SIZE_RANGES
from helpers.diagrams import Block, draw_network
from helpers.plotting import CLASS_COLOURS, LEVEL_COLOURS, TRUTH_COLOUR, TRUTH_STYLE, plot_framed_image


def plot_target_assignment(ax: Axes | None = None) -> Axes:
    """Draw how each anchor gets the target of its training and its prediction, with the numbers of the tasks."""
    blocks = {
        "anchors": Block("12 348 anchors\n(task 2.1)", 0, 1.7, "step"),
        "objects": Block("true boxes\nand classes", 0, 0.85, "data"),
        "iou": Block("IoU of each pair\n(task 2.2)", 1.75, 1.275, "step"),
        "matching": Block("matching\n(task 2.6)", 3.5, 1.275, "step"),
        "positive": Block("positive\nanchors", 5.25, 1.7, "data"),
        "background": Block("background\nanchors", 5.25, 0.85, "data"),
        "offsets": Block("offsets to the true\nboxes (task 2.3)", 7.0, 1.7, "step", width=1.45),
        "mining": Block("hard-negative\nmining (task 2.7)", 7.0, 0.85, "step", width=1.45),
        "loss": Block("loss\n(lesson 3)", 9.1, 0.425, "data", width=1.0),
        "maps": Block("maps of the network\n(lesson 3)", 3.75, -0.35, "data", width=1.5),
        "predictions": Block("one prediction per\nanchor (task 2.5)", 5.6, -0.35, "step", width=1.45),
        "boxes": Block("boxes from offsets\n(task 2.4)", 7.35, -1.1, "step", width=1.45),
        "detections": Block("detections\n(lesson 3)", 9.1, -1.1, "data", width=1.0),
    }
    arrows = [
        ("anchors", "iou"),
        ("objects", "iou"),
        ("iou", "matching"),
        ("matching", "positive"),
        ("matching", "background"),
        ("positive", "offsets"),
        ("background", "mining"),
        ("offsets", "loss"),
        ("mining", "loss"),
        ("maps", "predictions"),
        ("predictions", "mining"),
        ("predictions", "loss"),
        ("predictions", "boxes"),
        ("boxes", "detections"),
    ]
    return draw_network(blocks, arrows, ax)


def plot_anchors(
    image: UInt8[np.ndarray, "H W 3"],
    anchors: Float[np.ndarray, "N 4"],
    shown: Float[np.ndarray, "A 4"],
    ax: Axes,
    *,
    colour: str,
    title: str = "",
) -> Axes:
    """Draw a faded image, the centres of one level's `anchors` as dots, and the boxes of the anchors `shown`."""
    plot_faded_image(image, ax, title)
    centres = np.unique((anchors[:, :2] + anchors[:, 2:]) / 2, axis=0)
    dot_area = 16 * 14 / len(centres) ** 0.5  # dots of a fine level are smaller
    ax.scatter(*centres.T, s=dot_area, color=colour, linewidths=0)
    return plot_boxes(shown, ax, colour=colour)


def plot_match_map(
    index: Int[np.ndarray, "h w"],
    true_boxes: Float[np.ndarray, "N 4"],
    labels: Int[np.ndarray, " N"],
    ax: Axes,
    *,
    colour: str,
    title: str = "",
    part: tuple[float, float, float, float] | None = None,
    image_size: int = 224,
) -> Axes:
    """Draw which cells of one level have a positive anchor, and the class of the object that it is matched to.

    A cell with a positive anchor is coloured and has the marker of its object's class. A cell without one is grey if
    one of its anchors is ignored, otherwise white. Thin lines are the borders of the cells. The image is not drawn,
    because its outlines would look like grey cells.

    Args:
        index: of `match_cells`, as rows and columns.
        true_boxes: in pixels.
        labels: class of each box.
        ax: where to draw.
        colour: of the level.
        title: above the map.
        part: the square (x1, y1, x2, y2) of the image that is shown, in pixels; all of it if `None`.
        image_size: height and width of the image in pixels.
    """
    plot_framed_image(np.full((image_size, image_size, 3), 255, np.uint8), ax, title)
    x1, y1, x2, y2 = part or (0, 0, image_size, image_size)
    zoom = image_size / (y2 - y1)
    stride = image_size / len(index)
    paint = np.zeros((*index.shape, 4))
    paint[index == IGNORED] = to_rgba("0.45", 0.55)
    paint[index >= 0] = to_rgba(colour)
    ax.imshow(paint, extent=(0, image_size, image_size, 0))
    borders = np.arange(len(index) + 1) * stride
    ends = np.full_like(borders, image_size)
    border_style: dict[str, Any] = {"color": "0.5", "linewidth": 0.5, "zorder": 1}
    ax.plot([0 * ends, ends], [borders, borders], **border_style)
    ax.plot([borders, borders], [0 * ends, ends], **border_style)
    ax.fill([], [], color="0.45", alpha=0.55, label="ignored anchor, but no positive one")
    for row in np.argsort(labels):
        rows, columns = np.nonzero(index == row)
        centres = (columns + 0.5) * stride, (rows + 0.5) * stride
        name, marker = CLASS_NAMES[labels[row]], CLASS_MARKERS[labels[row]]
        size = (0.6 * stride * zoom) ** 2  # square points; a pixel of the whole image is about a point
        ax.scatter(*centres, s=size, marker=marker, color="white", edgecolors="black", linewidths=0.5, zorder=3)
        ax.scatter([], [], s=36, marker=marker, color="white", edgecolors="black", label=f"positive anchor: {name}")
    if part is not None:
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="0.8", linewidth=1.6))
        ax.set(xlim=(x1, x2), ylim=(y2, y1))
    return plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)


def plot_best_iou(
    sizes: Float[np.ndarray, " N"],
    best_iou: Float[np.ndarray, "L N"],
    guaranteed: tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]],
    ax: Axes | None = None,
) -> Axes:
    """Draw the best IoU of each object against its size in the colour of its best level, and the guaranteed IoU.

    The dot of one object is pale; where several objects have the same size and IoU, the dot is darker.

    Args:
        sizes: sides of the objects in pixels.
        best_iou: of each object with the anchors of each level.
        guaranteed: sizes in pixels, and the guaranteed IoU of an object of each size.
        ax: a new one if `None`.
    """
    ax = ax or plt.figure(figsize=(8, 3.8)).add_subplot()
    best_level = best_iou.argmax(axis=0)
    for level, colour in enumerate(LEVEL_COLOURS[: len(best_iou)]):
        is_best = best_level == level
        dots: dict[str, Any] = {"s": 12, "alpha": 0.5, "linewidths": 0, "color": colour, "zorder": 3}
        ax.scatter(sizes[is_best], best_iou[level, is_best], label=f"level {level}", **dots)
    ax.plot(*guaranteed, color="black", linewidth=1.2, label="guaranteed at any position")
    mark_class_sizes(ax, 1.03)
    use_size_axis(ax)
    ax.set(ylabel="IoU of the best anchor", ylim=(0.55, 1.0))
    for handle in ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, markerscale=2).legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return ax


def plot_coverage(best_iou: Float[np.ndarray, "L N"], ax: Axes, title: str = "") -> Axes:
    """Draw the share of objects with an anchor of at least each IoU, for each level alone and for all together."""
    iou = np.linspace(0, 1, 201)
    for level, level_iou in enumerate(best_iou):
        share = (level_iou >= iou[:, None]).mean(axis=1)
        ax.plot(iou, share, color=LEVEL_COLOURS[level], label=f"level {level}")
    share = (best_iou.max(axis=0) >= iou[:, None]).mean(axis=1)
    ax.plot(iou, share, color="black", linewidth=1, linestyle=":", label="all levels")
    ax.set(xlabel="IoU", xlim=(0, 1), ylim=(-0.02, 1.03), title=title)
    return ax


def plot_threshold_sweep(
    thresholds: Sequence[float], positives: Float[np.ndarray, "T C"], unmatched: Float[np.ndarray, "T C"]
) -> Figure:
    """Draw the positive anchors per object and the share of unmatched objects against the positive threshold.

    Args:
        thresholds: IoU.
        positives: mean number of positive anchors per object.
        unmatched: share of objects without a positive anchor.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    classes = zip(CLASS_NAMES, CLASS_MARKERS, CLASS_COLOURS, strict=True)
    for column, (name, marker, colour) in enumerate(classes):
        style: dict[str, Any] = {"marker": marker, "markersize": 5, "color": colour, "linewidth": 1, "label": name}
        left.plot(thresholds, positives[:, column], **style)
        right.plot(thresholds, unmatched[:, column], **style)
    left.set(xlabel="positive threshold (IoU)", ylabel="positive anchors per object", yscale="log")
    right.set(xlabel="positive threshold (IoU)", ylabel="objects without\na positive anchor", ylim=(-0.02, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(CLASS_NAMES))
    return figure


def plot_guarantees(
    sizes: Float[np.ndarray, " S"],
    guaranteed: Float[np.ndarray, " S"],
    reference: Float[np.ndarray, " S"],
    ax: Axes,
    title: str = "",
) -> Axes:
    """Draw the guaranteed IoU of changed anchors against the object's size, over that of the reference in grey."""
    for (smallest, largest), label in zip(SIZE_RANGES, ("sizes of the objects", None, None), strict=True):
        ax.axvspan(smallest, largest, color="0.93", linewidth=0, label=label)
    ax.plot(sizes, reference, color="0.6", linewidth=3, label="anchors of the assignment")
    ax.plot(sizes, guaranteed, color="black", linewidth=1.2, label="changed anchors")
    use_size_axis(ax)
    ax.set(ylim=(0, 1.03), title=title)
    return ax
