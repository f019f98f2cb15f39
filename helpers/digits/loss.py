"""Loss of the RoI head: the class of every sampled proposal, and the box of each proposal with a digit.

Boxes are compared in two ways: as offsets, by torchvision's smooth-L1, and as boxes, by their overlap. `BoxLossConfig`
holds how the two are mixed; smooth-L1 alone is exactly torchvision's Faster R-CNN.

Shape letters: R proposals of a batch, P of them with a digit, C classes with the background, N boxes.
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
"""Code of the boxes in the RoI head: shifts in tenths of a proposal's size, log sizes in fifths."""
BETA = 1 / 9
"""Error up to which torchvision's smooth-L1 is quadratic: 1.1 % of a proposal's width or height."""


@dataclass(frozen=True)
class Schedule:
    """Weight λ of an overlap loss by epoch; the default is 1 from the first epoch on."""

    first_epoch: int = 0  # counted from 0; before it λ is 0
    start: float = 1.0  # λ in `first_epoch`
    step: float = 0.0  # increase of λ per epoch
    limit: float = 1.0  # largest λ

    def weight(self, epoch: int) -> float:
        """Return λ in `epoch`, counted from 0."""
        return min(self.start + self.step * (epoch - self.first_epoch), self.limit) if epoch >= self.first_epoch else 0


AT_ONCE = Schedule()
REPORT_SCHEDULE = Schedule(first_epoch=6, start=0.1, step=0.05, limit=0.5)
"""λ = min(0.1 + 0.05 · (epoch - 6), 0.5) from epoch 6 of 0 to 14."""


@dataclass(frozen=True)
class BoxLossConfig:
    """Mixture of the box losses: (1 - λ) · smooth-L1 + λ · gain · term; without a term, smooth-L1."""

    term: Term | None = None  # overlap loss; `None` is smooth-L1 alone
    schedule: Schedule = AT_ONCE  # of λ
    gain: float = 1.0  # factor of the term. Errors of 5 % cost 1.3 in smooth-L1 and 0.1 in 1 - IoU: 10 balances them
    constant: bool = False  # the term has no gradient, as in the report: a constant is added to the loss

    def weight(self, epoch: int) -> float:
        """Return λ in `epoch`, counted from 0; without a term it is 0."""
        return 0.0 if self.term is None else self.schedule.weight(epoch)

    def mix(self, smooth_l1: Tensor, term: Tensor, epoch: int) -> Tensor:
        """Return the box loss in `epoch`, counted from 0.

        Law: with `constant`, its gradient is 1 - λ times that of smooth-L1, for every term.
        """
        weight = self.weight(epoch)
        return (1 - weight) * smooth_l1 + weight * self.gain * (term.detach() if self.constant else term)


def compute_region_losses(
    class_logits: Float[Tensor, "R C"],
    offsets: Float[Tensor, "R 4*C"],
    labels: Int[Tensor, " R"],
    proposals: Float[Tensor, "R 4"],
    true_boxes: Float[Tensor, "R 4"],
    term: Term | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Return "class", "smooth-l1" and "term" (0 without a term), each divided by the number of proposals.

    Law: the first two are torchvision's `fastrcnn_loss`. The box losses are sums over the P proposals with a
    digit, divided by all R proposals, so an image with many digits has a larger weight than one with few.

    Args:
        offsets: from each proposal to the box predicted for each class, coded by `BOX_CODER`.
        labels: 0 for the background.
        proposals: (x1, y1, x2, y2), pixels of the resized image; those that are sampled for training.
        true_boxes: box of the digit that each proposal overlaps most; any box for the background.
    """
    (positive,) = torch.nonzero(labels, as_tuple=True)
    proposals, true_boxes = proposals[positive], true_boxes[positive]
    predicted = offsets.unflatten(1, (-1, 4))[positive, labels[positive]]
    smooth_l1 = F.smooth_l1_loss(predicted, BOX_CODER.encode_single(true_boxes, proposals), beta=BETA, reduction="sum")
    term_sum = class_logits.new_zeros(())
    if term is not None:
        term_sum = OVERLAP_LOSSES[term](BOX_CODER.decode_single(predicted, proposals), true_boxes).sum()
    num_proposals = max(1, len(labels))
    return {
        "class": F.cross_entropy(class_logits, labels, reduction="sum") / num_proposals,
        "smooth-l1": smooth_l1 / num_proposals,
        "term": term_sum / num_proposals,
    }


def iou_loss(predicted: Float[Tensor, "N 4"], true: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """Return 1 - IoU of each predicted box with the true box in the same row.

    Boxes that do not touch have the loss 1 at any distance, so the gradient is 0 and does not bring them together.

    Source: Yu et al., "UnitBox" (arXiv:1608.01471), without their logarithm.
    """
    sides = torch.minimum(predicted[:, 2:], true[:, 2:]) - torch.maximum(predicted[:, :2], true[:, :2])
    intersection = sides.clamp(min=0).prod(1)
    areas = (predicted[:, 2:] - predicted[:, :2]).prod(1) + (true[:, 2:] - true[:, :2]).prod(1)
    return 1 - intersection / (areas - intersection)


OVERLAP_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "iou": iou_loss,
    "giou": generalized_box_iou_loss,
    "diou": distance_box_iou_loss,
    "ciou": complete_box_iou_loss,
}
"""Overlap losses of predicted and true boxes, row by row; all but the first are torchvision's."""
