"""Box geometry: area, IoU, generalised IoU, and encoding of boxes as offsets from anchors.

Boxes are `(x1, y1, x2, y2)` in pixels. Shape letters: N and M boxes, `*batch` any leading axes, which broadcast.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

MAXIMUM_LOG_SCALE = math.log(1000 / 16)
"""Largest log size that `decode` applies, so that an extreme prediction does not overflow `exp` (Detectron's bound)."""

SMALLEST_AREA = 1e-6
"""Smallest divisor in square pixels, so that the loss of boxes without area is finite."""


def area(boxes: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Return the areas of the boxes in square pixels; a box with swapped corners has area 0."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)


def compute_iou(
    boxes: Float[Tensor, "*#batch N 4"], others: Float[Tensor, "*#batch M 4"]
) -> Float[Tensor, "*#batch N M"]:
    """Return the intersection over union (IoU) of every box with every other box, from 0 to 1.

    Law: symmetric, and unchanged when both sides are moved, mirrored or scaled together. A box without area has IoU 0
    with every box, itself included, so a padding row of zeros overlaps nothing.
    """
    x1, y1, x2, y2 = boxes.unsqueeze(-2).unbind(-1)  # [*batch, N, 1] each
    other_x1, other_y1, other_x2, other_y2 = others.unsqueeze(-3).unbind(-1)  # [*batch, 1, M] each
    # In place, because memory traffic limits the speed for many boxes, not arithmetic.
    intersection = torch.minimum(x2, other_x2).sub_(torch.maximum(x1, other_x1)).clamp_(min=0)
    intersection.mul_(torch.minimum(y2, other_y2).sub_(torch.maximum(y1, other_y1)).clamp_(min=0))
    union = (area(boxes).unsqueeze(-1) + area(others).unsqueeze(-2)).sub_(intersection)
    return intersection.div_(union.clamp_(min=torch.finfo(union.dtype).tiny))


def paired_overlap(
    boxes: Float[Tensor, "*batch 4"], others: Float[Tensor, "*batch 4"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return the IoU (0 to 1) and the generalised IoU (-1 to 1) of each box with the other box at the same position.

    GIoU is the IoU minus the share of the smallest enclosing box that neither box covers. Boxes that do not overlap all
    have IoU 0; their GIoU falls with their distance.

    Source: Rezatofighi et al. 2019, arXiv:1902.09630.
    """
    (start, end), (other_start, other_end) = boxes.split(2, dim=-1), others.split(2, dim=-1)
    intersection = area(torch.cat([torch.maximum(start, other_start), torch.minimum(end, other_end)], dim=-1))
    hull = area(torch.cat([torch.minimum(start, other_start), torch.maximum(end, other_end)], dim=-1))
    union = area(boxes) + area(others) - intersection
    iou = intersection / union.clamp(min=SMALLEST_AREA)
    return iou, iou - (hull - union) / hull.clamp(min=SMALLEST_AREA)


def encode(boxes: Float[Tensor, "*#batch 4"], anchors: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*#batch 4"]:
    """Return the offsets `(dx / w, dy / h, log w' / w, log h' / h)` from each anchor to its box.

    Centre shifts are in units of the anchor's size (w, h), so that offsets mean the same at every scale.
    Law: `decode(encode(boxes, anchors), anchors)` returns the boxes. A box without width or height gets a finite, very
    negative log size, so that a masked padding row never turns a loss into NaN.

    Args:
        anchors: boxes of positive width and height.

    Source: Girshick et al., "Rich feature hierarchies", appendix C (arXiv:1311.2524).
    """
    centres, sizes = _centres_and_sizes(boxes)
    anchor_centres, anchor_sizes = _centres_and_sizes(anchors)
    scales = (sizes / anchor_sizes).clamp(min=torch.finfo(sizes.dtype).tiny)
    return torch.cat([(centres - anchor_centres) / anchor_sizes, scales.log()], dim=-1)


def decode(offsets: Float[Tensor, "*#batch 4"], anchors: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*#batch 4"]:
    """Return the boxes at `offsets` from `anchors`: the inverse of `encode`.

    Offsets of zero give the anchor itself. Log sizes are limited to `MAXIMUM_LOG_SCALE`.
    """
    anchor_centres, anchor_sizes = _centres_and_sizes(anchors)
    shifts, log_scales = offsets.split(2, dim=-1)
    centres = anchor_centres + shifts * anchor_sizes
    half_sizes = anchor_sizes * log_scales.clamp(max=MAXIMUM_LOG_SCALE).exp() / 2
    return torch.cat([centres - half_sizes, centres + half_sizes], dim=-1)


def _centres_and_sizes(boxes: Float[Tensor, "*batch 4"]) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch 2"]]:
    """Return the centres `(x, y)` and sizes `(width, height)` of the boxes in pixels."""
    top_left, bottom_right = boxes.split(2, dim=-1)
    return (top_left + bottom_right) / 2, bottom_right - top_left
