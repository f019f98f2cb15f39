"""The keypoint wing's figures: arrays in, `Axes` out.

A drawing that an explorer moves comes in two: `plot_…` makes its artists, `update_…` gives them new data.

Shape letters: M images, K points, `h w` map, T thresholds, S seeds or stages of a training, R resolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import NullLocator, StrMethodFormatter

from helpers.keypoints.metrics import IS_HAND, THRESHOLDS, Failure
from helpers.keypoints.scenes import FEET, IMAGE_SIZE, POINT_NAMES
from helpers.plotting import (
    COLOURS,
    PREDICTION_COLOUR,
    PREDICTION_STYLE,
    TRUTH_COLOUR,
    image_grid,
    plot_framed_image,
    plot_image,
)

POINT_COLOURS = ("black", COLOURS[0], COLOURS[1], COLOURS[0], COLOURS[1])
POINT_MARKERS = ("*", "o", "o", "s", "s")
"""In the order of `POINT_NAMES`: left is blue and right is orange, hands are discs and feet are squares."""
SPOKEN_NAMES = tuple(name.replace("_", " ") for name in POINT_NAMES)
HEAT = LinearSegmentedColormap.from_list("heat", [to_rgba(COLOURS[1], 0), to_rgba(COLOURS[1], 1)])
"""A map's values over an image: clear where there is nothing to see."""
LADDER_WIDTHS = (3.6, 2.9, 2.2, 1.6, 1.1, 0.8, 0.6)
"""From the first decoder to the last: where two agree, the thinner line lies on the wider one."""
CEILING_STYLES = ("--", ":", "-.")


def plot_points(
    image: UInt8[np.ndarray, "H W"], points: Float[np.ndarray, "5 2"], ax: Axes | None = None, title: str = ""
) -> Axes:
    """Draws a faded image with a frame and its points `(x, y)` in pixels, each in its own colour and shape."""
    ax = plot_framed_image(_fade(image), ax, title)
    for point, colour, marker, name in zip(points, POINT_COLOURS, POINT_MARKERS, SPOKEN_NAMES, strict=True):
        ax.scatter(*point, s=34, color=colour, marker=marker, linewidths=0, label=name, zorder=3)
    return ax


def _fade(image: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Returns the image so pale that what is drawn over it stands out."""
    return (255 - (255 - image) * 0.35).astype(np.uint8)


def plot_examples(
    images: UInt8[np.ndarray, "M H W"], points: Float[np.ndarray, "M 5 2"], indices: Sequence[int]
) -> Figure:
    """Draws the figures at `indices` with their points, and then where the points of all M figures lie."""
    figure, axes = image_grid(len(indices) + 2, columns=len(indices) + 2, size=1.9)
    for index, ax in zip(indices, axes, strict=False):
        plot_points(images[index], points[index], ax, f"figure {index}")
    for ax, title, shown in zip(axes[-2:], ("all heads and feet", "all hands"), (~IS_HAND, IS_HAND), strict=True):
        plot_framed_image(np.full_like(images[0], 255), ax, title)
        for number in np.flatnonzero(shown):
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
        for foot in ax.collections[FEET]:  # below what is shown, and yet a legend would name them
            foot.remove()
        ax.set(xlim=(x - 32, x + 32), ylim=(y + 50, y - 14))


# How good


def plot_pck_curves(
    thresholds: Float[np.ndarray, " T"],
    curves: Mapping[str, Float[np.ndarray, "*S T"]],
    ax: Axes | None = None,
    ceilings: Mapping[str, Float[np.ndarray, " T"]] | None = None,
) -> Axes:
    """Draws the share of points that lie within each threshold, a fraction of the figure's box, one curve per name.

    Args:
        curves: of one training, or of several seeds: then their mean, in a band from the lowest to the highest.
        ceilings: what perfect networks can reach, in grey and broken lines.
    """
    ax = ax or plt.figure(figsize=(7.5 if ceilings else 5.5, 3.2)).add_subplot()
    for number, (name, values) in enumerate(curves.items()):
        seeds, colour = np.atleast_2d(values), COLOURS[number % len(COLOURS)]
        ax.plot(thresholds, seeds.mean(axis=0), color=colour, label=name)
        if len(seeds) > 1:
            ax.fill_between(thresholds, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    for (name, values), style in zip((ceilings or {}).items(), CEILING_STYLES, strict=False):
        ax.plot(thresholds, values, color="0.45", linestyle=style, linewidth=1.2, label=name)
    ax.set(xlabel="threshold (share of the box's diagonal)", ylabel="PCK", xlim=(thresholds[0], thresholds[-1]))
    if ceilings:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        ax.legend(loc="lower right")
    return ax


def plot_pck_per_point(pck: Mapping[str, Float[np.ndarray, " K"]], ax: Axes | None = None, ylabel: str = "PCK") -> Axes:
    """Draws for each point one bar per named method, with its number above."""
    ax = ax or plt.figure(figsize=(7.5, 3)).add_subplot()
    width = 0.8 / len(pck)
    for number, (name, values) in enumerate(pck.items()):
        places = np.arange(len(values)) + (number + 0.5) * width - 0.4
        bars = ax.bar(places, values, width * 0.92, color=COLOURS[number % len(COLOURS)], label=name)
        texts = [f"{value:.2f}".replace("0.", ".") for value in values]
        ax.bar_label(bars, texts, fontsize=7, padding=1)
    ax.set_xticks(range(len(POINT_NAMES)), SPOKEN_NAMES)
    ax.set(ylabel=ylabel, ylim=(0, 1.08))
    ax.grid(visible=False, axis="x")
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=len(pck))
    return ax


def plot_decoder_ladder(
    thresholds: Sequence[float],
    measured: Mapping[int, Mapping[str, Float[np.ndarray, " T"]]],
    predicted: Mapping[int, Mapping[str, Float[np.ndarray, " T"]]],
) -> Figure:
    """Draws PCK against the threshold, one panel per resolution and one colour per decoder, as measured and predicted.

    Args:
        measured: PCK of a trained network's maps, by map size and decoder.
        predicted: of the targets themselves; the same keys.
    """
    figure, axes = plt.subplots(1, len(measured), figsize=(2.8 * len(measured), 3.1), sharey=True, squeeze=False)
    for ax, (size, curves) in zip(axes.flat, measured.items(), strict=True):
        for (name, values), colour, width in zip(curves.items(), COLOURS, LADDER_WIDTHS, strict=False):
            ax.plot(thresholds, values, "o-", color=colour, linewidth=width, markersize=2 * width, label=name)
            ax.plot(thresholds, predicted[size][name], ":", color=colour, linewidth=1.2)
        ax.set_xscale("log")
        ax.set_xticks(thresholds)
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.tick_params(axis="x", labelsize=7)
        ax.set(title=f"{size} × {size} map", xlabel="threshold")
    axes[0, 0].set(ylabel="PCK", ylim=(-0.03, 1.03))
    axes[0, 0].plot([], [], ":", color="0.3", linewidth=1.2, label="of perfect maps")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(curves) + 1)
    return figure


def plot_row_curves(ax: Axes) -> Axes:
    """Returns an empty panel for the PCK of two rows of a table: of all points (solid), of head and feet (dotted)."""
    for name, colour, markers in zip("AB", COLOURS, ("os", "^D"), strict=False):
        for text, marker, style in zip(("hands exchangeable", "head and feet"), markers, "-:", strict=True):
            ax.plot([], [], style, marker=marker, markersize=5, color=colour, label=f"{name}, {text}")
    ax.set_xscale("log")
    ax.set_xticks(THRESHOLDS)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="x", labelsize=8)
    ax.set(xlabel="threshold (share of the box's diagonal)", ylabel="PCK", xlim=(0.009, 0.22), ylim=(-0.03, 1.03))
    ax.legend(loc="lower right", fontsize=8)
    return ax


def update_row_curves(pck: Float[np.ndarray, "2 2 T"], ax: Axes) -> None:
    """Shows two rows in the panel of `plot_row_curves`.

    Args:
        pck: of A and B, each with the hands exchangeable and of head and feet, at `THRESHOLDS`.
    """
    for line, values in zip(ax.lines, pck.reshape(4, -1), strict=True):
        line.set_data(THRESHOLDS, values)


def plot_ablation(
    values: Float[np.ndarray, "S R C"],
    resolutions: Sequence[int],
    sigmas: Sequence[float],
    ax: Axes | None = None,
    title: str = "",
    limits: tuple[float, float] = (0.0, 1.0),
) -> Axes:
    """Draws a table of resolution × sigma: each cell is the darker, the higher its mean over seeds; the best is framed.

    Args:
        values: of every seed; with several, a cell's ± is half of what lies between the highest and the lowest.
        limits: of the colours: the same for all tables that are to be compared.
    """
    ax = ax or plt.figure(figsize=(1.0 + len(sigmas), 0.9 + 0.62 * len(resolutions))).add_subplot()
    means, spreads = values.mean(axis=0), np.ptp(values, axis=0)
    ax.imshow(means, cmap="Blues", vmin=limits[0], vmax=limits[1] + 0.25 * (limits[1] - limits[0]), aspect="auto")
    dark = limits[0] + 0.875 * (limits[1] - limits[0])
    for (row, column), mean in np.ndenumerate(means):
        spread = f"\n±{spreads[row, column] / 2:.3f}".replace("0.", ".") if len(values) > 1 else ""
        text = f"{mean:.3f}".replace("0.", ".") + spread
        ax.text(column, row, text, ha="center", va="center", color="white" if mean > dark else "black", fontsize=8)
    row, column = np.unravel_index(means.argmax(), means.shape)
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=2, zorder=3))
    ax.set_xticks(range(len(sigmas)), [f"σ {sigma:g}" for sigma in sigmas])
    ax.set_yticks(range(len(resolutions)), [f"{size} × {size}" for size in resolutions])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.set_title(title)
    return ax


# What is predicted


def plot_prediction(
    image: UInt8[np.ndarray, "H W"],
    true: Float[np.ndarray, "K 2"],
    predicted: Float[np.ndarray, "K 2"],
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draws a faded image, its true points (green rings), the predicted ones (red crosses) and a line between the two.

    Where hands are exchanged, two lines lie on each other, and every ring holds a cross all the same. What lies more
    than 45 px beside or above the middle of the figure is not shown.
    """
    ax = plot_image(_fade(image), ax, title)
    (x, y), reach = (true.min(axis=0) + true.max(axis=0)) / 2, 45
    ax.set(xlim=(x - reach, x + reach), ylim=(y + reach, y - reach))
    ax.add_patch(
        Rectangle((0, 0), 1, 1, fill=False, edgecolor="0.8", linewidth=0.8, clip_on=False, transform=ax.transAxes)
    )
    pairs = np.stack([true, predicted])  # [2, K, 2]
    ax.plot(pairs[..., 0], pairs[..., 1], color=PREDICTION_COLOUR, linestyle=PREDICTION_STYLE, linewidth=1)
    ax.scatter(*true.T, s=28, facecolors="none", edgecolors=TRUTH_COLOUR, linewidths=1.4, zorder=3, label="truth")
    ax.scatter(*predicted.T, s=22, marker="x", color=PREDICTION_COLOUR, linewidths=1.4, zorder=4, label="prediction")
    return ax


def plot_predictions(
    images: UInt8[np.ndarray, "M H W"],
    true: Float[np.ndarray, "M K 2"],
    predicted: Mapping[str, Float[np.ndarray, "M K 2"]],
    indices: Sequence[int],
) -> Figure:
    """Draws the figures at `indices`, one column each, as each named method, one row each, predicts them.

    Args:
        predicted: of all M images.
    """
    figure, axes = image_grid(len(predicted) * len(indices), columns=len(indices), size=1.9)
    for row, (name, points) in enumerate(predicted.items()):
        for column, index in enumerate(indices):
            title = f"figure {index}" if row == 0 else ""
            ax = plot_prediction(images[index], true[index], points[index], axes[row * len(indices) + column], title)
            if column == 0:
                _label_row(ax, name)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def plot_failures(
    images: UInt8[np.ndarray, "M H W"],
    true: Float[np.ndarray, "M K 2"],
    heatmap: Float[np.ndarray, "M K 2"],
    regression: Float[np.ndarray, "M K 2"],
    failures: Sequence[Failure],
    radii: Float[np.ndarray, " M"],
) -> Figure:
    """Draws each failure, one column each, as the heatmap above and the regression below predict its figure.

    The disc is what counts as found for the point in question; the text in each panel says why it failed.

    Args:
        heatmap: of all M images; `regression` likewise.
        radii: how far a point may be off in each image, pixels.
    """
    figure, axes = image_grid(2 * len(failures), columns=len(failures), size=2.0)
    for column, failure in enumerate(failures):
        image, point = failure.image, failure.point
        for row, (predicted, cause) in enumerate(((heatmap, failure.heatmap), (regression, failure.regression))):
            title = f"{failure.kind}\nfigure {image}, {SPOKEN_NAMES[point]}" if row == 0 else ""
            ax = plot_prediction(
                images[image], true[image], predicted[image], axes[row * len(failures) + column], title
            )
            found = {"color": COLOURS[4], "alpha": 0.7, "linewidth": 0, "label": "counts as found"}
            ax.add_patch(Circle(true[image, point], radii[image], **found))
            ax.text(0.5, 0.02, cause or "found", ha="center", va="bottom", fontsize=8, transform=ax.transAxes)
            if column == 0:
                _label_row(ax, ("heatmap", "regression")[row])
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _label_row(ax: Axes, text: str) -> None:
    """Writes `text` to the left of a panel without axes, upwards."""
    ax.text(-0.04, 0.5, text, rotation=90, ha="right", va="center", fontsize=9, transform=ax.transAxes)


# Maps


def plot_maps(
    image: UInt8[np.ndarray, "H W"], maps: Float[np.ndarray, "K h w"], axes: Sequence[Axes], titles: Sequence[str]
) -> None:
    """Draws each point's map over the faded image in a panel of its own, coloured up to its peak, which it names."""
    height, width = image.shape
    for ax, title in zip(axes, titles, strict=True):
        plot_framed_image(_fade(image), ax, title)
        ax.imshow(maps[0], cmap=HEAT, extent=(0, width, height, 0))
        ax.set(xlim=(-1, width + 1), ylim=(height + 1, -1))
        ax.text(3, 3, "", va="top", fontsize=8)
    update_maps(image, maps, axes)


def update_maps(image: UInt8[np.ndarray, "H W"], maps: Float[np.ndarray, "K h w"], axes: Sequence[Axes]) -> None:
    """Shows another image and other maps in the panels of `plot_maps`."""
    for ax, values in zip(axes, maps, strict=True):
        background, heat = ax.images
        background.set_data(_fade(image))
        heat.set_data(values)
        heat.set_clim(0, max(values.max(), 1e-6))
        ax.texts[0].set_text(f"peak {values.max():.2f}")


def plot_stages(image: UInt8[np.ndarray, "H W"], maps: Float[np.ndarray, "S K h w"], stages: Sequence[str]) -> Figure:
    """Draws what a network sees in one image at several stages of its training: a row per stage, a column per point."""
    num_points = maps.shape[1]
    figure, axes = image_grid(len(stages) * num_points, columns=num_points, size=1.7)
    for row, (own, stage) in enumerate(zip(maps, stages, strict=True)):
        panels = axes[row * num_points :][:num_points]
        plot_maps(image, own, panels, SPOKEN_NAMES if row == 0 else [""] * num_points)
        _label_row(panels[0], stage)
    return figure


def plot_codec(
    heatmap: Float[np.ndarray, "h w"],
    true: Float[np.ndarray, " 2"],
    decoded: Float[np.ndarray, " 2"],
    ax: Axes | None = None,
    title: str = "",
    reach: float | None = None,
) -> Axes:
    """Draws a map with its cells, the point that it encodes (green ring) and the point decoded from it (red cross).

    Args:
        true: (x, y) pixels, as is `decoded`.
        reach: cells shown on each side of the point; `None` shows the whole map.
    """
    ax = ax or plt.figure(figsize=(3, 3.2)).add_subplot()
    ax.imshow(heatmap, cmap="Greys", vmin=0, vmax=1.4, extent=(0, IMAGE_SIZE, IMAGE_SIZE, 0))
    ax.plot([], [], "o", markersize=11, fillstyle="none", color=TRUTH_COLOUR, markeredgewidth=2, label="truth")
    ax.plot([], [], "x", markersize=8, color=PREDICTION_COLOUR, markeredgewidth=2, label="decoded")
    ax.grid(visible=False)
    update_codec(heatmap, true, decoded, ax, title, reach)
    return ax


def update_codec(
    heatmap: Float[np.ndarray, "h w"],
    true: Float[np.ndarray, " 2"],
    decoded: Float[np.ndarray, " 2"],
    ax: Axes,
    title: str = "",
    reach: float | None = None,
) -> None:
    """Shows another map and other points in the panel of `plot_codec`."""
    ax.images[0].set_data(heatmap)
    for line, point in zip(ax.lines, (true, decoded), strict=True):
        line.set_data(*point[:, None])
    ax.set_title(title)
    if reach is None:
        ax.set(xlim=(0, IMAGE_SIZE), ylim=(IMAGE_SIZE, 0))
    else:
        stride = IMAGE_SIZE / len(heatmap)
        (left, right), (top, bottom) = (true[axis] + np.array([-reach, reach]) * stride for axis in (0, 1))
        ax.set(xlim=(left, right), ylim=(bottom, top))
        ax.set(xticks=_find_edges(left, right, stride), yticks=_find_edges(top, bottom, stride))
        ax.grid(visible=True, color="0.8")


def _find_edges(start: float, stop: float, stride: float) -> Float[np.ndarray, " N"]:
    """Returns the edges of cells from `start` to `stop`, all in pixels."""
    return np.arange(np.ceil(start / stride), np.floor(stop / stride) + 1) * stride


def plot_decoding_errors(
    positions: Float[np.ndarray, " N"],
    errors: Mapping[str, Float[np.ndarray, " N"]],
    stride: float,
    ax: Axes | None = None,
) -> Axes:
    """Draws how far each decoder puts a point from where it was, for positions of the point from one cell to the next.

    Args:
        positions: x of the point, pixels.
        errors: of each decoder, pixels.
        stride: pixels per cell; the cells' edges are marked.
    """
    ax = ax or plt.figure(figsize=(6, 3)).add_subplot()
    for edge in _find_edges(positions[0], positions[-1], stride):
        ax.axvline(edge, color="0.8", linewidth=2.5, zorder=0)
    for (name, values), colour, width in zip(errors.items(), COLOURS, LADDER_WIDTHS, strict=False):
        ax.plot(positions, values, color=colour, linewidth=width, label=name)
    ax.set(xlabel="x of the point (px); grey: cells' edges", ylabel="error (px)", xlim=(positions[0], positions[-1]))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
