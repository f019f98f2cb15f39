"""Explorer of box losses: a predicted box is moved and resized, and five losses show their values and gradients.

A plain function computes what the sliders describe, and `box_figures` draws it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from ipywidgets import FloatSlider, ToggleButtons
from jaxtyping import Float64
from matplotlib.figure import Figure
from torchvision.ops import box_iou

from helpers.digits.box_figures import LOSS_LABELS, SMOOTH_L1_SHARE, plot_bars, plot_pair, update_bars, update_pair
from helpers.digits.box_losses import measure_loss
from helpers.digits.loss import BOX_LOSSES
from helpers.explorers import Explorer, join

TRUE_BOX = (0.0, 0.0, 1.0, 2.0)
"""True box of a digit, in units of its width; it is twice as high as wide."""


class PairDescription(NamedTuple):
    """A predicted box with each of `BOX_LOSSES` to the true box; smooth-L1 is divided by 10."""

    predicted: Float64[np.ndarray, " 4"]  # (x1, y1, x2, y2), widths of the true box
    iou: float
    losses: Float64[np.ndarray, " 5"]
    gradients: Float64[np.ndarray, "5 4"]  # of each loss by (x1, y1, x2, y2), per true width


def describe_pair(right: float, down: float, width: float, height: float) -> PairDescription:
    """Return a predicted box, given relative to `TRUE_BOX`, with its losses and gradients.

    Args:
        right: shift of the centre in x, in widths of the true box.
        down: shift of the centre in y, in widths of the true box.
        width: multiple of the true width.
        height: multiple of the true height.
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


def explore_losses() -> Explorer:
    """Return sliders for position and size of a box above a figure of both boxes, the losses and the gradients."""
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    pair_ax, loss_ax, gradient_ax = figure.subplots(1, 3, width_ratios=(1.1, 1, 1))
    sliders = {
        "right": FloatSlider(1.5, min=-2, max=2, step=0.05, description="right (widths)"),
        "down": FloatSlider(0.0, min=-2, max=2, step=0.05, description="down (widths)"),
        "width": FloatSlider(1.0, min=0.3, max=2, step=0.05, description="width ×"),
        "height": FloatSlider(1.0, min=0.3, max=2, step=0.05, description="height ×"),
    }
    options = [(LOSS_LABELS[loss].split(" /")[0], number) for number, loss in enumerate(BOX_LOSSES)]
    first = BOX_LOSSES.index("giou")  # IoU would have no arrows at the start
    buttons = ToggleButtons(options=options, value=first, description="arrows of")

    def describe(loss: int, **position: float) -> tuple[PairDescription, str]:
        description = describe_pair(**position)
        name = options[loss][0]
        has_gradient = (abs(description.gradients[loss]) > 1e-6).any()
        arrows = f"arrows: {name} loss" if has_gradient else f"no arrows: the {name} loss has no gradient"
        return description, f"IoU of the two boxes: {description.iou:.2f}\n{arrows}"

    def draw(loss: int, **position: float) -> None:
        description, title = describe(loss, **position)
        update_pair(np.array(TRUE_BOX), description.predicted, description.gradients[loss], pair_ax, title)
        update_bars(description.losses, loss_ax)
        update_bars(np.linalg.norm(description.gradients, axis=1), gradient_ax)

    description, title = describe(first, **{name: slider.value or 0.0 for name, slider in sliders.items()})
    plot_pair(np.array(TRUE_BOX), description.predicted, description.gradients[first], pair_ax, title, 2.4)
    plot_bars(description.losses, BOX_LOSSES, loss_ax, "loss", limit=3.0)
    plot_bars(
        np.linalg.norm(description.gradients, axis=1), BOX_LOSSES, gradient_ax, "length of the gradient", limit=3.0
    )
    gradient_ax.set_yticklabels([])
    frame_values = {
        "right": (0.0, 0.25, 0.5, 1.0, 1.5, 2.0),
        "width": (0.5, 1.0, 2.0),
        "loss": range(len(BOX_LOSSES)),
    }
    text = "A true and a predicted box with arrows along the gradient, and five losses with their gradients as bars."
    return join(figure, {**sliders, "loss": buttons}, draw, frame_values, text)
