"""Drivers of anchors and of flattened predictions, and of the order that both share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def describe_levels(function: Callable[..., Any], *inputs: Any) -> list[Any]:
    """Return the shape, the first and the last anchor of each level; of a single tensor the shape alone."""
    levels = function(*inputs)
    if isinstance(levels, Tensor):
        return list(levels.shape)
    levels = [torch.as_tensor(level) for level in levels]
    return [{"shape": list(level.shape), "first": level[0], "last": level[-1]} for level in levels]


def find_painted_anchor(
    flatten_predictions: Callable[..., Any],
    generate_anchors: Callable[..., Any],
    feature_map_sizes: Sequence[Sequence[int]],
    anchor_scales: Sequence[Sequence[float]],
    image_size: int,
    place: Sequence[int],
) -> Any:
    """Return the anchors at the rows of the flattened predictions that belong to one painted anchor.

    All maps are 0 but for the numbers of one anchor of one cell, which are 1.

    Args:
        place: (level, row, column, number of the size) of the painted anchor.
    """
    num_anchors, num_outputs = len(anchor_scales[0]), 4
    maps = [torch.zeros(1, num_anchors * num_outputs, height, width) for height, width in feature_map_sizes]
    level, row, column, size = place
    maps[level][0, size * num_outputs : (size + 1) * num_outputs, row, column] = 1
    predictions = torch.as_tensor(flatten_predictions(maps, num_anchors))
    painted = predictions[0].any(dim=-1).nonzero()[:, 0]
    levels = generate_anchors(feature_map_sizes, anchor_scales, image_size)
    return torch.cat([torch.as_tensor(boxes) for boxes in levels])[painted]


def compute_map_gradients(
    flatten_predictions: Callable[..., Tensor], maps: Sequence[Tensor], num_anchors: int
) -> list[Tensor]:
    """Return the gradient of each map, if the loss weights the flattened numbers by 0, 1, 2, ... in their order."""
    variables = [level.clone().requires_grad_() for level in maps]
    predictions = flatten_predictions(variables, num_anchors)
    weights = torch.arange(predictions.numel(), dtype=predictions.dtype).reshape(predictions.shape)
    return list(torch.autograd.grad((predictions * weights).sum(), variables))
