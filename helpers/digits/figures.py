"""The digit wing's figures: arrays in, `Axes` out.

Shape letters: M images, N objects of one image or of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from helpers.plotting import COLOURS, TRUTH_COLOUR, TRUTH_STYLE, plot_image

LENGTHS = "width", "height"
"""Last words of the quantities that are pixels, not ratios."""


# What there is to see


def plot_number(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "N 4"],
    digits: Int[np.ndarray, " N"],
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draws an image with its true boxes (x1, y1, x2, y2) in pixels, and what they hold as the title says it."""
    read = "".join(str(digit) for digit in digits)
    ax = plot_image(image, ax, f"{title} {read}".strip())
    for x1, y1, x2, y2 in boxes:
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=TRUTH_COLOUR, linestyle=TRUTH_STYLE))
    return ax


def plot_galleries(
    galleries: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]], columns: int = 6
) -> Figure:
    """Draws images of several sets, one block of rows per set, all scaled to one height and cut to one width.

    Args:
        galleries: for each name the images of that set with their boxes and digits, as `plot_number` takes them.
    """
    rows = {name: -(-len(items) // columns) for name, items in galleries.items()}
    figure = plt.figure(figsize=(1.75 * columns, 0.95 * sum(rows.values()) + 0.3 * len(rows)))
    blocks = figure.subfigures(len(galleries), 1, squeeze=False, height_ratios=[count + 0.3 for count in rows.values()])
    for block, (name, items) in zip(blocks[:, 0], galleries.items(), strict=True):
        block.suptitle(name, fontsize=10)
        axes = block.subplots(rows[name], columns, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, (image, boxes, digits) in zip(axes.flat, items, strict=False):
            plot_number(image, boxes, digits, ax)
            ax.title.set_fontsize(7)
            # SVHN's images are about twice as wide as high; of a much wider one its middle is shown.
            height, width = image.shape[:2]
            shown = min(width, 2.6 * height)
            ax.set(xlim=((width - shown) / 2, (width + shown) / 2), ylim=(height, 0))
    return figure


def plot_layouts(
    measures: Mapping[str, Mapping[str, Float[np.ndarray, " _"]]],
    references: Mapping[str, tuple[float, float, float]] | None = None,
) -> Figure:
    """Draws how each quantity is distributed in each set, on a logarithmic axis, one panel per quantity.

    Args:
        measures: for each set what `layout.measure_layout` returns.
        references: 5, 50 and 95 % quantiles to compare with, as lines from top to bottom.
    """
    quantities = list(next(iter(measures.values())))
    columns = 3
    figure, axes = plt.subplots(-(-len(quantities) // columns), columns, figsize=(9.5, 4.6), squeeze=False)
    for ax in axes.flat[len(quantities) :]:
        ax.set_axis_off()
    for ax, quantity in zip(axes.flat, quantities, strict=False):
        together = np.concatenate([measure[quantity] for measure in measures.values()])
        low, high = np.percentile(together, (0.2, 99.8))
        edges = np.geomspace(low, max(high, 1.01 * low), 26)
        for number, (name, measure) in enumerate(measures.items()):
            values = np.clip(measure[quantity], edges[0], edges[-1])
            weights = np.full(len(values), 1 / max(1, len(values)))
            style = {"histtype": "step", "color": COLOURS[number % len(COLOURS)], "linewidth": 1.6, "label": name}
            ax.hist(values, edges, weights=weights, **style)
        for value in (references or {}).get(quantity, ()):
            ax.axvline(value, color="0.6", linestyle=":", linewidth=1.2, zorder=0)
        unit = " (px)" if quantity.split()[-1] in LENGTHS and "/" not in quantity else ""
        ax.set(xscale="log", xlabel=f"{quantity}{unit}")
        ticks = [tick for base in (0.01, 0.1, 1, 10, 100, 1000) for tick in (base, 2 * base, 5 * base)]
        ax.set_xticks([tick for tick in ticks if edges[0] <= tick <= edges[-1]])
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.tick_params(axis="y", labelleft=False)
    axes[0, 0].set_ylabel("share")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(measures))
    return figure
