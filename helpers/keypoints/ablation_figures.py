"""Figures of the ablation study: the network, the grid of resolution and sigma, skip connections and decoders.

Shape letters: K points, `h w` map, T thresholds, S seeds, R resolutions, C sigmas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.diagrams import Block, draw_network
from helpers.keypoints.figures import DECODER_LINE_WIDTHS, FADED, HEAT_COLOURS, POINT_LABELS
from helpers.keypoints.scenes import IMAGE_SIZE
from helpers.plotting import (
    COLOURS,
    PREDICTION_COLOUR,
    TRUTH_COLOUR,
    fade,
    image_grid,
    plot_image,
    use_log_ticks,
)

ERROR_TICKS = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Pixels."""
SIGMA_TICKS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Cells or pixels."""
MARGIN = 14
"""Pixels shown around the points of a figure in `plot_skips`."""


def draw_heatmap_net() -> Axes:
    """Draw the heatmap network with 128 cells, its loss and its decoding; sizes are channels × rows × columns.

    A skip connection joins the output of a stage, where both maps are concatenated, and not the stage itself.
    """
    step, width = 2.1, 1.3  # inches from stage to stage, and of a block
    stages = {1: 3 * step, 2: 2 * step, 3: step, 4: 0.0}  # x of each centre; concatenations are halfway between stages
    blocks = {"image": Block("image\n1 × 128 × 128", -0.5 * step, 2.2, "data", width=width)}
    for number, size in enumerate(("32 × 64 × 64", "64 × 32 × 32", "128 × 16 × 16", "256 × 8 × 8"), start=1):
        blocks[f"block {number}"] = Block(f"block {number}\n{size}", (number - 0.5) * step, 2.2, width=width)
    for number, size in enumerate(("128 × 16 × 16", "64 × 32 × 32", "32 × 64 × 64", "16 × 128 × 128"), start=1):
        blocks[f"stage {number}"] = Block(f"stage {number}\n{size}", stages[number], 0.9, width=width)
    for number in (1, 2, 3):
        blocks[f"joined {number}"] = Block("concat", stages[number] - 0.5 * step, 0.9, "step", width=0.5, height=0.3)
    blocks["maps"] = Block("1 × 1 convolution\n5 maps, n × n", stages[4], -0.35, "head")
    blocks["loss"] = Block("training:\nsquared error", stages[3], -0.35, "step")
    blocks["target"] = Block("5 target maps\nGaussians of width σ", stages[2], -0.35, "data", width=1.6)
    blocks["decoder"] = Block("decoding:\nargmax, DARK, …", stages[4], -1.35, "step")
    blocks["points"] = Block("5 points\n(x, y) in pixels", stages[3], -1.35, "data")
    arrows = [
        ("image", "block 1"),
        ("block 1", "block 2"),
        ("block 2", "block 3"),
        ("block 3", "block 4"),
        ("block 4", "stage 1"),
        ("stage 1", "joined 1"),
        ("joined 1", "stage 2"),
        ("stage 2", "joined 2"),
        ("joined 2", "stage 3"),
        ("stage 3", "joined 3"),
        ("joined 3", "stage 4"),
        ("block 3", "joined 1", "skip"),
        ("block 2", "joined 2", "skip"),
        ("block 1", "joined 3", "skip"),
        ("stage 4", "maps", "n = 128"),
        ("maps", "loss"),
        ("target", "loss"),
        ("maps", "decoder"),
        ("decoder", "points"),
    ]
    return draw_network(blocks, arrows)


def plot_ablation(
    values: Float[np.ndarray, "S R C"],
    resolutions: Sequence[int],
    sigmas: Sequence[float],
    ax: Axes | None = None,
    title: str = "",
    largest_blur: float = math.inf,
) -> Axes:
    """Draw a table of resolution × sigma with the mean over seeds in each cell; the highest mean has a frame.

    The colours reach from the lowest mean (light) to the highest (dark).

    Args:
        values: of every seed. With several seeds, the number after ± is half the difference between the highest and
            the lowest seed.
        resolutions: cells per side of the maps.
        sigmas: cells; the sigma in pixels is written into each cell.
        largest_blur: pixels. Targets with a larger sigma are hatched. They neither set the scale of the colours nor
            get the frame.
    """
    ax = ax or plt.figure(figsize=(1.4 + len(sigmas), 1.2 + 0.62 * len(resolutions))).add_subplot()
    means, spreads = values.mean(axis=0), np.ptp(values, axis=0)
    blurs = np.outer(IMAGE_SIZE / np.array(resolutions), sigmas)  # [R, C] sigma in pixels
    compared = np.where(blurs <= largest_blur, means, np.nan)
    lowest, highest = np.nanmin(compared), np.nanmax(compared)
    middle = (lowest + highest) / 2
    # A wider range than the values', so that black and white text can be read on the two ends.
    ax.imshow(compared, cmap="Blues", vmin=lowest - 0.2 * (highest - lowest), vmax=highest + 1e-9, aspect="auto")
    for (row, column), mean in np.ndenumerate(means):
        text = f"{mean:.3f}"
        if len(values) > 1:
            text += f" ±{spreads[row, column] / 2:.3f}"
        colour = "white" if compared[row, column] > middle else "black"
        ax.text(column, row - 0.04, text, ha="center", va="bottom", color=colour, fontsize=9)
        ax.text(column, row + 0.08, f"{blurs[row, column]:g} px", ha="center", va="top", color=colour, fontsize=7)
        if blurs[row, column] > largest_blur:
            style = {"fill": False, "hatch": "///", "edgecolor": "0.85", "linewidth": 0}
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, zorder=0, **style))
    row, column = np.unravel_index(np.nanargmax(compared), means.shape)
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=2, zorder=3))
    ax.set_xticks(range(len(sigmas)), [f"{sigma:g}" for sigma in sigmas])
    ax.set_yticks(range(len(resolutions)), [f"{size} × {size}" for size in resolutions])
    ax.set(xlabel="σ (cells)", ylabel="map (cells)", title=title)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    return ax


def plot_errors(
    sigmas: Sequence[float],
    errors: Mapping[int, Float[np.ndarray, "C 3"]],
    floors: Mapping[int, float],
    ax: Axes,
    title: str = "",
    in_pixels: bool = False,
) -> Axes:
    """Draw the error against sigma on logarithmic axes, one curve per resolution.

    Args:
        sigmas: cells.
        errors: for each number of cells per side: the error at every sigma and the two borders of its interval, pixels.
        floors: for each number of cells per side: the error of perfect maps, pixels. Floors above 0.03 px are dotted.
        in_pixels: draw sigma in pixels instead of cells.
    """
    positions = []
    for (size, curve), colour in zip(errors.items(), COLOURS, strict=False):
        x = np.array(sigmas) * (IMAGE_SIZE / size if in_pixels else 1)
        positions.extend(x.tolist())
        value, low, high = curve.T
        ax.errorbar(x, value, [value - low, high - value], fmt="o-", color=colour, capsize=3, label=f"{size} × {size}")
        if floors[size] > ERROR_TICKS[0]:
            ax.axhline(floors[size], color=colour, linestyle=":", linewidth=1.2)
    use_log_ticks(ax.xaxis, [tick for tick in SIGMA_TICKS if min(positions) <= tick <= max(positions)])
    use_log_ticks(ax.yaxis, ERROR_TICKS)
    ax.set(xlabel="σ (px)" if in_pixels else "σ (cells)", title=title)
    return ax


def plot_skips(
    image: UInt8[np.ndarray, "H W"],
    true: Float[np.ndarray, "K 2"],
    maps: Mapping[str, Float[np.ndarray, "K h w"]],
    decoded: Mapping[str, Float[np.ndarray, "K 2"]],
) -> Figure:
    """Draw the maps of one image by several networks: one row per network, one column per point.

    The colours of a panel reach from 0 (transparent) to the peak of its map, which its title names, so that low peaks
    are visible. A ring is around the true point and a square around the decoded one, so that the map inside stays
    visible. Panels are cut to the figure.

    Args:
        true: (x, y) pixels.
        maps: of each named network.
        decoded: points of each named network, (x, y) pixels.
    """
    num_points = len(true)
    figure, axes = image_grid(len(maps) * num_points, columns=num_points, size=2.5)
    height, width = image.shape
    (x, y), reach = (true.min(axis=0) + true.max(axis=0)) / 2, MARGIN + np.ptp(true, axis=0).max() / 2
    ring = {"marker": "o", "edgecolors": TRUTH_COLOUR, "linewidths": 1.2, "label": "truth"}
    square = {"marker": "s", "edgecolors": PREDICTION_COLOUR, "linewidths": 1.2, "label": "decoded"}
    for row, (name, network_maps) in enumerate(maps.items()):
        for point, heatmap in enumerate(network_maps):
            ax = axes[row * num_points + point]
            title = f"{POINT_LABELS[point]}, peak {heatmap.max():.2f}"
            plot_image(fade(image, FADED / 2), ax, title)
            ax.imshow(heatmap, cmap=HEAT_COLOURS, vmin=0, vmax=max(heatmap.max(), 1e-6), extent=(0, width, height, 0))
            ax.scatter(*true[point], s=300, facecolors="none", zorder=3, **ring)
            ax.scatter(*decoded[name][point], s=560, facecolors="none", zorder=4, **square)
            ax.set(xlim=(x - reach, x + reach), ylim=(y + reach, y - reach))
            style = {"fill": False, "edgecolor": "0.8", "linewidth": 0.8, "clip_on": False}
            ax.add_patch(Rectangle((0, 0), 1, 1, transform=ax.transAxes, **style))
        first = axes[row * num_points]
        first.text(-0.06, 0.5, name, rotation=90, ha="right", va="center", fontsize=10, transform=first.transAxes)
    handles, labels = axes[0].get_legend_handles_labels()
    title = "colours of each panel: from 0 to the peak in its title"
    figure.legend(handles, labels, loc="outside lower center", ncols=2, markerscale=0.5, title=title)
    return figure


def plot_decoder_comparison(
    thresholds: Sequence[float],
    measured: Mapping[int, Mapping[str, Float[np.ndarray, " T"]]],
    predicted: Mapping[int, Mapping[str, Float[np.ndarray, " T"]]],
    sigma: float,
) -> Figure:
    """Draw PCK against the threshold, one panel per resolution and one colour per decoder.

    Args:
        measured: PCK of a trained network's maps, by map size and decoder (solid lines).
        predicted: PCK of perfect maps, with the same keys (dotted lines).
        sigma: cells; named in the titles.
    """
    figure, axes = plt.subplots(1, len(measured), figsize=(3.3 * len(measured), 3.6), sharey=True, squeeze=False)
    for ax, (size, curves) in zip(axes.flat, measured.items(), strict=True):
        for (name, values), colour, width in zip(curves.items(), COLOURS, DECODER_LINE_WIDTHS, strict=False):
            ax.plot(thresholds, values, "o-", color=colour, linewidth=width, markersize=2 * width, label=name)
            ax.plot(thresholds, predicted[size][name], ":", color=colour, linewidth=1.2)
        use_log_ticks(ax.xaxis, thresholds)
        ax.tick_params(axis="x", labelsize=8)
        title = f"{size} × {size} cells\nσ = {sigma:g} cells = {sigma * IMAGE_SIZE / size:g} px"
        ax.set(title=title, xlabel="threshold (share of the diagonal)")
    axes[0, 0].set(ylabel="PCK of head and feet", ylim=(-0.03, 1.03))
    axes[0, 0].plot([], [], ":", color="0.3", linewidth=1.2, label="of perfect maps")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(curves) + 1)
    return figure
