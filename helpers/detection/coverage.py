"""How well a set of anchors covers objects: what no training can add, known before any network.

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
    """Returns for each object the IoU of the anchor that fits it best."""
    return torch.cat([compute_iou(some, anchors).amax(dim=1) for some in boxes.split(OBJECTS_AT_ONCE)])


def compute_guaranteed_iou(
    sizes: Float[Tensor, " N"],
    feature_map_sizes: Sequence[tuple[int, int]] = FEATURE_MAP_SIZES,
    anchor_scales: Sequence[Sequence[int | float]] = ANCHOR_SCALES,
    image_size: int = 224,
    aspect_ratios: Sequence[int | float] = (1.0,),
) -> Float[Tensor, " N"]:
    """Returns the IoU that a square object of each size reaches with its best anchor wherever it lies in the image.

    The worst place is half a stride from the nearest cell centre, both across and down. Two intervals of lengths s and
    a with centres d / 2 apart share `min(s, a, (s + a - d) / 2)`, at least 0; the best anchor at the worst place is the
    guarantee. It is reached: where the corner of a coarse cell is also a corner of a fine one, as with strides that
    double, one place is the worst for all levels at once.

    Args:
        sizes: sides of the objects in pixels.
        feature_map_sizes: as for `generate_anchors`, and so are the rest.
    """
    sizes = sizes.unsqueeze(-1)
    ratios = torch.tensor(aspect_ratios, dtype=torch.float32).sqrt()
    best = torch.zeros_like(sizes)
    for (height, width), scales in zip(feature_map_sizes, anchor_scales, strict=True):
        scales = torch.tensor(scales, dtype=torch.float32).unsqueeze(-1)
        across = _share(sizes, (scales / ratios).flatten(), image_size / width)
        down = _share(sizes, (scales * ratios).flatten(), image_size / height)
        anchor_areas = scales.square().expand(-1, len(ratios)).flatten()
        intersection = across * down
        iou = intersection / (sizes.square() + anchor_areas - intersection)
        best = torch.maximum(best, iou.amax(dim=1, keepdim=True))
    return best.squeeze(-1)


def _share(sizes: Float[Tensor, "N 1"], lengths: Float[Tensor, " A"], stride: float) -> Float[Tensor, "N A"]:
    """Returns how many pixels intervals share whose centres are half a stride apart."""
    return torch.minimum(torch.minimum(sizes, lengths), (sizes + lengths - stride) / 2).clamp(min=0)
