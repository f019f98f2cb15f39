"""Drivers of box geometry: many boxes, boxes without size, the gradient of a box, and the way there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SMALLEST_LOG_SIZE = -10.0
"""A finite log size below this one is returned as this one: how small it is, is free."""


def time_pairs(function: Callable[[Tensor, Tensor], Tensor], num_anchors: int, num_objects: int) -> list[int]:
    """Return the shape of the function's result for random anchors and objects, as many as a lesson has."""
    anchors, objects = draw_boxes(num_anchors), draw_boxes(num_objects)
    return list(function(anchors, objects).shape)


def time_rows(function: Callable[[Tensor, Tensor], Tensor], num_rows: int) -> list[int]:
    """Return the shape of the function's result for random boxes and as many anchors."""
    return time_pairs(function, num_rows, num_rows)


def draw_boxes(count: int) -> Tensor:
    """Return random boxes [count, 4] inside an image of 224 pixels, 16 to 96 pixels wide and high."""
    sizes = 16 + 80 * torch.rand(count, 2)
    corners = torch.rand(count, 2) * (224 - sizes)
    return torch.cat([corners, corners + sizes], dim=1)


def encode_small(encode: Callable[..., Any], boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the offsets; finite numbers below `SMALLEST_LOG_SIZE` are raised to it."""
    offsets = torch.as_tensor(encode(boxes, anchors))
    return torch.where(offsets.isfinite(), offsets.clamp(min=SMALLEST_LOG_SIZE), offsets)


def encode_then_decode(encode: Callable[..., Any], decode: Callable[..., Any], boxes: Tensor, anchors: Tensor) -> Any:
    """Return the boxes that come back from their offsets; `encode` is the task."""
    return decode(torch.as_tensor(encode(boxes, anchors)).to(anchors), anchors)


def decode_what_was_encoded(
    decode: Callable[..., Any], encode: Callable[..., Any], boxes: Tensor, anchors: Tensor
) -> Any:
    """Return the boxes that come back from their offsets; `decode` is the task."""
    return encode_then_decode(encode, decode, boxes, anchors)


def compute_offset_gradient(decode: Callable[..., Tensor], offsets: Tensor, anchors: Tensor) -> Tensor:
    """Return the gradient of the offsets, if the loss weights the corners of each box by 1, 2, 3 and 4."""
    variable = offsets.clone().requires_grad_()
    corners = decode(variable, anchors)
    (gradient,) = torch.autograd.grad((corners * torch.arange(1.0, 5.0)).sum(), variable)
    return gradient
