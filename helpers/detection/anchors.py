"""Anchor boxes, and the one order that anchors and flattened predictions share.

The order is: level, row, column, anchor of the cell (size, then ratio). Shape letters: L levels, `h w` a feature map,
A anchors per cell, K numbers predicted per anchor, B batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

FEATURE_MAP_SIZES = ((56, 56), (28, 28), (14, 14))
"""(height, width) of the backbone's three feature maps for an image of 224 x 224 pixels (handout, part A)."""
ANCHOR_SCALES = ((16, 24, 32), (48, 64, 96), (96, 128, 192))
"""Anchor sizes in pixels (square root of the area) on each of the three levels (handout, part A)."""


def generate_anchors(
    feature_map_sizes: Sequence[tuple[int, int]] = FEATURE_MAP_SIZES,
    anchor_scales: Sequence[Sequence[int | float]] = ANCHOR_SCALES,
    image_size: int = 224,
    aspect_ratios: Sequence[int | float] = (1.0,),
) -> list[Float[Tensor, "_num_anchors 4"]]:
    """Return the anchors of each level as boxes [h * w * A, 4] in pixels, A = sizes x ratios.

    Every cell of a feature map has the same A boxes around its centre `(i + 0.5) * stride`, with
    `stride = image_size / h`. Anchors may reach beyond the image: they are neither
    clipped nor rounded.

    Args:
        feature_map_sizes: (height, width) of each level.
        anchor_scales: the anchor sizes of each level, square root of the area in pixels.
        image_size: height and width of the image in pixels.
        aspect_ratios: height / width of the anchors, the same on every level.
    """
    ratios = torch.tensor(aspect_ratios, dtype=torch.float32).sqrt()
    anchors = []
    for (height, width), scales in zip(feature_map_sizes, anchor_scales, strict=True):
        y = (torch.arange(height) + 0.5) * (image_size / height)
        x = (torch.arange(width) + 0.5) * (image_size / width)
        sizes = torch.tensor(scales, dtype=torch.float32).unsqueeze(-1)
        half_sizes = torch.stack([sizes / ratios, sizes * ratios], dim=-1).reshape(-1, 2) / 2  # [A, (w, h) / 2]
        centres = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).unsqueeze(-2)  # [h, w, 1, (x, y)]
        anchors.append(torch.cat([centres - half_sizes, centres + half_sizes], dim=-1).reshape(-1, 4))
    return anchors


def flatten_predictions(
    maps: Sequence[Float[Tensor, "B channels _h _w"]], num_anchors: int
) -> Float[Tensor, "B num_predictions K"]:
    """Return the predictions of all levels in one tensor, in the order of `generate_anchors`.

    Prediction i belongs to row i of `torch.cat(generate_anchors(...))`.

    Args:
        maps: one map [B, A * K, h, w] per level; the K numbers of one anchor are neighbours on the channel axis.
        num_anchors: A, anchors per cell.
    """
    return torch.cat([level.unflatten(1, (num_anchors, -1)).permute(0, 3, 4, 1, 2).flatten(1, 3) for level in maps], 1)
