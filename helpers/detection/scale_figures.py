"""Figures of scale: objectness and detections by object size, average precision by size, learned features by level.

Shape letters: N objects, L levels, G groups of sizes, K channels, H W image, `_h _w` feature map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from helpers.detection.figures import mark_class_sizes, use_size_axis
from helpers.detection.scenes import CLASS_NAMES
from helpers.plotting import CLASS_COLOURS, LEVEL_COLOURS, image_grid, plot_image

COCO_SIZES = ("small", "medium", "large")
ZERO_STEP = 0.04
"""Distance of the rows below 0 in which zeros are drawn, one row per level."""


def plot_scale_performance(
    sizes: Float[np.ndarray, " N"],
    objectness: Float[np.ndarray, "L N"],
    group_edges: Float[np.ndarray, "G 2"],
    group_labels: Int[np.ndarray, " G"],
    group_objectness: Float[np.ndarray, "L G"],
    group_shares: Float[np.ndarray, "_rows G"],
) -> Figure:
    """Draw the objectness of each level (left) and the level of the detection (right) against the object's size.

    Left: a dot per object and level, and the means of each group as lines; zeros are drawn below 0, in one row per
    level, so that the levels do not hide each other. Right: stacked bars of the shares of objects
    that each level detects, and in grey the share that no level detects.

    Args:
        sizes: of the objects, pixels.
        objectness: of each level on each object.
        group_edges: smallest and largest size of each group of objects, pixels.
        group_labels: class of each group.
        group_objectness: mean of each level over each group.
        group_shares: share of each group that each level detects; the last row is no level.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    _plot_objectness(sizes, objectness, left)
    _plot_mean_objectness(group_edges, group_labels, group_objectness, left)
    _plot_detecting_levels(group_edges, group_shares, right)
    for ax in (left, right):
        use_size_axis(ax)
        mark_class_sizes(ax, 1.03)
    lowest = -ZERO_STEP * (len(objectness) + 1)
    left.axhspan(lowest, 0, color="0.94", linewidth=0)
    left.text(1.01, lowest / 2, "zeros", transform=left.get_yaxis_transform(), fontsize=8, va="center")
    left.set(ylabel="highest objectness on the object", ylim=(lowest, 1))
    right.set(ylabel="objects detected", ylim=(0, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _lower_zeros(values: Float[np.ndarray, " K"], level: int) -> Float[np.ndarray, " K"]:
    """Return `values` with each 0 replaced by the level's row below 0."""
    return np.where(values == 0, -ZERO_STEP * (level + 1), values)


def _plot_objectness(sizes: Float[np.ndarray, " N"], objectness: Float[np.ndarray, "L N"], ax: Axes) -> None:
    """Draw a dot per object and level."""
    for level, values in enumerate(objectness):
        ax.scatter(sizes, _lower_zeros(values, level), s=8, alpha=0.3, linewidths=0, color=LEVEL_COLOURS[level])


def _plot_mean_objectness(
    edges: Float[np.ndarray, "G 2"],
    labels: Int[np.ndarray, " G"],
    means: Float[np.ndarray, "L G"],
    ax: Axes,
) -> None:
    """Draw one line per class and level through the means of the groups."""
    for label in range(len(CLASS_NAMES)):
        is_class = labels == label
        for level, values in enumerate(means):
            ax.plot(edges[is_class].mean(axis=1), _lower_zeros(values[is_class], level), color=LEVEL_COLOURS[level])


def _plot_detecting_levels(edges: Float[np.ndarray, "G 2"], shares: Float[np.ndarray, "_rows G"], ax: Axes) -> None:
    """Draw stacked bars of the shares that each level detects; the last row is no level."""
    last = len(shares) - 1
    bottom = np.zeros(len(edges))
    for row, share in enumerate(shares):
        style: dict[str, Any] = {
            "color": "0.8" if row == last else LEVEL_COLOURS[row],
            "label": "no level" if row == last else f"level {row}",
            "edgecolor": "white",
            "linewidth": 0.6,
        }
        ax.bar(edges[:, 0], share, edges[:, 1] - edges[:, 0], bottom, align="edge", **style)
        bottom += share


def plot_objectness_histograms(objectness: Float[np.ndarray, "L N"], labels: Int[np.ndarray, " N"]) -> Figure:
    """Draw one panel per level: a histogram of its objectness on the objects, stacked by class.

    Args:
        objectness: highest objectness of each level on each object.
        labels: classes of the objects.
    """
    num_levels = len(objectness)
    figure, axes = plt.subplots(1, num_levels, figsize=(3.2 * num_levels, 3.2), sharey=True, squeeze=False)
    bins = np.linspace(0, 1, 21).tolist()
    for level, (ax, values) in enumerate(zip(axes[0], objectness, strict=True)):
        by_class = [values[labels == label] for label in range(len(CLASS_NAMES))]
        ax.hist(by_class, bins=bins, stacked=True, color=CLASS_COLOURS, label=CLASS_NAMES)
        ax.set(title=f"level {level}", xlabel="highest objectness on the object", xlim=(0, 1))
    axes[0, 0].set_ylabel("objects")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(CLASS_NAMES))
    return figure


def plot_size_histogram(
    sizes: Float[np.ndarray, " N"],
    labels: Int[np.ndarray, " N"],
    limits: Sequence[float],
    ax: Axes | None = None,
) -> Axes:
    """Draw a histogram of the objects' sizes by class, with dotted lines at the limits of COCO's ranges.

    Args:
        sizes: square roots of the boxes' areas, pixels.
        labels: classes of the objects.
        limits: of the ranges, pixels.
        ax: a new one if `None`.
    """
    ax = ax or plt.figure(figsize=(8, 3)).add_subplot()
    bins = np.arange(14, 196, 4).tolist()
    for label, (name, colour) in enumerate(zip(CLASS_NAMES, CLASS_COLOURS, strict=True)):
        ax.hist(sizes[labels == label], bins=bins, color=colour, label=name, alpha=0.75)
    for number, limit in enumerate(limits):
        ax.axvline(limit, color="black", linestyle=":", linewidth=1.5, label="" if number else "limit of a range")
    ax.set(xlabel="size of the object (px)", ylabel="objects", xticks=(16, 32, 48, 64, 96, 128, 160, 192))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def plot_size_ap(
    results: Mapping[str, Sequence[Mapping[str, float]]],
    colours: Sequence[str],
    ax: Axes | None = None,
    predicted: Mapping[str, Sequence[float]] | None = None,
) -> Axes:
    """Draw COCO's AP of small, medium and large objects as bars, and the AP of the class of that size as diamonds.

    Args:
        results: per variant the metrics of `evaluate_detections`, one per seed; bars and diamonds are their means, and
            dots the seeds of the class.
        colours: of the variants.
        ax: a new one if `None`.
        predicted: per variant three shares for comparison, drawn as lines across its bars.
    """
    ax = ax or plt.figure(figsize=(8, 3.4)).add_subplot()
    groups = np.arange(len(COCO_SIZES))
    width = 0.8 / len(results)
    bars, markers = [], {}
    for number, ((name, seeds), colour) in enumerate(zip(results.items(), colours, strict=True)):
        x = groups + (number - (len(results) - 1) / 2) * width
        size_ap = np.array([[metrics[f"ap_{size}"] for size in COCO_SIZES] for metrics in seeds])
        class_ap = np.array([[metrics[f"ap_{class_name}"] for class_name in CLASS_NAMES] for metrics in seeds])
        bars.append(ax.bar(x, size_ap.mean(axis=0), 0.92 * width, color=colour, alpha=0.55, label=name))
        if len(seeds) > 1:
            dots = ax.plot(np.tile(x, len(seeds)), class_ap.ravel(), ".", color="black", markersize=4)
            markers["one seed, of the class"] = dots[0]
        ax.plot(x, class_ap.mean(axis=0), "D", color=colour, markeredgecolor="black", markersize=6)
        if predicted is not None:
            style: dict[str, Any] = {"color": "0.35", "linewidth": 1.5, "linestyle": ":"}
            markers["share covered"] = ax.hlines(predicted[name], x - 0.46 * width, x + 0.46 * width, **style)
    ax.set(ylabel="AP", ylim=(0, 1.03), xticks=groups)
    ax.set_xticklabels(
        [f"AP {size}  (◆ {class_name}s)" for size, class_name in zip(COCO_SIZES, CLASS_NAMES, strict=True)]
    )
    ax.grid(visible=False, axis="x")
    names = [*results, *markers]
    ax.legend([*bars, *markers.values()], names, loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=len(names))
    return ax


def plot_features(
    image: UInt8[np.ndarray, "H W 3"],
    components: Sequence[Float[np.ndarray, "_h _w 3"]],
    channels: Sequence[Float[np.ndarray, "K _h _w"]],
    titles: Sequence[Sequence[str]],
) -> Figure:
    """Draw one column per level: the image at the middle of its cells, the principal components, and single channels.

    Args:
        image: bytes.
        components: per level, three principal components as colours from 0 to 1.
        channels: per level, the values of K channels.
        titles: per level, one title per channel.
    """
    num_levels, num_rows = len(components), 2 + len(channels[0])
    figure, axes = image_grid(num_rows * num_levels, columns=num_levels, size=2.6)
    height, width = image.shape[:2]
    extent = (0, width, height, 0)
    for level, (colours, maps, names) in enumerate(zip(components, channels, titles, strict=True)):
        sampled_ax, components_ax, *channel_axes = axes[level::num_levels]
        num_cells, cells_per_row = colours.shape[:2]
        stride = height // num_cells
        plot_image(image[stride // 2 :: stride, stride // 2 :: stride], sampled_ax)
        sampled_ax.set_title(f"level {level}: {num_cells} × {cells_per_row} cells", fontsize=9)
        components_ax.imshow(colours, extent=extent)
        components_ax.set_title("three principal components", fontsize=9)
        for values, name, ax in zip(maps, names, channel_axes, strict=True):
            ax.imshow(values, extent=extent, cmap="gray")
            ax.set_title(name, fontsize=9)
    return figure
