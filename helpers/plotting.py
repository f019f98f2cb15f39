"""Style, image grids, curves, comparisons and tables: what the figures of every wing share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe-Ito palette, in the order of the style file; one colour per class, level or variant."""
TRUTH_COLOUR, TRUTH_STYLE = "#12872A", "-"
PREDICTION_COLOUR, PREDICTION_STYLE = "#D7191C", "--"


def use_style() -> None:
    """Applies the workbook's one style file to every later figure."""
    plt.style.use(Path(__file__).with_name("workbook.mplstyle"))


def image_grid(num_images: int, columns: int = 5, size: float = 2.2) -> tuple[Figure, list[Axes]]:
    """Returns a figure with `num_images` axes without ticks, `columns` to a row, each `size` inches square."""
    rows = math.ceil(num_images / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * size, rows * size), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, list(axes.flat[:num_images])


def plot_image(image: np.ndarray, ax: Axes | None = None, title: str = "") -> Axes:
    """Draws `image` [H, W] or [H, W, 3] so that pixel i covers [i, i + 1), the workbook's convention."""
    ax = ax or plt.figure(figsize=(3, 3)).add_subplot()
    height, width = image.shape[:2]
    ax.imshow(image, extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=9)
    ax.set_axis_off()
    return ax


def plot_pixels(image: np.ndarray, columns: range, rows: range, ax: Axes) -> Axes:
    """Draws those `columns` and `rows` of `image`, faded and so large that single pixels are seen, with their numbers.

    Pixel i lies between the lines i and i + 1: what a coordinate names, an edge or a centre, can be read off.
    """
    plot_image((255 - (255 - image) * 0.4).astype(np.uint8), ax)
    ax.set_axis_on()
    ax.set(xlim=(columns.start, columns.stop), ylim=(rows.stop, rows.start))
    ax.set(xticks=(*columns, columns.stop), yticks=(*rows, rows.stop))
    ax.grid(True, color="0.6", linewidth=0.6)
    return ax


def plot_history(
    history: Sequence[Mapping[str, float]], names: Sequence[str], ax: Axes | None = None, ylabel: str = "loss"
) -> Axes:
    """Draws the columns `names` of a training history (one mapping per epoch) against the epoch."""
    ax = ax or plt.figure(figsize=(5, 3)).add_subplot()
    epochs = [row["epoch"] for row in history]
    for name in names:
        ax.plot(
            epochs,
            [row[name] for row in history],
            marker="o" if len(epochs) < 15 else None,
            label=name.replace("_", " "),
        )
    ax.set(xlabel="epoch", ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return ax


def plot_variants(values: Mapping[str, Sequence[float]], ax: Axes | None = None, xlabel: str = "") -> Axes:
    """Draws one row per variant: a dot per seed, a bar at their mean, and the mean as a number at the right.

    Args:
        values: for each variant one number per seed.
    """
    ax = ax or plt.figure(figsize=(6.5, 0.36 * len(values) + 0.9)).add_subplot()
    for row, numbers in enumerate(values.values()):
        mean = float(np.mean(numbers))
        ax.plot(numbers, [row] * len(numbers), "o", color=COLOURS[0], markersize=5, alpha=0.6)
        ax.plot([mean, mean], [row - 0.3, row + 0.3], color=COLOURS[1], linewidth=2.5)
        ax.text(1.02, row, f"{mean:.3f}", va="center", fontsize=9, transform=ax.get_yaxis_transform())
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    return ax


def format_table(rows: Mapping[str, Mapping[str, float]], decimals: int = 3) -> str:
    """Returns a text table: one line per row, one column per name of the first row, numbers right-aligned."""
    columns = list(next(iter(rows.values())))
    label_width = max(len(label) for label in rows) + 2
    widths = [max(len(column), decimals + 3) + 2 for column in columns]
    lines = [" " * label_width + "".join(f"{column:>{width}}" for column, width in zip(columns, widths, strict=True))]
    for label, row in rows.items():
        cells = (f"{row[column]:>{width}.{decimals}f}" for column, width in zip(columns, widths, strict=True))
        lines.append(f"{label:<{label_width}}" + "".join(cells))
    return "\n".join(lines)
