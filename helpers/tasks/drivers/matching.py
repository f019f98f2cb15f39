"""Drivers for anchor matching and hard-negative mining."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from helpers.tasks.drivers.boxes import draw_boxes


def match(function: Callable[..., Any], *inputs: Any, **keywords: Any) -> dict[str, Any]:
    """Return the result of a matching, without what the contract leaves free.

    Labels of anchors that are neither positive nor negative become 0. Only boxes of positive anchors are returned.
    """
    labels, boxes, positive, negative = function(*inputs, **keywords)
    is_positive, is_negative = torch.as_tensor(positive).bool(), torch.as_tensor(negative).bool()
    used_labels = torch.where(is_positive | is_negative, torch.as_tensor(labels), 0)
    return {
        "positive": is_positive,
        "negative": is_negative,
        "labels (0 where free)": used_labels,
        "boxes of the positive anchors": torch.as_tensor(boxes)[is_positive],
    }


def mine(function: Callable[..., Any], *inputs: Any, **keywords: Any) -> list[int]:
    """Return the sorted numbers of the chosen anchors."""
    return _list_chosen(function(*inputs, **keywords))


def mine_freely(function: Callable[..., Any], loss: Tensor, positive: Tensor, negative: Tensor) -> dict[str, bool]:
    """Return whether all chosen anchors are negative, for inputs that leave their number free."""
    chosen = _list_chosen(function(loss, positive, negative))
    return {"all chosen anchors are negative": all(bool(negative[anchor]) for anchor in chosen)}


def count_mined(function: Callable[..., Any], loss: Tensor, positive: Tensor, negative: Tensor) -> dict[str, Any]:
    """Return the number of chosen anchors, and whether all are negative, for losses that leave the choice free."""
    chosen = _list_chosen(function(loss, positive, negative))
    is_negative = [bool(negative[anchor]) for anchor in chosen]
    return {"number of chosen anchors": len(chosen), "all chosen anchors are negative": all(is_negative)}


def _list_chosen(chosen: Any) -> list[int]:
    """Return the numbers of anchors that a mask or a list of numbers stands for."""
    chosen = torch.as_tensor(chosen)
    if chosen.dtype == torch.bool:
        chosen = chosen.nonzero()
    return sorted(int(anchor) for anchor in chosen.flatten().tolist())


def time_matching(function: Callable[..., Any], num_anchors: int, num_objects: int) -> int:
    """Match random anchors to random objects, and return the number of results."""
    labels = torch.zeros(num_objects, dtype=torch.int64)
    return len(function(draw_boxes(num_anchors), draw_boxes(num_objects), labels))


def time_mining(function: Callable[..., Any], num_anchors: int) -> int:
    """Choose hard negatives among random losses, one anchor of a hundred being positive; return their number."""
    positive = torch.arange(num_anchors) % 100 == 0
    return len(_list_chosen(function(torch.rand(num_anchors), positive, ~positive)))
