"""Anchor coverage: the IoU that each object reaches with its best anchor, before any training.

Shape letters: N objects, A anchors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.detection.anchors import ANCHOR_SCALES, FEATURE_MAP_SIZES
from helpers.detection.boxes import compute_iou

OBJECTS_AT_ONCE = 80  # x 12348 anchors x 4 bytes = 4 MB of overlaps: they stay in a CPU's cache


def compute_best_iou(boxes: Float[Tensor, "N 4"], anchors: Float[Tensor, "A 4"]) -> Float[Tensor, " N"]:
    """Return for each object the highest IoU with any anchor."""
    parts = boxes.split(OBJECTS_AT_ONCE)  # a few objects at a time, to save memory
    return torch.cat([compute_iou(part, anchors).amax(dim=1) for part in parts])


def compute_guaranteed_iou(
    sizes: Float[Tensor, " N"],
    feature_map_sizes: Sequence[tuple[int, int]] = FEATURE_MAP_SIZES,
    anchor_scales: Sequence[Sequence[int | float]] = ANCHOR_SCALES,
    image_size: int = 224,
    aspect_ratios: Sequence[int | float] = (1.0,),
) -> Float[Tensor, " N"]:
    """Return the lowest IoU of a square object of each size with its best anchor, over all positions in the image.

    The worst position is half a stride from the nearest cell centre, both across and down. The best anchor at the worst
    position gives the guaranteed IoU. If each stride is twice the one before, one position is the worst for all levels
    at once: a corner of a coarse cell is also a corner of finer cells. With other strides the result is only a lower
    bound: there may be no position with so low an IoU.

    Args:
        sizes: sides of the objects in pixels.
        feature_map_sizes: (height, width) of each level.
        anchor_scales: sizes of each level, the square root of the anchors' area in pixels.
        image_size: height and width of the image in pixels.
        aspect_ratios: height / width of the anchors.
    """
    best_iou = torch.zeros_like(sizes)
    for (height, width), scales in zip(feature_map_sizes, anchor_scales, strict=True):
        for scale in scales:
            for ratio in aspect_ratios:
                anchor_width, anchor_height = scale / ratio**0.5, scale * ratio**0.5  # of area scale²
                shared_width = compute_shared_length(sizes, anchor_width, image_size / width)
                shared_height = compute_shared_length(sizes, anchor_height, image_size / height)
                intersection = shared_width * shared_height
                iou = intersection / (sizes**2 + scale**2 - intersection)
                best_iou = torch.maximum(best_iou, iou)
    return best_iou


def compute_shared_length(sizes: Float[Tensor, " N"], length: float, stride: float) -> Float[Tensor, " N"]:
    """Return the length in pixels that two intervals share if their centres are half a stride apart.

    Args:
        sizes: lengths of the first interval, pixels.
        length: of the second interval, pixels.
        stride: pixels.
    """
    smaller = sizes.clamp(max=length)
    return torch.minimum(smaller, (sizes + length - stride) / 2).clamp(min=0)
