"""Figures of keypoints, metrics and heatmaps: functions of arrays that draw on an `Axes`.

A figure that an explorer changes has two functions: `plot_…` makes the artists, `update_…` gives them new data.

Shape letters: M images, K points, `h w` map, T thresholds, S seeds or stages of a training.
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

from helpers.diagrams import Block, draw_network
from helpers.keypoints.metrics import Failure
from helpers.keypoints.scenes import FEET, HANDS, IMAGE_SIZE, POINT_NAMES
from helpers.plotting import (
    COLOURS,
    PREDICTION_COLOUR,
    PREDICTION_STYLE,
    TRUTH_COLOUR,
    add_halo,
    fade,
    image_grid,
    plot_framed_image,
    plot_image,
    use_log_ticks,
)

POINT_COLOURS = ("black", COLOURS[0], COLOURS[1], COLOURS[0], COLOURS[1])
POINT_MARKERS = ("*", "o", "o", "s", "s")
"""In the order of `POINT_NAMES`: left is blue and right is orange; hands are discs and feet are squares."""
POINT_LABELS = tuple(name.replace("_", " ") for name in POINT_NAMES)
HEAT_COLOURS = LinearSegmentedColormap.from_list("heat", [to_rgba(COLOURS[1], 0), to_rgba(COLOURS[1], 1)])
"""Colours of a map drawn over an image; transparent where the map is 0."""
DECODER_LINE_WIDTHS = (3.6, 2.9, 2.2, 1.6, 1.1, 0.8, 0.6)
"""Points. Lines of later decoders are thinner, so that a line which coincides with an earlier one leaves it visible."""
FADED = 0.35
"""Contrast of an image that points or maps are drawn over."""
CEILING_STYLES = ("--", ":", "-.")
FAILURE_TITLES = {
    "heatmap only": "only the heatmap fails",
    "regression only": "only the regression fails",
    "both": "both fail",
}


def plot_points(
    image: UInt8[np.ndarray, "H W"], points: Float[np.ndarray, "5 2"], ax: Axes | None = None, title: str = ""
) -> Axes:
    """Draw a faded image with a frame, and its points `(x, y)` in pixels with their own colours and markers."""
    ax = plot_framed_image(fade(image, FADED), ax, title)
    for point, colour, marker, name in zip(points, POINT_COLOURS, POINT_MARKERS, POINT_LABELS, strict=True):
        ax.scatter(*point, s=34, color=colour, marker=marker, linewidths=0, label=name, zorder=3)
    return ax


def plot_examples(
    images: UInt8[np.ndarray, "M H W"], points: Float[np.ndarray, "M 5 2"], indices: Sequence[int]
) -> Figure:
    """Draw the stick figures at `indices` with their points, and two panels with the points of all M figures.

    The panels stand in two rows.
    """
    figure, axes = image_grid(len(indices) + 2, columns=(len(indices) + 3) // 2, size=2.6)
    for index, ax in zip(indices, axes, strict=False):
        plot_points(images[index], points[index], ax, f"figure {index}")
    hands = range(len(POINT_NAMES))[HANDS]
    head_and_feet = [number for number in range(len(POINT_NAMES)) if number not in hands]
    for ax, title, numbers in zip(axes[-2:], ("all heads and feet", "all hands"), (head_and_feet, hands), strict=True):
        plot_framed_image(np.full_like(images[0], 255), ax, title)
        for number in numbers:
            style = {"color": POINT_COLOURS[number], "marker": POINT_MARKERS[number], "linewidths": 0, "alpha": 0.6}
            ax.scatter(*points[:, number].T, s=10, **style)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(POINT_NAMES))
    return figure


def plot_exchange(
    images: UInt8[np.ndarray, "2 H W"], points: Float[np.ndarray, "2 5 2"], axes: Sequence[Axes], name: str
) -> None:
    """Draw the upper body of a figure as annotated and with its hands exchanged, and count the differing pixels.

    Args:
        images: of the figure with both annotations.
        points: both annotations.
        axes: one for each annotation.
        name: of the look, at the start of both titles.
    """
    num_differing = (images[0] != images[1]).sum()
    titles = (f"{name}:\nas annotated", f"{name}, hands exchanged:\n{num_differing} pixels differ")
    x, y = points[0, 0]
    for ax, image, image_points, title in zip(axes, images, points, titles, strict=True):
        plot_points(image, image_points, ax, title)
        for foot in ax.collections[FEET]:  # outside the panel, but a legend would contain them
            foot.remove()
        ax.set(xlim=(x - 32, x + 32), ylim=(y + 50, y - 14))


# Networks


def draw_networks() -> Axes:
    """Draw both networks of the assignment: their backbone, the regression head, and the decoder below the backbone."""
    blocks = {"image": Block("image\n1 × 128 × 128", 0.75, 2.2, "data")}
    sizes = {1: "32 × 64 × 64", 2: "64 × 32 × 32", 3: "128 × 16 × 16", 4: "256 × 8 × 8"}
    for number, size in sizes.items():
        blocks[f"block {number}"] = Block(f"block {number}\n{size}", 0.75 + 1.65 * number, 2.2)
    blocks |= {
        "pooling": Block("global average\npooling\n256", 9.25, 2.2, "step"),
        "hidden": Block("linear, ReLU,\ndropout, twice\n128, then 64", 10.9, 2.2, "head"),
        "coordinates": Block("linear, sigmoid\n5 × 2", 12.55, 2.2, "head"),
        "stage 1": Block("deconvolution 1\n128 × 16 × 16", 7.35, 0.5, "head"),
        "stage 2": Block("deconvolution 2\n64 × 32 × 32", 5.7, 0.5, "head"),
        "stage 3": Block("deconvolution 3\n32 × 64 × 64", 4.05, 0.5, "head"),
        "maps": Block("1 × 1 convolution\n5 × 64 × 64", 2.4, 0.5, "head"),
    }
    backbone = ["block 1", "block 2", "block 3", "block 4"]
    regression = ["pooling", "hidden", "coordinates"]
    decoder = ["stage 1", "stage 2", "stage 3", "maps"]
    chains = [["image", *backbone, *regression], ["block 4", *decoder]]
    arrows: list[tuple[str, str] | tuple[str, str, str]] = []
    for chain in chains:
        for position in range(len(chain) - 1):
            arrows.append((chain[position], chain[position + 1]))
    arrows += [("block 3", "stage 2", "skip"), ("block 2", "stage 3", "skip")]
    groups = {
        "backbone (both networks)": backbone,
        "head of RegressionNet": regression,
        "decoder of HeatmapNet": decoder,
    }
    return draw_network(blocks, arrows, groups=groups)


# Metrics


def plot_pck_curves(
    thresholds: Float[np.ndarray, " T"],
    curves: Mapping[str, Float[np.ndarray, "*S T"]],
    ax: Axes | None = None,
    ceilings: Mapping[str, Float[np.ndarray, " T"]] | None = None,
) -> Axes:
    """Draw PCK against the threshold, one curve per name.

    Args:
        thresholds: shares of the diagonal of the figure's box.
        curves: PCK of one training, or of several seeds, which are drawn as their mean and a band from the lowest to
            the highest.
        ceilings: highest possible PCK under some assumption, drawn as broken grey lines.
    """
    ax = ax or plt.figure(figsize=(7.5 if ceilings else 5.5, 3.2)).add_subplot()
    for number, (name, values) in enumerate(curves.items()):
        seeds, colour = np.atleast_2d(values), COLOURS[number % len(COLOURS)]
        ax.plot(thresholds, seeds.mean(axis=0), color=colour, label=name)
        if len(seeds) > 1:
            ax.fill_between(thresholds, seeds.min(axis=0), seeds.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    for number, (name, values) in enumerate((ceilings or {}).items()):
        style = CEILING_STYLES[number % len(CEILING_STYLES)]
        ax.plot(thresholds, values, color="0.45", linestyle=style, linewidth=1.2, label=name)
    ax.set(xlabel="threshold (share of the box's diagonal)", ylabel="PCK", xlim=(thresholds[0], thresholds[-1]))
    if ceilings:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        ax.legend(loc="lower right")
    return ax


def plot_pck_per_point(pck: Mapping[str, Float[np.ndarray, " K"]], ax: Axes | None = None, ylabel: str = "PCK") -> Axes:
    """Draw the PCK of each point as one bar per named method, with its value above."""
    ax = ax or plt.figure(figsize=(7.5, 3)).add_subplot()
    width = 0.8 / len(pck)
    for number, (name, values) in enumerate(pck.items()):
        places = np.arange(len(values)) + (number + 0.5) * width - 0.4
        bars = ax.bar(places, values, width * 0.92, color=COLOURS[number % len(COLOURS)], label=name)
        ax.bar_label(bars, fmt="{:.2f}", fontsize=7, padding=1)
    ax.set_xticks(range(len(POINT_NAMES)), POINT_LABELS)
    ax.set(ylabel=ylabel, ylim=(0, 1.08))
    ax.grid(visible=False, axis="x")
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=len(pck))
    return ax


def plot_row_curves(thresholds: Sequence[float], ax: Axes) -> Axes:
    """Draw a panel for the PCK of two rows of a table, of all points (solid) and of head and feet (dotted).

    The curves have no values until `update_row_curves` sets them.
    """
    no_values = np.full(len(thresholds), np.nan)
    for name, colour, markers in zip("AB", COLOURS[:2], ("os", "^D"), strict=True):
        for text, marker, style in zip(("permutation-invariant", "head and feet"), markers, "-:", strict=True):
            ax.plot(thresholds, no_values, style, marker=marker, markersize=5, color=colour, label=f"{name}, {text}")
    use_log_ticks(ax.xaxis, thresholds)
    ax.tick_params(axis="x", labelsize=8)
    ax.set(xlabel="threshold (share of the box's diagonal)", ylabel="PCK", xlim=(0.009, 0.22), ylim=(-0.03, 1.03))
    ax.legend(loc="lower right", fontsize=8)
    return ax


def update_row_curves(pck: Float[np.ndarray, "2 2 T"], ax: Axes) -> None:
    """Set the curves in the panel of `plot_row_curves`.

    Args:
        pck: of the rows A and B, each permutation-invariant of all points and of head and feet, at each threshold.
    """
    for line, values in zip(ax.lines, pck.reshape(4, -1), strict=True):
        line.set_ydata(values)


# Predictions


def plot_prediction(
    image: UInt8[np.ndarray, "H W"],
    true: Float[np.ndarray, "K 2"],
    predicted: Float[np.ndarray, "K 2"],
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """Draw a faded image, its true points (rings), predicted points (crosses) and a line between each pair.

    With exchanged hands, two lines coincide and every ring still has a cross in it. The panel shows 45 px on each side
    of the middle of the true points.
    """
    ax = plot_image(fade(image, FADED), ax, title)
    (x, y), reach = (true.min(axis=0) + true.max(axis=0)) / 2, 45
    ax.set(xlim=(x - reach, x + reach), ylim=(y + reach, y - reach))
    ax.add_patch(
        Rectangle((0, 0), 1, 1, fill=False, edgecolor="0.8", linewidth=0.8, clip_on=False, transform=ax.transAxes)
    )
    pairs = np.stack([true, predicted])  # [2, K, 2]
    lines = ax.plot(pairs[..., 0], pairs[..., 1], color=PREDICTION_COLOUR, linestyle=PREDICTION_STYLE, linewidth=1)
    lines[0].set_label("joins truth and prediction of one name")
    rings = ax.scatter(*true.T, s=34, facecolors="none", edgecolors=TRUTH_COLOUR, linewidths=1.6, zorder=3)
    crosses = ax.scatter(*predicted.T, s=26, marker="x", color=PREDICTION_COLOUR, linewidths=1.4, zorder=4)
    for markers, label in ((rings, "truth"), (crosses, "prediction")):
        markers.set_label(label)
        markers.set_path_effects(add_halo(1.4))
    return ax


def plot_predictions(
    images: UInt8[np.ndarray, "M H W"],
    true: Float[np.ndarray, "M K 2"],
    predicted: Mapping[str, Float[np.ndarray, "M K 2"]],
    indices: Sequence[int],
) -> Figure:
    """Draw the predictions of each named method (rows) for the figures at `indices` (columns).

    Args:
        predicted: of all M images.
    """
    figure, axes = image_grid(len(predicted) * len(indices), columns=len(indices), size=2.5)
    for row, (name, points) in enumerate(predicted.items()):
        for column, index in enumerate(indices):
            title = f"figure {index}" if row == 0 else ""
            ax = plot_prediction(images[index], true[index], points[index], axes[row * len(indices) + column], title)
            if column == 0:
                _label_row(ax, name)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plot_failures(
    images: UInt8[np.ndarray, "M H W"],
    true: Float[np.ndarray, "M K 2"],
    heatmap: Float[np.ndarray, "M K 2"],
    regression: Float[np.ndarray, "M K 2"],
    failures: Sequence[Failure],
    radii: Float[np.ndarray, " M"],
) -> Figure:
    """Draw the figure of each failure in a column, with the heatmap's prediction above and the regression's below.

    The disc lies around the point that the title names. A prediction of this point inside the disc is correct. The text
    in each panel is the cause of the failure.

    Args:
        heatmap: points predicted by the heatmap method for all M images, (x, y) pixels.
        regression: points predicted by coordinate regression.
        radii: largest error of a correct point in each image, pixels.
    """
    figure, axes = image_grid(2 * len(failures), columns=len(failures), size=2.5)
    for column, failure in enumerate(failures):
        image, point = failure.image, failure.point
        for row, (predicted, cause) in enumerate(((heatmap, failure.heatmap), (regression, failure.regression))):
            title = f"{FAILURE_TITLES[failure.kind]}\nfigure {image}, {POINT_LABELS[point]}" if row == 0 else ""
            ax = plot_prediction(
                images[image], true[image], predicted[image], axes[row * len(failures) + column], title
            )
            style = {"facecolor": to_rgba(COLOURS[6], 0.3), "edgecolor": COLOURS[6], "linewidth": 2}
            disc = Circle(true[image, point], radii[image], zorder=3.5, label="correct: inside this disc", **style)
            ax.add_patch(disc)  # above the truth's white edge, which would hide a small disc
            ax.text(0.5, 0.02, cause or "correct", ha="center", va="bottom", fontsize=8, transform=ax.transAxes)
            if column == 0:
                _label_row(ax, ("heatmap", "regression")[row])
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _label_row(ax: Axes, text: str) -> None:
    """Write `text` vertically to the left of a panel without axes."""
    ax.text(-0.04, 0.5, text, rotation=90, ha="right", va="center", fontsize=9, transform=ax.transAxes)


# Maps


def plot_maps(
    image: UInt8[np.ndarray, "H W"], maps: Float[np.ndarray, "K h w"], axes: Sequence[Axes], titles: Sequence[str]
) -> None:
    """Draw each map over the faded image in its own panel, with colours up to the map's peak and the peak's value."""
    height, width = image.shape
    for ax, title in zip(axes, titles, strict=True):
        plot_framed_image(fade(image, FADED), ax, title)
        ax.imshow(maps[0], cmap=HEAT_COLOURS, extent=(0, width, height, 0))
        ax.set(xlim=(-1, width + 1), ylim=(height + 1, -1))
        ax.text(3, 3, "", va="top", fontsize=8)
    update_maps(image, maps, axes)


def update_maps(image: UInt8[np.ndarray, "H W"], maps: Float[np.ndarray, "K h w"], axes: Sequence[Axes]) -> None:
    """Set another image and other maps in the panels of `plot_maps`."""
    for ax, values in zip(axes, maps, strict=True):
        background, heat = ax.images
        background.set_data(fade(image, FADED))
        heat.set_data(values)
        heat.set_clim(0, max(values.max(), 1e-6))
        ax.texts[0].set_text(f"peak {values.max():.2f}")


def plot_stages(image: UInt8[np.ndarray, "H W"], maps: Float[np.ndarray, "S K h w"], stages: Sequence[str]) -> Figure:
    """Draw the maps of one image at several stages of a training, or of several networks.

    Each stage is a row and each point a column.
    """
    num_points = maps.shape[1]
    figure, axes = image_grid(len(stages) * num_points, columns=num_points, size=2.5)
    for row, (stage_maps, stage) in enumerate(zip(maps, stages, strict=True)):
        panels = axes[row * num_points :][:num_points]
        plot_maps(image, stage_maps, panels, POINT_LABELS if row == 0 else [""] * num_points)
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
    """Draw a map with its cells, the point that it encodes (ring) and the decoded point (cross).

    Args:
        true: (x, y) pixels.
        decoded: (x, y) pixels.
        reach: cells shown on each side of the true point; `None` shows the whole map.
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
    """Set another map and other points in the panel of `plot_codec`."""
    ax.images[0].set_data(heatmap)
    for line, point in zip(ax.lines, (true, decoded), strict=True):
        line.set_data(*point[:, None])
    ax.set_title(title)
    if reach is None:
        ax.set(xlim=(0, IMAGE_SIZE), ylim=(IMAGE_SIZE, 0))
    else:
        stride = IMAGE_SIZE / len(heatmap)
        (x_min, x_max), (y_min, y_max) = (true[axis] + np.array([-reach, reach]) * stride for axis in (0, 1))
        ax.set(xlim=(x_min, x_max), ylim=(y_max, y_min))
        ax.set(xticks=_find_edges(x_min, x_max, stride), yticks=_find_edges(y_min, y_max, stride))
        ax.grid(visible=True, color="0.8")


def _find_edges(start: float, stop: float, stride: float) -> Float[np.ndarray, " N"]:
    """Return the edges of cells from `start` to `stop`, all in pixels."""
    return np.arange(np.ceil(start / stride), np.floor(stop / stride) + 1) * stride


def plot_decoding_errors(
    positions: Float[np.ndarray, " N"],
    errors: Mapping[str, Float[np.ndarray, " N"]],
    stride: float,
    ax: Axes | None = None,
) -> Axes:
    """Draw each decoder's error against the position of the point.

    Args:
        positions: x of the point, pixels.
        errors: of each decoder, pixels.
        stride: pixels per cell; the cells' edges are marked in grey.
    """
    ax = ax or plt.figure(figsize=(6, 3)).add_subplot()
    for edge in _find_edges(positions[0], positions[-1], stride):
        ax.axvline(edge, color="0.8", linewidth=2.5, zorder=0)
    for (name, values), colour, width in zip(errors.items(), COLOURS, DECODER_LINE_WIDTHS, strict=False):
        ax.plot(positions, values, color=colour, linewidth=width, label=name)
    ax.set(xlabel="x of the point (px); grey: cells' edges", ylabel="error (px)", xlim=(positions[0], positions[-1]))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
