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
from matplotlib.ticker import PercentFormatter

from helpers.detection.figures import CLASS_MARKERS, mark_class_sizes, plot_boxes, plot_faded_image, use_size_axis
from helpers.detection.matching import IGNORED
from helpers.detection.scenes import CLASS_NAMES, SIZE_RANGES
from helpers.plotting import LEVEL_COLOURS, TRUTH_COLOUR, TRUTH_STYLE


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
    image: UInt8[np.ndarray, "H W 3"],
    index: Int[np.ndarray, "h w"],
    true_boxes: Float[np.ndarray, "N 4"],
    ax: Axes,
    *,
    colour: str,
    title: str = "",
) -> Axes:
    """Draw which anchors of one size are positive (coloured), ignored (grey) and background (transparent).

    Args:
        image: drawn faded below the cells.
        index: of `match_anchors_to_targets`, for one level and size.
        true_boxes: in pixels.
        ax: where to draw.
        colour: of the level.
        title: above the image.
    """
    plot_faded_image(image, ax, title)
    height, width = image.shape[:2]
    paint = np.zeros((*index.shape, 4))
    paint[index == IGNORED] = to_rgba("0.45", 0.55)
    paint[index >= 0] = to_rgba(colour)
    ax.imshow(paint, extent=(0, width, height, 0))
    return plot_boxes(true_boxes, ax, colour=TRUTH_COLOUR, style=TRUTH_STYLE)


def plot_best_iou(
    sizes: Float[np.ndarray, " N"],
    best_iou: Float[np.ndarray, "L N"],
    guaranteed: tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]],
    ax: Axes | None = None,
) -> Axes:
    """Draw the best IoU of each object against its size in the colour of its best level, and the guaranteed IoU.

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
        dots: dict[str, Any] = {"s": 10, "alpha": 0.35, "linewidths": 0, "color": colour, "label": f"level {level}"}
        ax.scatter(sizes[is_best], best_iou[level, is_best], **dots)
    ax.plot(*guaranteed, color="black", linewidth=1.2, label="guaranteed at any position")
    mark_class_sizes(ax, 1.03)
    use_size_axis(ax)
    ax.set(ylabel="IoU of the best anchor", ylim=(0.45, 1.0))
    for handle in ax.legend(loc="lower right", ncols=4, markerscale=2).legend_handles:
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
    for column, (name, marker) in enumerate(zip(CLASS_NAMES, CLASS_MARKERS, strict=True)):
        style: dict[str, Any] = {"marker": marker, "markersize": 5, "color": "0.25", "linewidth": 1, "label": name}
        left.plot(thresholds, positives[:, column], **style)
        right.plot(thresholds, unmatched[:, column], **style)
    left.set(xlabel="positive threshold (IoU)", ylabel="positive anchors per object", yscale="log")
    right.set(xlabel="positive threshold (IoU)", ylabel="objects without a positive", ylim=(-0.02, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    left.legend()
    return figure


def plot_guarantees(
    sizes: Float[np.ndarray, " S"],
    guaranteed: Float[np.ndarray, " S"],
    reference: Float[np.ndarray, " S"],
    ax: Axes,
    title: str = "",
) -> Axes:
    """Draw the guaranteed IoU of changed anchors against the object's size, over that of the reference in grey."""
    for smallest, largest in SIZE_RANGES:
        ax.axvspan(smallest, largest, color="0.95", linewidth=0)
    ax.plot(sizes, reference, color="0.6", linewidth=3, label="assignment")
    ax.plot(sizes, guaranteed, color="black", linewidth=1.2, label="changed")
    use_size_axis(ax)
    ax.set(ylim=(0, 1.03), title=title)
    return ax
