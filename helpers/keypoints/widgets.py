"""Explorers: sliders over a picture that is drawn once and then given new data.

What a slider changes is computed by a plain function and drawn by `figures`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

import numpy as np
import torch
from ipywidgets import FloatSlider, IntSlider, SelectionSlider, ToggleButtons, VBox
from jaxtyping import Float, Float32, UInt8
from matplotlib.figure import Figure

from helpers.explorer import join
from helpers.keypoints.codecs import Decoder, HeatmapCodec
from helpers.keypoints.figures import SPOKEN_NAMES, plot_codec, plot_maps, update_codec, update_maps
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
    figure = Figure(figsize=(7.2, 3.7), layout="constrained")
    whole, near = figure.subplots(1, 2)
    controls = {
        "sigma": FloatSlider(2.0, min=0.5, max=4.0, step=0.25, description="σ (cells)"),
        "size": SelectionSlider(options=(16, 32, 64, 128), value=32, description="map size"),
        "decoder": ToggleButtons(options=get_args(Decoder), value="argmax", description="decoder"),
        "x": FloatSlider(61.3, min=0, max=IMAGE_SIZE, step=0.1, description="x (px)"),
        "y": FloatSlider(47.8, min=0, max=IMAGE_SIZE, step=0.1, description="y (px)"),
        "noise": FloatSlider(0.0, min=0, max=0.2, step=0.01, description="noise"),
    }

    def draw(draw_codec: Callable, sigma: float, size: int, decoder: Decoder, x: float, y: float, noise: float) -> None:
        heatmap, decoded, error = describe_codec(sigma, size, decoder, x, y, noise)
        points = np.array([x, y], np.float32), decoded
        draw_codec(heatmap, *points, whole, f"σ = {sigma:g} cells = {sigma * IMAGE_SIZE / size:g} px")
        draw_codec(heatmap, *points, near, f"{decoder}: {error:.2f} px off", REACH)

    draw(plot_codec, **{name: control.value for name, control in controls.items()})
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
