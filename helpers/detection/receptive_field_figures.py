"""Figures of receptive fields: paths through the network, gridding, and the sensitivity of a trained network.

Shape letters: L levels, S side of a square of pixels, H W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.detection.figures import plot_faded_image
from helpers.detection.scenes import SIZE_RANGES
from helpers.plotting import LEVEL_COLOURS, TRUTH_COLOUR, add_halo

SCALE_BAR = 16
"""Length in pixels of the bar below each panel of paths."""


def plot_path_weights(
    weights: Float[np.ndarray, "S S"],
    sizes: Sequence[int],
    ax: Axes,
    *,
    colour: str,
    reach: int,
    title: str = "",
) -> Axes:
    """Draw the pixels of a cell's receptive field, darker with more paths, under the outlines of squares.

    Args:
        weights: of one level, from `compute_path_weights`.
        sizes: of two squares whose middle is the cell, pixels: the first is dotted, the second solid.
        ax: where to draw.
        colour: of the level.
        reach: pixels shown on each side of the centre.
        title: above the panel.
    """
    shades = LinearSegmentedColormap.from_list("paths", ["white", colour, "black"])
    half = len(weights) / 2
    ax.imshow(np.sqrt(weights / weights.max()), cmap=shades, vmin=0, vmax=1, extent=(-half, half, half, -half))
    for size, style in zip(sizes, (":", "-"), strict=True):
        outline: dict[str, Any] = {"fill": False, "edgecolor": TRUTH_COLOUR, "linestyle": style, "linewidth": 2}
        ax.add_patch(Rectangle((-size / 2, -size / 2), size, size, path_effects=add_halo(2), **outline))
    ax.set(xlim=(-reach, reach), ylim=(reach, -reach), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=9)
    bar_y = 1.09 * reach
    ax.plot((-reach, SCALE_BAR - reach), (bar_y, bar_y), color="black", linewidth=2.5, clip_on=False)
    ax.text(SCALE_BAR - 0.94 * reach, bar_y, f"{SCALE_BAR} px", fontsize=8, va="center")
    ax.grid(visible=False)
    return ax


def plot_gridding(
    weights: Mapping[str, Float[np.ndarray, "L _S _S"]],
    widths: Mapping[str, Sequence[int]],
    shares: Mapping[str, Sequence[float]],
) -> Figure:
    """Draw the paths to a cell of each level, one row per dilation configuration.

    The squares show the smallest and largest object of the level's class.

    Args:
        weights: per configuration, from `compute_path_weights`.
        widths: per configuration, from `compute_receptive_fields`.
        shares: per configuration, from `compute_reached_shares`.
    """
    figure, axes = plt.subplots(len(weights), 3, figsize=(8.4, 0.2 + 2.8 * len(weights)), squeeze=False)
    reaches = [max(level_widths) // 2 + 3 for level_widths in zip(*widths.values(), strict=True)]
    for row, (name, levels) in zip(axes, weights.items(), strict=True):
        row[0].set_ylabel(name)
        for level, (ax, paths) in enumerate(zip(row, levels, strict=True)):
            title = f"{widths[name][level]} px wide, {shares[name][level]:.0%} reached"
            plot_path_weights(
                paths, SIZE_RANGES[level], ax, colour=LEVEL_COLOURS[level], reach=reaches[level], title=title
            )
    for level, ax in enumerate(axes[0]):
        ax.set_title(f"level {level}\n{ax.get_title()}", fontsize=9)
    return figure


def plot_object_cells(
    image: UInt8[np.ndarray, "H W 3"],
    box: Sequence[float],
    stride: int,
    centre: Sequence[int],
    width: int,
    ax: Axes,
    *,
    colour: str,
    title: str = "",
) -> Axes:
    """Draw an object with the cells of one level as a grid, and the receptive field of the cell in its middle.

    The panel shows the object and a quarter of its size on each side, at least 20 pixels, as far as the image reaches.

    Args:
        image: bytes.
        box: of the object, (x1, y1, x2, y2) in pixels.
        stride: of the level, pixels.
        centre: (row, column) of the pixel at the centre of the receptive field.
        width: of the receptive field, pixels.
        ax: where to draw.
        colour: of the level.
        title: above the panel.
    """
    plot_faded_image(image, ax, title)
    height, image_width = image.shape[:2]
    y, x = centre
    corner = (x + 0.5 - width / 2, y + 0.5 - width / 2)
    ax.add_patch(Rectangle(corner, width, width, facecolor=colour, edgecolor="none", alpha=0.3))
    lines: dict[str, Any] = {"color": "0.35", "linewidth": 0.5}
    ax.vlines(range(0, image_width + 1, stride), 0, height, **lines)
    ax.hlines(range(0, height + 1, stride), 0, image_width, **lines)
    x1, y1, x2, y2 = box
    true_box: dict[str, Any] = {"fill": False, "edgecolor": TRUTH_COLOUR, "linewidth": 2}
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, path_effects=add_halo(2), **true_box))
    margin = max(20, (x2 - x1) / 4)
    ax.set(xlim=(max(x1 - margin, -2), min(x2 + margin, image_width + 2)))
    ax.set(ylim=(min(y2 + margin, height + 2), max(y1 - margin, -2)))
    return ax


def plot_receptive_field(
    image: UInt8[np.ndarray, "H W 3"],
    sensitivity: Float[np.ndarray, "H W"],
    centre: Sequence[int],
    widths: Sequence[int],
    ax: Axes,
    *,
    colour: str,
    title: str = "",
    side: int | None = None,
) -> Axes:
    """Draw a faded image, the sensitivity of one cell to its pixels, and the cell's receptive fields.

    Args:
        image: bytes.
        sensitivity: |gradient| per pixel, drawn in black; the largest hundredth is fully black.
        centre: (row, column) of the pixel at the centre of the receptive field.
        widths: of the theoretical (solid) and the effective (dashed) receptive field, pixels.
        ax: where to draw.
        colour: of the level.
        title: above the image.
        side: of the square around `centre` that is shown, moved into the image, pixels; `None` shows the whole image.
    """
    plot_faded_image(image, ax, title)
    height, width = image.shape[:2]
    paint = np.zeros((height, width, 4))
    paint[..., 3] = np.clip(sensitivity / np.quantile(sensitivity[sensitivity > 0], 0.99), 0, 1)
    ax.imshow(paint, extent=(0, width, height, 0))
    y, x = centre
    for field_width, style in zip(widths, ("-", "--"), strict=True):
        corner = (x + 0.5 - field_width / 2, y + 0.5 - field_width / 2)
        outline: dict[str, Any] = {"fill": False, "edgecolor": colour, "linestyle": style, "linewidth": 2}
        ax.add_patch(Rectangle(corner, field_width, field_width, **outline))
    ax.plot(x + 0.5, y + 0.5, "+", color=colour, markersize=8, markeredgewidth=2)
    if side is not None:
        left = min(max(x - side / 2, 0), width - side)
        top = min(max(y - side / 2, 0), height - side)
        ax.set(xlim=(left - 1, left + side + 1), ylim=(top + side + 1, top - 1))  # a line on the border stays whole
    return ax
