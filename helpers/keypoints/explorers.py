"""Explorers of heatmaps, of a training's stages, and of the ablation table: sliders above a figure that follows them.

Each explorer has a plain function that computes the data for the sliders' values; `figures` draws them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from ipywidgets import FloatSlider, IntSlider, SelectionSlider, ToggleButtons
from jaxtyping import Float, Float32, Float64, UInt8
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.explorer_frames import MOST_FRAMES
from helpers.explorers import Explorer, join
from helpers.keypoints.ablations import DSNT, JOINT, AblationRow, average, make_perfect_outputs, select_rows
from helpers.keypoints.codecs import DSNTCodec, HeatmapCodec
from helpers.keypoints.figures import (
    POINT_LABELS,
    plot_codec,
    plot_maps,
    plot_row_curves,
    update_codec,
    update_maps,
    update_row_curves,
)
from helpers.keypoints.heatmaps import Decoder
from helpers.keypoints.metrics import THRESHOLDS
from helpers.keypoints.scenes import IMAGE_SIZE

CLOSE_UP_REACH = 3.0
"""Cells on each side of the point in the close-up of `explore_codec`."""
RowDecoder = Decoder | Literal["joint"]

ROW_REACH = 16
"""Pixels on each side of the point in the targets of `explore_rows`."""
ROW_POINT = (63.5, 47.5)
"""Point of the targets in `explore_rows`, (x, y) pixels: the centre of a pixel, as the handout's points are."""


class CodecDescription(NamedTuple):
    """Map of a point, and the point decoded from it."""

    heatmap: Float32[np.ndarray, "h w"]
    decoded: Float32[np.ndarray, " 2"]  # (x, y) pixels
    error: float  # pixels


def describe_codec(
    sigma: float, size: int, decoder: Decoder, x: float, y: float, noise: float = 0.0
) -> CodecDescription:
    """Return the target map of the point (x, y) with noise, the decoded point and its error.

    Args:
        sigma: cells.
        size: cells per side of the map.
        x: pixels.
        y: pixels.
        noise: standard deviation of Gaussian noise added to each cell, a model of a network's errors. The noise is the
            same at every call, so that only the changed slider changes the figure.
    """
    codec = HeatmapCodec(size, sigma, decoder)
    point = torch.tensor([[[x, y]]])
    heatmap = codec.encode(point)
    heatmap += noise * torch.randn(heatmap.shape, generator=torch.Generator().manual_seed(0))
    decoded = codec.decode(heatmap).points
    return CodecDescription(heatmap[0, 0].numpy(), decoded[0, 0].numpy(), (decoded - point).norm().item())


def explore_codec() -> Explorer:
    """Return sliders for sigma, resolution, decoder, noise and the position of the point, above its map."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    figure.suptitle("Explorer: heatmap of one point, whole (left) and enlarged (right)", fontsize=11)
    whole, near = figure.subplots(1, 2)
    controls = {
        "sigma": FloatSlider(2.0, min=0.5, max=4.0, step=0.25, description="σ (cells)"),
        "size": SelectionSlider(options=(16, 32, 64, 128), value=32, description="map (cells)"),
        "decoder": ToggleButtons(options=get_args(Decoder), value="argmax", description="decoder"),
        "x": FloatSlider(61.3, min=0, max=IMAGE_SIZE, step=0.1, description="x (px)"),
        "y": FloatSlider(47.8, min=0, max=IMAGE_SIZE, step=0.1, description="y (px)"),
        "noise": FloatSlider(0.0, min=0, max=0.2, step=0.01, description="noise (of peak)"),
    }

    def draw(draw_codec: Callable, sigma: float, size: int, decoder: Decoder, x: float, y: float, noise: float) -> None:
        heatmap, decoded, error = describe_codec(sigma, size, decoder, x, y, noise)
        points = np.array([x, y], np.float32), decoded
        draw_codec(heatmap, *points, whole, f"σ = {sigma:g} cells = {sigma * IMAGE_SIZE / size:g} px")
        draw_codec(heatmap, *points, near, f"{decoder}: {error:.2f} px off", CLOSE_UP_REACH)

    draw(plot_codec, **{name: control.value for name, control in controls.items()})
    whole.set(xlabel="x (px)", ylabel="y (px)")
    near.set_xlabel("x (px)")
    figure.legend(*whole.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    frame_values = {
        "sigma": (0.5, 1.0, 1.5, 2.0, 3.0, 4.0),
        "size": (16, 32, 64, 128),
        "decoder": get_args(Decoder),
    }
    text = "Target heatmap of one point, whole and enlarged, with the true point and the decoded point."
    return join(figure, controls, lambda **values: draw(update_codec, **values), frame_values, text)


def explore_stages(
    images: UInt8[np.ndarray, "M H W"], maps: Float[np.ndarray, "S M K h w"], stages: Sequence[str]
) -> Explorer:
    """Return sliders for the stage of a training and for the image, above the maps that the network predicts.

    Args:
        maps: of all images at every stage.
        stages: name of each stage.
    """
    figure = Figure(figsize=(9.5, 2.6), layout="constrained")
    axes = list(figure.subplots(1, maps.shape[2], squeeze=False).flat)
    plot_maps(images[0], maps[0, 0], axes, POINT_LABELS)
    controls = {
        "stage": SelectionSlider(options=list(zip(stages, range(len(stages)), strict=True)), description="stage"),
        "image": IntSlider(0, min=0, max=len(images) - 1, description="image"),
    }
    frame_values = {"stage": range(len(stages)), "image": range(min(len(images), MOST_FRAMES // len(stages)))}
    text = "Heatmaps that the network predicts for the five points of a stick figure, drawn over the figure."

    title = figure.suptitle("", fontsize=11)  # set once: `suptitle` would move it at each call

    def draw(stage: int, image: int) -> None:
        update_maps(images[image], maps[stage, image], axes)
        title.set_text(f"Explorer: predicted maps of figure {image}, {stages[stage]}")

    return join(figure, controls, draw, frame_values, text)


SHOWN_COLUMNS = {
    "PCK@0.05, raw": ("pck@0.05", 1),
    "permutation-invariant": ("pck_swap@0.05", 1),
    "head and feet @0.02": ("pck_head_feet@0.02", 1),
    "  @0.01": ("pck_head_feet@0.01", 1),
    "  error (px)": ("error_head_feet", 1),
    "MSE × 1000": ("mse", 1000),
    "  of empty maps": ("mse_empty", 1000),
}
"""Numbers in `explore_rows`, by their label: the table's column, and its factor."""


FRAME_VARIANTS = {
    "a": [f"{size} cells, sigma {sigma}" for size in (32, 64, 128) for sigma in (1, 2, 4)],
    "b": ["32 cells, sigma 1", "64 cells, sigma 2", "64 cells, sigma 4", "128 cells, sigma 4"],
}
"""Rows that `explore_rows` shows without a kernel: pairs of nearly the same MSE are among them."""


class RowDescription(NamedTuple):
    """Target and results of one variant and decoder of the ablation table; results are means over the seeds."""

    heatmap: Float32[np.ndarray, "h w"]  # the target of one point
    decoded: Float32[np.ndarray, " 2"]  # the point decoded from the target, (x, y) pixels
    ceiling: float  # distance of the two points, pixels: an error that no training removes
    decoder: str
    pck: Float64[np.ndarray, "2 T"]  # permutation-invariant of all points, and of head and feet, at `THRESHOLDS`
    numbers: dict[str, float]  # by the labels of `SHOWN_COLUMNS`; NaN for the MSE of a variant without target maps


def describe_row(
    rows: Sequence[AblationRow], variant: str, decoder: RowDecoder, point: Float[Tensor, " 2"]
) -> RowDescription:
    """Return the results of a variant with a decoder; a variant trained by DSNT has its own decoder only.

    Args:
        point: encoded in the target, (x, y) pixels.
    """
    variant_rows = select_rows(rows, variant=variant)
    size, sigma, trained_decoder = (variant_rows[0][column] for column in ("size", "sigma", "decoder"))
    if trained_decoder == DSNT:
        codec = DSNTCodec(size)
        outputs = make_perfect_outputs(codec, point.view(1, 1, 2))
        heatmap = outputs.exp()
    else:
        variant_rows = select_rows(variant_rows, decoder=decoder)
        codec = HeatmapCodec(size, sigma, "dark" if decoder == JOINT else decoder)
        heatmap = outputs = make_perfect_outputs(codec, point.view(1, 1, 2))
    decoded = codec.decode(outputs).points[0, 0]
    pck = [
        [average(variant_rows, f"{metric}@{threshold}") for threshold in THRESHOLDS]
        for metric in ("pck_swap", "pck_head_feet")
    ]
    numbers = {label: factor * average(variant_rows, column) for label, (column, factor) in SHOWN_COLUMNS.items()}
    ceiling = (decoded - point).norm().item()
    used_decoder = variant_rows[0]["decoder"]
    return RowDescription(heatmap[0, 0].numpy(), decoded.numpy(), ceiling, used_decoder, np.array(pck), numbers)


def explore_rows(rows: Sequence[AblationRow]) -> Explorer:
    """Return sliders that choose two rows, A and B, of the ablation table, above their targets, PCK and numbers.

    Args:
        rows: of two variants at least.
    """
    point = torch.tensor(ROW_POINT)
    figure = Figure(figsize=(9.8, 3.3), layout="constrained")
    *targets, curves, table = figure.subplots(1, 4, width_ratios=(1, 1, 1.5, 1.25))
    for ax in targets:
        plot_codec(np.zeros((64, 64), np.float32), point.numpy(), point.numpy(), ax)
        ax.set_axis_off()
        ax.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor="0.75", transform=ax.transAxes, clip_on=False))
    plot_row_curves(THRESHOLDS, curves)
    table.set_axis_off()
    style = {"family": "monospace", "fontsize": 8, "va": "center", "linespacing": 1.6}
    text = table.text(-0.05, 0.5, "", transform=table.transAxes, **style)
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    options = [(name.replace(" cells", "").replace("sigma", "σ"), name) for name in variants]  # longer names are cut
    decoders = (*get_args(Decoder), JOINT)
    controls = {
        "a": SelectionSlider(options=options, value=variants[0], description="A (cells, σ)"),
        "a_decoder": ToggleButtons(options=decoders, value="dark", description="A decoded by"),
        "b": SelectionSlider(options=options, value=variants[1], description="B (cells, σ)"),
        "b_decoder": ToggleButtons(options=decoders, value="dark", description="B decoded by"),
    }

    def draw(a: str, a_decoder: RowDecoder, b: str, b_decoder: RowDecoder) -> None:
        row_a = describe_row(rows, a, a_decoder, point)
        row_b = describe_row(rows, b, b_decoder, point)
        for ax, row, name in zip(targets, (row_a, row_b), "AB", strict=True):
            title = f"{name}'s target, decoded by\n{row.decoder}: {row.ceiling:.2f} px off"
            reach = ROW_REACH * len(row.heatmap) / IMAGE_SIZE
            update_codec(row.heatmap, point.numpy(), row.decoded, ax, title, reach)
            ax.title.set_fontsize(9)
        update_row_curves(np.stack([row_a.pck, row_b.pck]), curves)
        lines = [f"A  {a}", f"B  {b}", "", f"{'':21}{'A':>8}{'B':>8}"]  # full names, which a slider would cut
        lines.append(f"{'decoder':21}{row_a.decoder:>8}{row_b.decoder:>8}")
        for label in SHOWN_COLUMNS:
            lines.append(f"{label:21}{_format(row_a.numbers[label])}{_format(row_b.numbers[label])}")
        text.set_text("\n".join(lines))

    start = variants[:2]
    frame_values = {
        "a": [name for name in variants if name in start or name in FRAME_VARIANTS["a"]],
        "b": [name for name in variants if name in start or name in FRAME_VARIANTS["b"]],
        "a_decoder": ("dark", JOINT),
    }
    alt = "Two rows of the ablation table, A and B: their targets with the decoded point, PCK curves and numbers."
    return join(figure, controls, draw, frame_values, alt)


def _format(value: float) -> str:
    """Return a number with three decimals in eight characters, or a dash for NaN."""
    return f"{'–' if math.isnan(value) else f'{value:.3f}':>8}"
