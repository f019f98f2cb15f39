"""Style, image grids, curves, comparisons and tables: what the figures of every wing share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
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


def plot_framed_image(image: np.ndarray, ax: Axes | None = None, title: str = "", margin: float = 1) -> Axes:
    """Draws what `plot_image` does in a thin frame, for it may be white on a white page, and shows nothing beyond it.

    Args:
        margin: pixels around it that are seen, whatever is drawn over it later.
    """
    ax = plot_image(image, ax, title)
    height, width = image.shape[:2]
    ax.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor="0.8", linewidth=0.8))
    ax.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
    return ax


def outline_boxes(boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 5 2"]:
    """Returns the corners (x, y) of each box, once around: what a `LineCollection` draws as one artist for all."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(-1, 5, 2)


def add_outlines(ax: Axes, colour: str, style: str, width: float, label: str | None = None) -> None:
    """Adds one artist for any number of boxes; `set_segments` gives it their `outline_boxes`."""
    lines = LineCollection([], colors=colour, linestyles=style, linewidths=width, label=label)
    ax.add_collection(lines, autolim=False)


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
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
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
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(xlabel)
    return ax


def plot_grid(
    rows: Sequence[Mapping[str, Any]], parameters: Sequence[str], metric: str, ax: Axes | None = None
) -> Axes:
    """Draws a metric over the parameters of a grid: a dot per run, and means over runs that differ in nothing shown.

    The number with the most values runs along the x axis, the other parameters make a line each; where none is a
    number, each combination makes a row of `plot_variants`.

    Args:
        rows: one per run, with its parameters and the metric as columns.
        parameters: that vary between the rows.
    """
    values = {name: list(dict.fromkeys(row[name] for row in rows)) for name in parameters}
    numbers = [name for name in parameters if all(type(value) in (int, float) for value in values[name])]
    if not numbers:
        groups = _group(rows, parameters, metric)
        return plot_variants({label or "all runs": list(group) for label, group in groups.items()}, ax, metric)
    x = max(numbers, key=lambda name: len(values[name]))
    others = [name for name in parameters if name != x]
    lines = list(dict.fromkeys(_label(row, others) for row in rows))
    ax = ax or plt.figure(figsize=(6.5, 3.6)).add_subplot()
    for number, line in enumerate(lines):
        groups = _group([row for row in rows if _label(row, others) == line], (x,), metric, by_value=True)
        colour, marker = COLOURS[number % len(COLOURS)], "osD^v"[number // len(COLOURS) % 5]
        means = {value: float(np.mean(group)) for value, group in sorted(groups.items())}
        ax.plot(list(means), list(means.values()), marker=marker, color=colour, label=line)
        for value, group in groups.items():
            ax.plot([value] * len(group), group, marker, color=colour, markersize=4, alpha=0.4)
    ax.set(xlabel=x, ylabel=metric)
    ticks = sorted(values[x])
    if len(ticks) > 2 and ticks[0] > 0 and ticks[-1] >= 50 * ticks[0]:
        ax.set_xscale("log")
        ax.minorticks_off()
    if len(ticks) <= 10:
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if others:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _label(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Returns the row's values of `names` in words."""
    return ", ".join(f"{name} {row[name]}" for name in names)


def _group(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str, by_value: bool = False
) -> dict[Any, list[float]]:
    """Returns the metric's values for each label, or for each value of the one name."""
    groups: dict[Any, list[float]] = {}
    for row in rows:
        groups.setdefault(row[names[0]] if by_value else _label(row, names), []).append(row[metric])
    return groups


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
