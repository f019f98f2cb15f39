"""Explorers: sliders over a picture that is drawn once and then given new data.

What a slider changes is computed by a plain function and drawn by `figures`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

import numpy as np
import torch
from ipywidgets import FloatSlider, IntSlider, SelectionSlider, ToggleButtons, VBox
from jaxtyping import Float, Float32, Float64, UInt8
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.explorers import join
from helpers.keypoints.ablations import DSNT, JOINT, Row, average, perfect_outputs, select_rows
from helpers.keypoints.codecs import Decoder, DSNTCodec, HeatmapCodec
from helpers.keypoints.figures import (
    SPOKEN_NAMES,
    plot_codec,
    plot_maps,
    plot_row_curves,
    update_codec,
    update_maps,
    update_row_curves,
)
from helpers.keypoints.metrics import THRESHOLDS
from helpers.keypoints.scenes import IMAGE_SIZE

REACH = 3.0
"""Cells on each side of the point that the explorer's close-up shows."""


class CodecDescription(NamedTuple):
    """A map, and where a decoder sees the point that it was made for."""

    heatmap: Float32[np.ndarray, "h w"]
    decoded: Float32[np.ndarray, " 2"]  # (x, y) pixels
    error: float  # pixels


def describe_codec(
    sigma: float, size: int, decoder: Decoder, x: float, y: float, noise: float = 0.0
) -> CodecDescription:
    """Returns the target map of the point (x, y), what `decoder` reads from it and how far off that is.

    Args:
        sigma: cells.
        size: cells per side of the map.
        x: pixels, as is y.
        noise: standard deviation of what is added to each cell, as a network's maps are not perfect either. The noise
            is the same at every call, so that the picture changes by what was moved alone.
    """
    codec = HeatmapCodec(size, sigma, decoder)
    point = torch.tensor([[[x, y]]])
    heatmap = codec.encode(point)
    heatmap += noise * torch.randn(heatmap.shape, generator=torch.Generator().manual_seed(0))
    decoded = codec.decode(heatmap).points
    return CodecDescription(heatmap[0, 0].numpy(), decoded[0, 0].numpy(), (decoded - point).norm().item())


def explore_codec() -> VBox:
    """Returns sliders for sigma, resolution, decoder, noise and the point's place above the map that follows them."""
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
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
        draw_codec(heatmap, *points, near, f"{decoder}: {error:.2f} px off", REACH)

    draw(plot_codec, **{name: control.value for name, control in controls.items()})
    whole.set(xlabel="x (px)", ylabel="y (px)")
    near.set_xlabel("x (px)")
    figure.legend(*whole.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return join(figure, controls, lambda **values: draw(update_codec, **values))


def explore_stages(
    images: UInt8[np.ndarray, "M H W"], maps: Float[np.ndarray, "S M K h w"], stages: Sequence[str]
) -> VBox:
    """Returns sliders for the training's stage and for the image above the maps that the network predicts there.

    Args:
        maps: of all images at every stage.
        stages: what each stage is called.
    """
    figure = Figure(figsize=(9.5, 2.3), layout="constrained")
    axes = list(figure.subplots(1, maps.shape[2]))
    plot_maps(images[0], maps[0, 0], axes, SPOKEN_NAMES)
    controls = {
        "stage": SelectionSlider(options=list(zip(stages, range(len(stages)), strict=True)), description="stage"),
        "image": IntSlider(0, min=0, max=len(images) - 1, description="image"),
    }
    return join(figure, controls, lambda stage, image: update_maps(images[image], maps[stage, image], axes))


SHOWN_COLUMNS = {
    "PCK@.05, raw": ("pck@0.05", 1),
    "  hands exchangeable": ("pck_swap@0.05", 1),
    "head and feet @.02": ("pck_head_feet@0.02", 1),
    "  @.01": ("pck_head_feet@0.01", 1),
    "  error (px)": ("error_head_feet", 1),
    "MSE × 1000": ("mse", 1000),
    "  of empty maps": ("mse_empty", 1000),
}
"""What the explorer of rows writes of each: the table's column, and by what it is multiplied."""


class RowDescription(NamedTuple):
    """What a row of the ablation table was asked for, and how good it is: means over its seeds."""

    heatmap: Float32[np.ndarray, "h w"]  # the target of one point
    decoded: Float32[np.ndarray, " 2"]  # what the row's decoder reads from that, (x, y) pixels
    ceiling: float  # pixels between the two points: an error that no training removes
    decoder: str
    pck: Float64[np.ndarray, "2 T"]  # with the hands exchangeable, and of head and feet, at `THRESHOLDS`
    numbers: dict[str, float]  # by the names of `SHOWN_COLUMNS`; a row without a target has no MSE, so NaN


def describe_row(rows: Sequence[Row], variant: str, decoder: str, point: Float[Tensor, " 2"]) -> RowDescription:
    """Returns a variant of the table as a decoder reads it; what was trained through DSNT has no other reading.

    Args:
        point: (x, y) pixels.
    """
    own = select_rows(rows, variant=variant)
    if own[0]["decoder"] == DSNT:
        decoder, codec = DSNT, DSNTCodec(own[0]["size"])
    else:
        own = select_rows(own, decoder=decoder)
        codec = HeatmapCodec(own[0]["size"], own[0]["sigma"], "dark" if decoder == JOINT else decoder)
    outputs = perfect_outputs(codec, point.view(1, 1, 2))
    decoded = codec.decode(outputs).points[0, 0]
    heatmap = outputs.exp() if decoder == DSNT else outputs
    pck = [[average(own, f"{kind}@{threshold}") for threshold in THRESHOLDS] for kind in ("pck_swap", "pck_head_feet")]
    numbers = {name: factor * average(own, column) for name, (column, factor) in SHOWN_COLUMNS.items()}
    ceiling = (decoded - point).norm().item()
    return RowDescription(heatmap[0, 0].numpy(), decoded.numpy(), ceiling, decoder, np.array(pck), numbers)


def explore_rows(rows: Sequence[Row]) -> VBox:
    """Returns the choice of any two rows of the ablation table above their targets, their PCK and their numbers.

    Args:
        rows: of two variants at least.
    """
    point, reach = torch.tensor([63.5, 47.5]), 16  # the centre of a pixel, as the handout's points are; pixels
    figure = Figure(figsize=(9.8, 3.3), layout="constrained")
    *targets, curves, table = figure.subplots(1, 4, width_ratios=(1, 1, 1.5, 1.25))
    for ax in targets:
        plot_codec(np.zeros((64, 64), np.float32), point.numpy(), point.numpy(), ax)
        ax.set_axis_off()
        ax.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor="0.75", transform=ax.transAxes, clip_on=False))
    plot_row_curves(curves)
    table.set_axis_off()
    style = {"family": "monospace", "fontsize": 8, "va": "center", "linespacing": 1.6}
    text = table.text(-0.05, 0.5, "", transform=table.transAxes, **style)
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    options = [(name.replace(" cells", "").replace("sigma", "σ"), name) for name in variants]  # more would be cut
    decoders = (*get_args(Decoder), JOINT)
    controls = {
        "a": SelectionSlider(options=options, value=variants[0], description="A (cells, σ)"),
        "a_decoder": ToggleButtons(options=decoders, value="dark", description="A read by"),
        "b": SelectionSlider(options=options, value=variants[1], description="B (cells, σ)"),
        "b_decoder": ToggleButtons(options=decoders, value="dark", description="B read by"),
    }

    def draw(a: str, a_decoder: str, b: str, b_decoder: str) -> None:
        seen = [describe_row(rows, *choice, point) for choice in ((a, a_decoder), (b, b_decoder))]
        for ax, row, name in zip(targets, seen, "AB", strict=True):
            title = f"{name}'s target, read by {row.decoder}\nat best {row.ceiling:.2f} px off"
            update_codec(row.heatmap, point.numpy(), row.decoded, ax, title, reach * len(row.heatmap) / IMAGE_SIZE)
            ax.title.set_fontsize(9)
        update_row_curves(np.stack([row.pck for row in seen]), curves)
        pairs = ((name, *(row.numbers[name] for row in seen)) for name in SHOWN_COLUMNS)
        lines = [
            f"{name:21}" + "".join(f"{'–' if math.isnan(value) else f'{value:.3f}':>8}" for value in values)
            for name, *values in pairs
        ]
        names = (f"A  {a}", f"B  {b}", "")  # a slider has no room for them
        text.set_text("\n".join([*names, f"{'':21}{'A':>8}{'B':>8}", *lines]))

    return join(figure, controls, draw)
