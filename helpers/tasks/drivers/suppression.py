"""Drivers for suppression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from helpers.tasks.drivers.boxes import draw_boxes


def list_indices(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return the rows that the function returns: a tensor, or the numbers of a list; one row alone is a list of one."""
    rows = function(*inputs)
    if isinstance(rows, Tensor) and rows.ndim == 0:
        return rows.reshape(1)
    if isinstance(rows, list | tuple):
        return [row.item() if isinstance(row, Tensor) and row.numel() == 1 else row for row in rows]
    return rows


def time_image(function: Callable[..., Any], count: int) -> int:
    """Return how many of `count` random boxes of an image the function keeps at IoU 0.5."""
    return len(list_indices(function, draw_boxes(count), torch.rand(count), 0.5))
