"""Style, image grids, curves, comparisons and tables for the figures of every package."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C564B", "#7F7F7F", "#B5A200")
"""One colour per variant or curve, in the order of the style file: Okabe-Ito, without the colours below."""
CLASS_COLOURS = ("#D62728", "#2CA02C", "#1F3FD0")
"""Circle, square and triangle: the colours that the objects have in the handout's images."""
LEVEL_COLOURS = ("#E69F00", "#56B4E9", "#5B2A86")
"""Level 0, 1 and 2 of the detector, which are the handout's scales 1, 2 and 3."""
TRUTH_COLOUR, TRUTH_STYLE = "#D4006A", "-"
PREDICTION_COLOUR, PREDICTION_STYLE = "#000000", "--"
HALO_WIDTH = 2.0  # points of white on both sides together: a line stays visible on any colour


def use_style() -> None:
    """Apply the workbook's style file to all later figures."""
    plt.style.use(Path(__file__).with_name("workbook.mplstyle"))


def image_grid(num_images: int, columns: int = 5, size: float = 2.2) -> tuple[Figure, list[Axes]]:
    """Return a figure with `num_images` axes without ticks, `columns` to a row, each `size` inches square."""
    rows = math.ceil(num_images / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * size, rows * size), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, list(axes.flat[:num_images])


def plot_image(image: np.ndarray, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw `image` [H, W] or [H, W, 3] so that pixel i covers [i, i + 1), the workbook's convention."""
    ax = ax or plt.figure(figsize=(3, 3)).add_subplot()
    height, width = image.shape[:2]
    ax.imshow(image, extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=9)
    ax.set_axis_off()
    return ax


def plot_framed_image(image: np.ndarray, ax: Axes | None = None, title: str = "", margin: float = 1) -> Axes:
    """Draw `image` in a thin grey frame, which shows the border of a white image on a white page.

    Args:
        margin: pixels shown around the image; whatever is drawn further outside is cut.
    """
    ax = plot_image(image, ax, title)
    height, width = image.shape[:2]
    ax.add_patch(Rectangle((0, 0), width, height, fill=False, edgecolor="0.8", linewidth=0.8))
    ax.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
    return ax


def outline_boxes(boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 5 2"]:
    """Return the five corners (x, y) of each box's closed outline, for the segments of one `LineCollection`."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].reshape(-1, 5, 2)


def add_halo(width: float) -> list[AbstractPathEffect]:
    """Return the path effects of a line of this width, which draw a white line under it.

    Truth and predictions have it, so that they are visible on objects of every colour and on photos.
    """
    return [withStroke(linewidth=width + HALO_WIDTH, foreground="white")]


def add_outlines(ax: Axes, colour: str, style: str, width: float, label: str | None = None) -> None:
    """Add an empty artist for the outlines of any number of boxes: `set_segments(outline_boxes(boxes))` fills it."""
    lines = LineCollection([], colors=colour, linestyles=style, linewidths=width, label=label)
    lines.set_path_effects(add_halo(width))
    ax.add_collection(lines, autolim=False)


def encode_png(picture: Image.Image, colours: int) -> bytes:
    """Return a picture on white as PNG with at most `colours` colours, not dithered: a fraction of the usual bytes."""
    picture = picture.convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    buffer = io.BytesIO()
    on_white.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def fade(image: UInt8[np.ndarray, "*shape"], strength: float) -> UInt8[np.ndarray, "*shape"]:
    """Return `image` blended with white, so that what is drawn over it stands out.

    Args:
        strength: share of the image's contrast to white that remains: 1 changes nothing, 0 gives white.
    """
    return (255 - (255 - image) * strength).astype(np.uint8)


def format_short(value: float, decimals: int = 2) -> str:
    """Return `value` for a crowded figure: `decimals` decimals and a leading zero, as in 0.83; never "-0.00"."""
    return f"{value:z.{decimals}f}"


def use_log_ticks(axis: Axis, values: Sequence[float], format_string: str = "{x:g}") -> None:
    """Make `axis` (`ax.xaxis` or `ax.yaxis`) logarithmic, with a labelled tick at each of `values` and no other tick.

    Raises:
        ValueError: a value is not positive.
    """
    if min(values) <= 0:
        raise ValueError(f"a logarithmic axis has no place for {min(values):g}: its ticks must be positive")
    scale = "xscale" if isinstance(axis, XAxis) else "yscale"
    axis.axes.set(**{scale: "log"})
    axis.set_major_locator(FixedLocator(sorted(values)))
    axis.set_major_formatter(StrMethodFormatter(format_string))
    axis.set_minor_locator(NullLocator())


def plot_pixels(image: np.ndarray, columns: range, rows: range, ax: Axes) -> Axes:
    """Draw the given `columns` and `rows` of `image`, faded, as large pixels with their numbers at the edges.

    Pixel i lies between the lines i and i + 1, so a reader can see whether a coordinate is an edge or a centre.
    """
    plot_image(fade(image, 0.4), ax)
    ax.set_axis_on()
    ax.set(xlim=(columns.start, columns.stop), ylim=(rows.stop, rows.start))
    ax.set(xticks=(*columns, columns.stop), yticks=(*rows, rows.stop))
    ax.grid(True, color="0.6", linewidth=0.6)
    return ax


def plot_history(
    history: Sequence[Mapping[str, float]], names: Sequence[str], ax: Axes | None = None, ylabel: str = "loss"
) -> Axes:
    """Draw the columns `names` of a training history (one mapping per epoch) against the epoch."""
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
    """Draw one row per variant: a dot per seed, a bar at their mean, and the mean as a number beside the last dot.

    The figure gets one legend, below its panels.

    Args:
        values: for each variant one number per seed.
    """
    ax = ax or plt.figure(figsize=(6.5, 0.36 * len(values) + 1.2)).add_subplot()
    for row, numbers in enumerate(values.values()):
        mean = float(np.mean(numbers))
        (dots,) = ax.plot(numbers, [row] * len(numbers), "o", color=COLOURS[0], markersize=5, alpha=0.6)
        (bar,) = ax.plot([mean, mean], [row - 0.3, row + 0.3], color=COLOURS[1], linewidth=2.5)
        if row == 0:
            dots.set_label("one seed")
            bar.set_label("mean of the seeds, with its value")
        place = {"xytext": (8, 0), "textcoords": "offset points"}
        ax.annotate(f"{mean:.3f}", (max(numbers), row), **place, va="center", fontsize=9)
    ax.margins(x=0.16)  # room for the numbers
    ax.set_yticks(range(len(values)), list(values))
    ax.set_ylim(len(values) - 0.5, -0.5)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(xlabel)
    if not ax.figure.legends:  # a second panel has the same dots and bars
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return ax


def plot_grid(
    rows: Sequence[Mapping[str, Any]], parameters: Sequence[str], metric: str, ax: Axes | None = None
) -> Axes:
    """Draw a metric over the parameters of a grid: a dot per run, and a line through the means.

    The numeric parameter with the most values is the x axis; each combination of the other parameters is a line. If no
    parameter is numeric, each combination is a row of `plot_variants`.

    Args:
        rows: one per run, with its parameters and the metric as columns.
        parameters: names of the columns that vary between the rows.
    """
    values = {name: list(dict.fromkeys(row[name] for row in rows)) for name in parameters}
    numbers = [name for name in parameters if all(type(value) in (int, float) for value in values[name])]
    if not numbers:
        groups = _group(rows, parameters, metric)
        return plot_variants({label or "all runs": list(group) for label, group in groups.items()}, ax, metric)
    x = max(numbers, key=lambda name: len(values[name]))
    line_parameters = [name for name in parameters if name != x]
    lines = list(dict.fromkeys(_label(row, line_parameters) for row in rows))
    ax = ax or plt.figure(figsize=(6.5, 3.6)).add_subplot()
    for number, line in enumerate(lines):
        groups = _group([row for row in rows if _label(row, line_parameters) == line], (x,), metric, by_value=True)
        colour, marker = COLOURS[number % len(COLOURS)], "osD^v"[number // len(COLOURS) % 5]
        means = {value: float(np.mean(group)) for value, group in sorted(groups.items())}
        ax.plot(list(means), list(means.values()), marker=marker, color=colour, label=line)
        for value, group in groups.items():
            ax.plot([value] * len(group), group, marker, color=colour, markersize=4, alpha=0.4)
    ax.set(xlabel=x, ylabel=metric)
    ticks = sorted(values[x])
    if len(ticks) > 2 and ticks[0] > 0 and ticks[-1] >= 50 * ticks[0]:
        use_log_ticks(ax.xaxis, ticks[:: math.ceil(len(ticks) / 10)])
    elif len(ticks) <= 10:
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if line_parameters:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _label(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the names and the row's values as a text: "sigma 2, size 64"."""
    return ", ".join(f"{name} {row[name]}" for name in names)


def _group(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str, by_value: bool = False
) -> dict[Any, list[float]]:
    """Return the metric's values for each label, or for each value of the single name."""
    groups: dict[Any, list[float]] = {}
    for row in rows:
        groups.setdefault(row[names[0]] if by_value else _label(row, names), []).append(row[metric])
    return groups


def format_table(rows: Mapping[str, Mapping[str, float]], decimals: int = 3) -> str:
    """Return a text table: one line per row, one column per name of the first row, numbers right-aligned."""
    columns = list(next(iter(rows.values())))
    label_width = max(len(label) for label in rows) + 2
    widths = [max(len(column), decimals + 3) + 2 for column in columns]
    lines = [" " * label_width + "".join(f"{column:>{width}}" for column, width in zip(columns, widths, strict=True))]
    for label, row in rows.items():
        cells = (f"{row[column]:>{width}.{decimals}f}" for column, width in zip(columns, widths, strict=True))
        lines.append(f"{label:<{label_width}}" + "".join(cells))
    return "\n".join(lines)
