"""Figures of digits and house numbers: arrays in, `Axes` or figures out.

Shape letters: M images, N objects of one image or of all images, D detections of one image, A anchors.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from helpers.digits.reading_order import spell_number
from helpers.intervals import Interval
from helpers.plotting import (
    COLOURS,
    PREDICTION_COLOUR,
    PREDICTION_STYLE,
    TRUTH_COLOUR,
    TRUTH_STYLE,
    add_halo,
    add_outlines,
    fade,
    outline_boxes,
    plot_image,
    use_log_ticks,
)

LENGTHS = "width", "height"
"""Last words of the names of quantities in pixels."""
SHARE = "box height / image height"
"""Name of the quantity, as `statistics.measure_layout` has it."""
LOG_TICKS = tuple(step * 10.0**exponent for exponent in range(-2, 4) for step in (1, 2, 5))
"""Candidates for the ticks of a logarithmic axis: 0.01, 0.02, 0.05, 0.1, …, 5000."""
PANEL_WIDTH = 2.6
"""Width of the panel of one image, inches."""
AVERAGE_PRECISIONS = {
    "ap": "AP",
    "ap50": "AP@0.5",
    "ap75": "AP75",
    "ap_small": "AP small",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
}
"""Columns of the six precisions among COCO's twelve metrics, and their names in figures."""
AVERAGE_RECALLS = {
    "ar_1": "AR, 1 detection",
    "ar_10": "AR, 10 detections",
    "ar": "AR, 100 detections",
    "ar_small": "AR small",
    "ar_medium": "AR medium",
    "ar_large": "AR large",
}
"""Columns of the six recalls among COCO's twelve metrics, and their names in figures."""
LOSSES = {"objectness": "RPN objectness", "proposal": "RPN offsets", "class": "class", "box": "box"}
"""Columns of the four losses, and their names in figures."""
ERROR_COLOURS = {"wrong class": COLOURS[1], "localisation error": COLOURS[4], "missed": "0.35", "extra": COLOURS[3]}
"""Colours of the kinds of errors."""


# Images and layouts


def plot_number(
    image: UInt8[np.ndarray, "H W 3"],
    boxes: Float[np.ndarray, "N 4"],
    digits: Int[np.ndarray, " N"],
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw an image with its true boxes (x1, y1, x2, y2) in pixels; its number, in reading order, is the title."""
    ax = plot_image(image, ax, f"{title} {spell_number(boxes, digits)}".strip())
    return _add_boxes(ax, boxes, TRUTH_COLOUR, TRUTH_STYLE)


def _add_boxes(ax: Axes, boxes: Float[np.ndarray, "N 4"], colour: str, style: str = "-", width: float = 1.0) -> Axes:
    for x1, y1, x2, y2 in boxes:
        shape = (x1, y1), x2 - x1, y2 - y1
        ax.add_patch(
            Rectangle(
                *shape, fill=False, edgecolor=colour, linestyle=style, linewidth=width, path_effects=add_halo(width)
            )
        )
    return ax


def plot_galleries(
    galleries: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]], columns: int = 4
) -> Figure:
    """Draw images of several sets, one block of rows per set, all scaled to one height and cut to one width.

    Args:
        galleries: for each name a set of (image, boxes, digits), the arguments of `plot_number`.
    """
    rows = {name: -(-len(items) // columns) for name, items in galleries.items()}
    figure = plt.figure(figsize=(PANEL_WIDTH * columns, 1.25 * sum(rows.values()) + 0.3 * len(rows)))
    blocks = figure.subfigures(len(galleries), 1, squeeze=False, height_ratios=[count + 0.3 for count in rows.values()])
    for block, (name, items) in zip(blocks[:, 0], galleries.items(), strict=True):
        block.suptitle(name, fontsize=10)
        axes = block.subplots(rows[name], columns, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for ax, (image, boxes, digits) in zip(axes.flat, items, strict=False):
            plot_number(image, boxes, digits, ax)
            ax.title.set_fontsize(8)
            # SVHN's images are about twice as wide as high; of a much wider image the middle is shown.
            height, width = image.shape[:2]
            shown = min(width, 2.6 * height)
            ax.set(xlim=((width - shown) / 2, (width + shown) / 2), ylim=(height, 0))
    return figure


def plot_layouts(
    measures: Mapping[str, Mapping[str, Float[np.ndarray, " _"]]],
    references: Mapping[str, Mapping[str, tuple[float, float, float]]] | None = None,
) -> Figure:
    """Draw the distribution of each quantity in each set, on a logarithmic axis, one panel per quantity.

    Args:
        measures: for each set the result of `statistics.measure_layout`.
        references: for each set 5, 50 and 95 % quantiles for comparison, drawn as vertical lines in its colour.
    """
    quantities = list(next(iter(measures.values())))
    columns = 3
    figure, axes = plt.subplots(-(-len(quantities) // columns), columns, figsize=(9.5, 4.6), squeeze=False)
    for ax in axes.flat[len(quantities) :]:
        ax.set_axis_off()
    for ax, quantity in zip(axes.flat, quantities, strict=False):
        all_values = np.concatenate([measure[quantity] for measure in measures.values()])
        low, high = np.percentile(all_values, (0.2, 99.8))
        edges = np.geomspace(low, max(high, 1.01 * low), 26)
        for number, (name, measure) in enumerate(measures.items()):
            values = np.clip(measure[quantity], edges[0], edges[-1])
            weights = np.full(len(values), 1 / max(1, len(values)))
            style = {"histtype": "step", "color": COLOURS[number % len(COLOURS)], "linewidth": 1.6, "label": name}
            ax.hist(values, edges, weights=weights, **style)
            for value in (references or {}).get(name, {}).get(quantity, ()):
                ax.axvline(value, color=style["color"], linestyle=":", linewidth=1.2, zorder=0)
        unit = " (px)" if quantity.split()[-1] in LENGTHS and "/" not in quantity else ""
        ax.set_xlabel(f"{quantity}{unit}")
        use_log_ticks(ax.xaxis, [tick for tick in LOG_TICKS if edges[0] <= tick <= edges[-1]] or [edges[0]])
    for ax in axes[:, 0]:
        ax.set_ylabel("share per bar")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if references:
        handles.append(Line2D([], [], color="0.4", linestyle=":", linewidth=1.2))
        labels.append("5, 50 and 95 % of SVHN, same split")
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    figure.supxlabel("all horizontal axes are logarithmic", fontsize=8)
    return figure


# Anchors


def plot_coverage(best_iou: Mapping[str, Float[np.ndarray, " _"]], ax: Axes | None = None) -> Axes:
    """Draw for each set of anchors the share of boxes whose best anchor has at least the IoU on the x axis.

    Args:
        best_iou: for each set the result of `anchors.measure_best_iou`.
    """
    ax = ax or plt.figure(figsize=(5.6, 3.2)).add_subplot()
    thresholds = np.linspace(0, 1, 201)
    for (name, values), colour in zip(best_iou.items(), COLOURS, strict=False):
        ax.plot(thresholds, (values[:, None] >= thresholds).mean(axis=0), color=colour, label=name)
    ax.axvline(0.7, color="0.6", linestyle=":", linewidth=1.2, zorder=0)
    ax.text(0.71, 1.01, "positive from 0.7", fontsize=8, color="0.4")
    ax.set(xlabel="IoU of the best anchor", ylabel="share of digits", xlim=(0, 1), ylim=(0, 1.08))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="anchor set")
    return ax


def plot_anchors(
    image: UInt8[np.ndarray, "H W 3"],
    size: tuple[int, int],
    box: Float[np.ndarray, " 4"],
    shapes: Float[np.ndarray, "A 4"],
    best: Float[np.ndarray, " 4"],
    ax: Axes,
    title: str = "",
) -> Axes:
    """Draw a resized image with the box of one digit and, around the middle of the box, every anchor shape.

    Args:
        size: (height, width) of the resized image, pixels; `box`, `shapes` and `best` are in its pixels.
        box: box of the digit.
        shapes: anchors, all with the centre of the digit.
        best: anchor with the highest IoU.
    """
    ax.imshow(fade(image, 0.5))
    add_outlines(ax, COLOURS[0], "-", 0.7, "anchor shapes")
    add_outlines(ax, PREDICTION_COLOUR, PREDICTION_STYLE, 1.8, "best anchor shape")
    add_outlines(ax, TRUTH_COLOUR, TRUTH_STYLE, 1.8, "box of the digit")
    ax.tick_params(labelsize=7)
    ax.grid(visible=False)
    ax.set_xlabel("x in the resized image (px)", fontsize=8)
    ax.set_ylabel("y (px)", fontsize=8)
    update_anchors(size, box, shapes, best, ax, title)
    return ax


def update_anchors(
    size: tuple[int, int],
    box: Float[np.ndarray, " 4"],
    shapes: Float[np.ndarray, "A 4"],
    best: Float[np.ndarray, " 4"],
    ax: Axes,
    title: str,
) -> None:
    """Show the image of `plot_anchors` in another size, with other anchors."""
    height, width = size
    ax.images[0].set_extent((0, width, height, 0))
    for lines, boxes in zip(ax.collections, (shapes, best[None], box[None]), strict=True):
        lines.set_segments(outline_boxes(boxes))  # pyright: ignore[reportAttributeAccessIssue] - a LineCollection
    margin = 0.15 * max(height, width)  # the largest anchors reach beyond the image
    ax.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
    ax.set_title(title, fontsize=9)


def enlarge_middle(box: Float[np.ndarray, " 4"], ax: Axes, half_side: float) -> None:
    """Show only the square around the middle of `box` in the axes of `plot_anchors`.

    Args:
        half_side: distance from the middle to the edge of the square, pixels of the resized image.
    """
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    ax.set(xlim=(x - half_side, x + half_side), ylim=(y + half_side, y - half_side))


# Training


def plot_training(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw the losses and COCO's twelve metrics against the epoch: one panel for losses, AP and AR each.

    Metrics without true boxes (-1) are omitted. Metrics by the size of the objects are dashed, losses on the selection
    set dotted.
    """
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.4))
    _plot_losses(history, axes[0])
    _plot_metrics(history, AVERAGE_PRECISIONS, axes[1], "average precision, valid")
    _plot_metrics(history, AVERAGE_RECALLS, axes[2], "average recall, valid")
    for ax in axes:
        ax.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


def _plot_losses(history: Sequence[Mapping[str, float]], ax: Axes) -> None:
    """Draw the four training losses, and the same losses on the selection set if the history has them."""
    epochs = [row["epoch"] for row in history]
    for (name, label), colour in zip(LOSSES.items(), COLOURS, strict=False):
        ax.plot(epochs, [row[name] for row in history], marker=".", color=colour, label=f"{label}, train")
        if f"valid_{name}" in history[0]:
            values = [row[f"valid_{name}"] for row in history]
            ax.plot(epochs, values, ":", marker=".", color=colour, label=f"{label}, valid")
    ax.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _plot_metrics(history: Sequence[Mapping[str, float]], names: Mapping[str, str], ax: Axes, ylabel: str) -> None:
    """Draw COCO's metrics of these columns under the given names."""
    epochs = [row["epoch"] for row in history]
    styles = {"small": ("--", "v"), "medium": ("--", "s"), "large": ("--", "^")}
    for (column, name), colour in zip(names.items(), COLOURS, strict=False):
        if history[-1][column] >= 0:
            line, marker = styles.get(column.rpartition("_")[2], ("-", "."))
            values = [row[column] for row in history]
            width = 4.0 if column == "ar_10" else 1.5  # a band: with few objects per image it equals `ar`
            style = {"linestyle": line, "linewidth": width, "marker": marker, "markersize": 4}
            ax.plot(epochs, values, color=colour, label=name, **style)
    ax.set(xlabel="epoch", ylabel=ylabel, ylim=(-0.02, 1.02))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def plot_curves(curves: Mapping[str, Sequence[float]], ylabel: str, ax: Axes | None = None) -> Axes:
    """Draw one metric per epoch for each variant, on an axis from 0 to 1."""
    ax = ax or plt.figure(figsize=(5.6, 2.8)).add_subplot()
    for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
        ax.plot(range(1, len(values) + 1), values, "o-", color=colour, label=name)
    ax.set(xlabel="epoch", ylabel=ylabel, ylim=(0, 1))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def plot_augmentations(
    images: Mapping[str, tuple[UInt8[np.ndarray, "_h _w 3"], Float[np.ndarray, "N 4"]]], columns: int = 4
) -> Figure:
    """Draw one training image before and after each augmentation, with the boxes of its digits.

    Args:
        images: for each name image and boxes (x1, y1, x2, y2), pixels of that image.
    """
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(PANEL_WIDTH * columns, 2.0 * rows), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (name, (image, boxes)) in zip(axes.flat, images.items(), strict=False):
        plot_image(image, ax, f"{name}\n{image.shape[1]} × {image.shape[0]} px")
        _add_boxes(ax, boxes, TRUTH_COLOUR, TRUTH_STYLE)
    return figure


# Detections


def plot_reading(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    boxes: Float[np.ndarray, "D 4"],
    digits: Int[np.ndarray, " D"],
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw true boxes (solid) and detections (dashed), each with its predicted digit."""
    ax = plot_image(image, ax)
    add_outlines(ax, TRUTH_COLOUR, TRUTH_STYLE, 1.0)
    add_outlines(ax, PREDICTION_COLOUR, PREDICTION_STYLE, 1.4)
    update_reading(image, true_boxes, boxes, digits, ax, title)
    return ax


def update_reading(
    image: UInt8[np.ndarray, "H W 3"],
    true_boxes: Float[np.ndarray, "N 4"],
    boxes: Float[np.ndarray, "D 4"],
    digits: Int[np.ndarray, " D"],
    ax: Axes,
    title: str,
) -> None:
    """Show another image, or other boxes, in the axes of `plot_reading`."""
    height, width, _ = image.shape
    ax.images[0].set(data=image, extent=(0, width, height, 0))
    ax.set(xlim=(0, width), ylim=(height, 0))
    for lines, corners in zip(ax.collections, (true_boxes, boxes), strict=True):
        lines.set_segments(outline_boxes(corners))  # pyright: ignore[reportAttributeAccessIssue] - a LineCollection
    for text in list(ax.texts):
        text.remove()
    style = {"color": "white", "fontsize": 8.5, "ha": "center", "va": "top"}
    patch = {"facecolor": PREDICTION_COLOUR, "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
    for (x1, _, x2, y2), digit in zip(boxes, digits, strict=True):
        # Below the box, so that the label does not cover the digit.
        ax.annotate(str(digit), ((x1 + x2) / 2, y2), (0, -3), textcoords="offset points", bbox=patch, **style)
    ax.set_title(title, fontsize=9)


def plot_readings(
    readings: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], columns: int = 4
) -> Figure:
    """Draw several images with true boxes and detections, with one legend; each panel shows the part around the boxes.

    Args:
        readings: for each title (image, true boxes, boxes, digits), the arguments of `plot_reading`.
    """
    rows = -(-len(readings) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(PANEL_WIDTH * columns, 1.6 * rows + 0.3), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (title, (image, true_boxes, boxes, digits)) in zip(axes.flat, readings.items(), strict=False):
        plot_reading(image, true_boxes, boxes, digits, ax, title)
        _zoom_to(ax, np.concatenate([true_boxes, boxes]), image.shape[:2])
    handles = [
        Line2D([], [], color=TRUTH_COLOUR, linestyle=TRUTH_STYLE, label="annotated box"),
        Line2D([], [], color=PREDICTION_COLOUR, linestyle=PREDICTION_STYLE, label="detection, with its digit"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _zoom_to(ax: Axes, boxes: Float[np.ndarray, "N 4"], size: tuple[int, int], aspect: float = 2.0) -> None:
    """Show the part of an image around all boxes, `aspect` times as wide as high; without a box, the whole image."""
    if len(boxes) == 0:
        return
    x1, y1 = boxes[:, :2].min(axis=0)
    x2, y2 = boxes[:, 2:].max(axis=0)
    height = min(size[0], 1.5 * max(y2 - y1, (x2 - x1) / aspect))
    half = np.array([aspect * height, height]) / 2
    middle = np.array([x1 + x2, y1 + y2]) / 2
    limits = np.array([size[1], size[0]])
    centre = np.clip(middle, np.minimum(half, limits / 2), np.maximum(limits - half, limits / 2))
    (left, top), (right, bottom) = centre - half, centre + half
    ax.set(xlim=(left, right), ylim=(bottom, top))


def plot_confusions(confusions: Int[np.ndarray, "11 11"], ax: Axes) -> Axes:
    """Draw a confusion matrix: shares of each true digit as colour, and the counts above 0.

    Args:
        confusions: rows are true digits and, last, extra detections; columns predicted digits and, last, missed ones.
    """
    shares = confusions / np.maximum(confusions.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusions):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
    names = [str(digit) for digit in range(len(confusions) - 1)]
    ax.set_xticks(range(len(confusions)), [*names, "missed"], rotation=0)
    ax.set_yticks(range(len(confusions)), [*names, "no digit"])
    ax.tick_params(length=0, labelsize=8)
    ax.grid(False)
    ax.set(xlabel="predicted digit", ylabel="true digit", title="number of digits; shade: share of the row")
    return ax


def plot_errors(true_digits: Int[np.ndarray, " F"], kinds: Sequence[str], ax: Axes) -> Axes:
    """Draw for each digit the errors per hundred digits, as stacked bars by kind.

    Args:
        true_digits: true digit of every finding, 10 for extra detections.
        kinds: kind of every finding, see `metrics.find_errors`.
    """
    kind_of_finding = np.array(kinds, str)
    totals = np.bincount(true_digits, minlength=11)[:10]
    bottom = np.zeros(10)
    for kind in ("wrong class", "localisation error", "missed"):
        counts = np.bincount(true_digits[kind_of_finding == kind], minlength=11)[:10]
        heights = 100 * counts / np.maximum(totals, 1)
        ax.bar(range(10), heights, 0.7, bottom, color=ERROR_COLOURS[kind], label=kind)
        bottom += heights
    ax.set_xticks(range(10))
    ax.set(xlabel="true digit", ylabel="errors per 100 digits")
    ax.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax


def plot_recall_by_share(
    shares: Float[np.ndarray, " N"], correct: Mapping[str, Bool[np.ndarray, " N"]], ax: Axes | None = None
) -> Axes:
    """Draw the share of digits that are detected with the right class, against their share of the image's height.

    Args:
        shares: box height / image height of each digit; the digits are sorted by it into five groups of equal size.
        correct: for each detector the result of `metrics.find_correct`.
    """
    ax = ax or plt.figure(figsize=(5.6, 3.2)).add_subplot()
    fifths = [rows for rows in np.array_split(np.argsort(shares, kind="stable"), 5) if len(rows)]
    medians = [np.median(shares[rows]) for rows in fifths]
    for (name, is_correct), colour in zip(correct.items(), COLOURS, strict=False):
        ax.plot(medians, [is_correct[rows].mean() for rows in fifths], "o-", color=colour, label=name)
    ax.set(
        xlabel=f"{SHARE}, median of a fifth of the digits", ylabel="share detected with the right class", ylim=(0, 1.02)
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def plot_recall_by_height(
    recalls: Mapping[str, Sequence[Interval]], borders: Sequence[float], ax: Axes | None = None
) -> Axes:
    """Draw the share of correct digits in each band of relative height, with its interval, for each detector.

    Args:
        recalls: for each detector one interval per band, as `metrics.measure_recall_by_height` returns them.
        borders: borders of the bands, box height / image height; one more than there are bands.
    """
    ax = ax or plt.figure(figsize=(6.4, 3.4)).add_subplot()
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(borders)]
    width = 0.6 / max(len(recalls), 1)  # of the band that one detector takes
    for number, ((name, bands), colour) in enumerate(zip(recalls.items(), COLOURS, strict=False)):
        values = np.array([band.value for band in bands])
        errors = [values - [band.low for band in bands], [band.high for band in bands] - values]
        places = np.arange(len(bands)) + (number - (len(recalls) - 1) / 2) * width
        ax.errorbar(places, values, np.maximum(errors, 0), fmt="o", color=colour, capsize=2, label=name)
    ax.set_xticks(range(len(names)), names)
    ax.set(xlabel=SHARE, ylabel="share detected with the right class", ylim=(-0.02, 1.02))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
