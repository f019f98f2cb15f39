"""The keypoint wing's figures: arrays in, `Axes` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.keypoints.scenes import POINT_NAMES
from helpers.plotting import COLOURS, image_grid, plot_image

POINT_COLOURS = ("black", COLOURS[0], COLOURS[1], COLOURS[0], COLOURS[1])
POINT_MARKERS = ("*", "o", "o", "s", "s")
"""In the order of `POINT_NAMES`: left is blue and right is orange, hands are discs and feet are squares."""


def plot_points(
    image: UInt8[np.ndarray, "H W"], points: Float[np.ndarray, "5 2"], ax: Axes | None = None, title: str = ""
) -> Axes:
    """Draws a faded image with a frame and its points `(x, y)` in pixels, each in its own colour and shape."""
    ax = _plot_framed((255 - (255 - image) * 0.35).astype(np.uint8), ax, title)
    for point, colour, marker, name in zip(points, POINT_COLOURS, POINT_MARKERS, POINT_NAMES, strict=True):
        ax.scatter(*point, s=34, color=colour, marker=marker, linewidths=0, label=name.replace("_", " "), zorder=3)
    return ax


def _plot_framed(image: UInt8[np.ndarray, "H W"], ax: Axes | None, title: str) -> Axes:
    """Draws `image` with a thin frame: it is white on a white page."""
    ax = plot_image(image, ax, title)
    height, width = image.shape
    ax.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor="0.8", linewidth=0.8))
    return ax


def plot_examples(
    images: UInt8[np.ndarray, "M H W"], points: Float[np.ndarray, "M 5 2"], indices: Sequence[int]
) -> Figure:
    """Draws the figures at `indices` with their points, and then where the points of all M figures lie."""
    figure, axes = image_grid(len(indices) + 2, columns=len(indices) + 2, size=1.9)
    for index, ax in zip(indices, axes, strict=False):
        plot_points(images[index], points[index], ax, f"figure {index}")
    for ax, title, numbers in zip(axes[-2:], ("all heads and feet", "all hands"), ((0, 3, 4), (1, 2)), strict=True):
        _plot_framed(np.full_like(images[0], 255), ax, title)
        for number in numbers:
            style = {"color": POINT_COLOURS[number], "marker": POINT_MARKERS[number], "linewidths": 0, "alpha": 0.6}
            ax.scatter(*points[:, number].T, s=10, **style)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(POINT_NAMES))
    return figure


def plot_exchange(images: UInt8[np.ndarray, "2 H W"], points: Float[np.ndarray, "2 5 2"], axes: Sequence[Axes]) -> None:
    """Draws the upper body of a figure as annotated, and as it is with its hands exchanged, and counts what differs."""
    titles = ("as annotated", f"hands exchanged:\n{(images[0] != images[1]).sum()} pixels differ")
    x, y = points[0, 0]
    for ax, image, own, title in zip(axes, images, points, titles, strict=True):
        plot_points(image, own, ax, title)
        ax.set(xlim=(x - 32, x + 32), ylim=(y + 50, y - 14))


def plot_pck_curves(
    thresholds: Float[np.ndarray, " T"], curves: Mapping[str, Float[np.ndarray, " T"]], ax: Axes | None = None
) -> Axes:
    """Draws the share of points that lie within each threshold, a fraction of the figure's box, one curve per name."""
    ax = ax or plt.figure(figsize=(5.5, 3.2)).add_subplot()
    for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
        ax.plot(thresholds, values, color=colour, label=name)
    ax.set(xlabel="threshold (share of the box's diagonal)", ylabel="PCK", xlim=(thresholds[0], thresholds[-1]))
    ax.legend(loc="lower right")
    return ax
