"""Box losses of two boxes alone: their values, their slopes and gradient descent, for lesson 8.

Shape letters: N boxes, T positions or steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from helpers.digits.loss import BETA, BOX_CODER, BOX_LOSSES, OVERLAP_LOSSES

SCENARIOS = ("apart", "nested", "stretched")


def place_boxes(true: Float[Tensor, " 4"], scenario: str, positions: Float[Tensor, " T"]) -> Float[Tensor, "T 4"]:
    """Return predicted boxes beside, inside or across the `true` box, one per position.

    "apart": the size of the true box, moved to the right by `position` of its widths; disjoint from 1 on.
    "nested": half as wide and high, its centre moved in the same way; inside the true box up to ¼.
    "stretched": the centre and the area of the true box; height / width is `position` times the true one.

    Raises:
        ValueError: `scenario` is none of `SCENARIOS`.
    """
    centre, size = (true[:2] + true[2:]) / 2, true[2:] - true[:2]
    shift = torch.stack([positions, torch.zeros_like(positions)], dim=1) * size
    if scenario == "apart":
        centres, sizes = centre + shift, size.expand_as(shift)
    elif scenario == "nested":
        centres, sizes = centre + shift, (size / 2).expand_as(shift)
    elif scenario == "stretched":
        stretch = positions.sqrt()
        centres, sizes = centre.expand_as(shift), torch.stack([1 / stretch, stretch], dim=1) * size
    else:
        raise ValueError(f"scenario is {scenario!r}; choose one of {', '.join(SCENARIOS)}")
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1)


def measure_loss(
    loss: str, predicted: Float[Tensor, "N 4"], true: Float[Tensor, "N 4"]
) -> tuple[Float[Tensor, " N"], Float[Tensor, "N 4"]]:
    """Return the loss of each predicted box and its gradient by (x1, y1, x2, y2), per pixel.

    Smooth-L1 compares offsets from a proposal; here the proposal is the true box.

    Args:
        loss: one of `BOX_LOSSES`.

    Raises:
        ValueError: `loss` is none of `BOX_LOSSES`.
    """
    predicted = predicted.detach().requires_grad_()
    if loss == "smooth-l1":
        offsets = BOX_CODER.encode_single(predicted, true)
        losses = F.smooth_l1_loss(offsets, torch.zeros_like(offsets), beta=BETA, reduction="none").sum(1)
    elif loss in OVERLAP_LOSSES:
        losses = OVERLAP_LOSSES[loss](predicted, true)
    else:
        raise ValueError(f"loss is {loss!r}; choose one of {', '.join(BOX_LOSSES)}")
    (gradients,) = torch.autograd.grad(losses.sum(), predicted)
    return losses.detach(), gradients


def measure_scenario(
    loss: str, true: Float[Tensor, " 4"], scenario: str, positions: Float[Tensor, " T"]
) -> tuple[Float[Tensor, " T"], Float[Tensor, " T"]]:
    """Return the loss at each position of a scenario, and its slope: the gradient along the path of the box.

    Args:
        loss: one of `BOX_LOSSES`.
        scenario: one of `SCENARIOS`.
        positions: see `place_boxes`; the slope is per unit of position.
    """
    step = 1e-3
    boxes, before, after = (place_boxes(true, scenario, positions + shift) for shift in (0, -step, step))
    losses, gradients = measure_loss(loss, boxes, true.expand_as(boxes))
    return losses, (gradients * (after - before)).sum(1) / (2 * step)


def descend(
    loss: str, start: Float[Tensor, " 4"], true: Float[Tensor, " 4"], num_steps: int = 200, rate: float = 0.02
) -> Float[Tensor, "T 4"]:
    """Return the boxes of gradient descent on one loss, from `start`: T = 1 + `num_steps` boxes.

    Args:
        loss: one of `BOX_LOSSES`.
        rate: learning rate as a share of the true box's area, so that a step has the same length in box widths for
            every box size.
    """
    true_area = (true[2:] - true[:2]).prod()
    boxes = [start]
    for _ in range(num_steps):
        _, gradients = measure_loss(loss, boxes[-1].unsqueeze(0), true.unsqueeze(0))
        boxes.append(boxes[-1] - rate * true_area * gradients[0])
    return torch.stack(boxes)
