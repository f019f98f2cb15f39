"""Lesson 8's explorer: a box is moved and resized beside another, and five losses say where they would pull it.

What a slider changes is computed by a plain function and drawn by `box_figures`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from ipywidgets import FloatSlider, ToggleButtons, VBox
from jaxtyping import Float64
from matplotlib.figure import Figure
from torchvision.ops import box_iou

from helpers.digits.box_figures import LOSS_LABELS, SMOOTH_L1_SHARE, plot_bars, plot_pair, update_bars, update_pair
from helpers.digits.box_losses import measure_loss
from helpers.digits.loss import BOX_LOSSES
from helpers.explorers import join

TRUE_BOX = (0.0, 0.0, 1.0, 2.0)
"""A digit's box: its width is the unit, and it is twice as high."""


class PairDescription(NamedTuple):
    """A prediction beside the true box, and what each of `BOX_LOSSES` says of it; smooth-L1 at a tenth."""

    predicted: Float64[np.ndarray, " 4"]  # widths of the true box
    iou: float
    losses: Float64[np.ndarray, " 5"]
    gradients: Float64[np.ndarray, "5 4"]  # per true width that a side (x1, y1, x2, y2) moves


def describe_pair(right: float, down: float, width: float, height: float) -> PairDescription:
    """Returns the box whose centre lies so far from that of `TRUE_BOX`, with its losses.

    Args:
        right: widths of the true box; `down` likewise.
        width: as a multiple of the true width.
        height: as a multiple of the true height.
    """
    true = torch.tensor([TRUE_BOX], dtype=torch.float64)
    centre = (true[:, :2] + true[:, 2:]) / 2 + torch.tensor([right, down])
    half = (true[:, 2:] - true[:, :2]) / 2 * torch.tensor([width, height])
    predicted = torch.cat([centre - half, centre + half], dim=1)
    pairs = [measure_loss(loss, predicted, true) for loss in BOX_LOSSES]
    shares = torch.tensor([SMOOTH_L1_SHARE if loss == "smooth-l1" else 1.0 for loss in BOX_LOSSES]).double()
    losses, gradients = (torch.cat(column) for column in zip(*pairs, strict=True))
    gradients = gradients * shares.unsqueeze(1)
    iou = box_iou(predicted, true).item()
    return PairDescription(predicted[0].numpy(), iou, (losses * shares).numpy(), gradients.numpy())


def explore_losses() -> VBox:
    """Returns sliders for a box's place and size above the pair, its losses, and the pull of the chosen one."""
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    pair, values, pulls = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    controls = {
        "right": FloatSlider(1.5, min=-2, max=2, step=0.05, description="right (widths)"),
        "down": FloatSlider(0.0, min=-2, max=2, step=0.05, description="down (widths)"),
        "width": FloatSlider(1.0, min=0.3, max=2, step=0.05, description="width ×"),
        "height": FloatSlider(1.0, min=0.3, max=2, step=0.05, description="height ×"),
    }
    options = [(LOSS_LABELS[loss].split(" /")[0], number) for number, loss in enumerate(BOX_LOSSES)]
    controls["loss"] = ToggleButtons(options=options, value=1, description="arrows of")

    def describe(loss: int, **where: float) -> tuple[PairDescription, str]:
        seen = describe_pair(**where)
        return seen, f"IoU {seen.iou:.2f}; arrows: {options[loss][0]}"

    def draw(loss: int, **where: float) -> None:
        seen, title = describe(loss, **where)
        update_pair(np.array(TRUE_BOX), seen.predicted, seen.gradients[loss], pair, title)
        update_bars(seen.losses, values)
        update_bars(np.linalg.norm(seen.gradients, axis=1), pulls)

    seen, title = describe(1, **{name: control.value for name, control in controls.items() if name != "loss"})
    plot_pair(np.array(TRUE_BOX), seen.predicted, seen.gradients[1], pair, title, 2.4)
    plot_bars(seen.losses, BOX_LOSSES, values, "loss", limit=3.0)
    plot_bars(np.linalg.norm(seen.gradients, axis=1), BOX_LOSSES, pulls, "length of the gradient", limit=3.0)
    pulls.set_yticklabels([])
    return join(figure, controls, draw)
