"""Drivers of box geometry: boxes without size, the gradient of a box, and the way there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SMALLEST_LOG_SIZE = -10.0
"""A finite log size below this one is returned as this one: how small it is, is free."""


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
