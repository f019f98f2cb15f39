"""What a second stage is punished for: the class of every sampled region, and the box of those that hold a digit.

Boxes are compared twice: as offsets, by torchvision's smooth-L1, and as boxes, by how they overlap. A config says how
the two are mixed; smooth-L1 alone is torchvision's Faster R-CNN, exactly.

Shape letters: R regions of a batch, P of them with a digit, C classes with the background, N boxes, T steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

Term = Literal["iou", "giou", "diou", "ciou"]
BOX_LOSSES = ("smooth-l1", *get_args(Term))

BOX_CODER = BoxCoder((10.0, 10.0, 5.0, 5.0))
"""Faster R-CNN's second stage: shifts in tenths of a region's size, log sizes in fifths."""
BETA = 1 / 9
"""Error up to which torchvision's smooth-L1 is quadratic: 1.1 % of a region's width or height."""


@dataclass(frozen=True)
class Schedule:
    """The weight λ of a term by epoch, counted from 0; the default is the whole weight from the start."""

    first_epoch: int = 0  # before it the weight is 0
    start: float = 1.0  # weight in that epoch
    step: float = 0.0  # more in each epoch after it
    limit: float = 1.0  # but never more than this

    def weight(self, epoch: int) -> float:
        """Returns λ in `epoch`, counted from 0."""
        return min(self.start + self.step * (epoch - self.first_epoch), self.limit) if epoch >= self.first_epoch else 0


AT_ONCE = Schedule()
REPORT_SCHEDULE = Schedule(first_epoch=6, start=0.1, step=0.05, limit=0.5)
"""λ = min(0.1 + 0.05 · (epoch - 6), 0.5) from epoch 6 of 0 to 14."""


@dataclass(frozen=True)
class BoxLossConfig:
    """(1 - λ) · smooth-L1 + λ · gain · term; without a term, smooth-L1."""

    term: Term | None = None
    schedule: Schedule = AT_ONCE
    gain: float = 1.0  # smooth-L1 of 5 % everywhere is 1.3, 1 - IoU some 0.1: 10 makes them alike
    constant: bool = False  # the term has no gradient, as in the report: a number that is added to the loss

    def weight(self, epoch: int) -> float:
        """Returns λ in `epoch`, counted from 0; it is 0 where there is no term."""
        return 0.0 if self.term is None else self.schedule.weight(epoch)

    def mix(self, smooth_l1: Tensor, term: Tensor, epoch: int) -> Tensor:
        """Returns the box loss of `epoch`, counted from 0.

        Law: with `constant` its gradient is 1 - λ times that of smooth-L1, whatever the term.
        """
        weight = self.weight(epoch)
        return (1 - weight) * smooth_l1 + weight * self.gain * (term.detach() if self.constant else term)


def compute_region_losses(
    class_logits: Float[Tensor, "R C"],
    offsets: Float[Tensor, "R 4*C"],
    labels: Int[Tensor, " R"],
    regions: Float[Tensor, "R 4"],
    true_boxes: Float[Tensor, "R 4"],
    term: Term | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Returns "class", "smooth-l1" and "term" (0 without one), each divided by the number of regions.

    Law: the first two are torchvision's `fastrcnn_loss`. Every loss of boxes is that of the P regions with a digit; but
    it is divided by all R, so that an image with many digits weighs more than one with few.

    Args:
        offsets: from each region to the box that each class would have, coded by `BOX_CODER`.
        labels: 0 for the background.
        regions: sampled proposals, (x1, y1, x2, y2) pixels of the resized image.
        true_boxes: of the digit that each region overlaps most; any box where there is none.
    """
    (positive,) = torch.nonzero(labels, as_tuple=True)
    regions, true_boxes = regions[positive], true_boxes[positive]
    predicted = offsets.unflatten(1, (-1, 4))[positive, labels[positive]]
    smooth_l1 = F.smooth_l1_loss(predicted, BOX_CODER.encode_single(true_boxes, regions), beta=BETA, reduction="sum")
    term_sum = class_logits.new_zeros(())
    if term is not None:
        term_sum = OVERLAP_LOSSES[term](BOX_CODER.decode_single(predicted, regions), true_boxes).sum()
    num_regions = max(1, len(labels))
    return {
        "class": F.cross_entropy(class_logits, labels, reduction="sum") / num_regions,
        "smooth-l1": smooth_l1 / num_regions,
        "term": term_sum / num_regions,
    }


def iou_loss(boxes: Float[Tensor, "N 4"], others: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """Returns 1 - IoU of each box with the one in the same row (Yu et al. 2016, without their logarithm).

    Boxes that do not touch lose 1, wherever they are: there is no gradient that would bring them together.
    """
    shared = torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])
    intersection = shared.clamp(min=0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1)
    return 1 - intersection / (areas - intersection)


OVERLAP_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": iou_loss,
    "giou": generalized_box_iou_loss,
    "diou": distance_box_iou_loss,
    "ciou": complete_box_iou_loss,
}
"""Losses of predicted and true boxes, row by row; all but the first are torchvision's."""


# Two boxes alone: what each loss says of them, and where it pulls.

SCENARIOS = ("apart", "nested", "stretched")


def place_boxes(true: Float[Tensor, " 4"], scenario: str, positions: Float[Tensor, " T"]) -> Float[Tensor, "T 4"]:
    """Returns predictions that lie beside, inside or across the `true` box, one per position.

    "apart": as large as the truth, moved to the right by `position` of its widths; from 1 on they are disjoint.
    "nested": half as wide and high, its centre moved so; up to ¼ each way it stays inside.
    "stretched": on the truth's centre with its area; height / width is `position` times the truth's, so 1 is a hit.

    Raises:
        ValueError: the scenario is another.
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
    """Returns the loss of each predicted box and its gradient, per pixel that a corner (x1, y1, x2, y2) moves.

    Smooth-L1 takes offsets, which need a region to start from: here the true box itself.

    Args:
        loss: one of `BOX_LOSSES`.

    Raises:
        ValueError: the loss is none of `BOX_LOSSES`.
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
    """Returns the loss at each position of a scenario, and its slope there: what its own gradient says of moving on.

    Args:
        loss: one of `BOX_LOSSES`.
        scenario: one of `SCENARIOS`.
        positions: as `place_boxes` reads them; the slope is per unit of them.
    """
    step = 1e-3
    boxes, before, after = (place_boxes(true, scenario, positions + shift) for shift in (0, -step, step))
    losses, gradients = measure_loss(loss, boxes, true.expand_as(boxes))
    return losses, (gradients * (after - before)).sum(1) / (2 * step)


def descend(
    loss: str, start: Float[Tensor, " 4"], true: Float[Tensor, " 4"], num_steps: int = 200, rate: float = 0.02
) -> Float[Tensor, "T 4"]:
    """Returns the boxes on the way from `start` down the gradient of one loss alone: the start and `num_steps` more.

    Args:
        loss: one of `BOX_LOSSES`.
        rate: share of the true box's area: what makes a step as long, in widths, for boxes of every size.
    """
    path, step = [start], rate * (true[2:] - true[:2]).prod()
    for _ in range(num_steps):
        _, gradients = measure_loss(loss, path[-1].unsqueeze(0), true.unsqueeze(0))
        path.append(path[-1] - step * gradients[0])
    return torch.stack(path)
