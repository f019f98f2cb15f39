"""Drivers for functions of boxes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def time_pairs(function: Callable[[Tensor, Tensor], Tensor], num_anchors: int, num_objects: int) -> list[int]:
    """Return the shape of the function's result for random anchors and objects, as many as a lesson has."""
    anchors, objects = draw_boxes(num_anchors), draw_boxes(num_objects)
    return list(function(anchors, objects).shape)


def draw_boxes(count: int) -> Tensor:
    """Return random boxes [count, 4] inside an image of 224 pixels, 16 to 96 pixels wide and high."""
    sizes = 16 + 80 * torch.rand(count, 2)
    corners = torch.rand(count, 2) * (224 - sizes)
    return torch.cat([corners, corners + sizes], dim=1)
