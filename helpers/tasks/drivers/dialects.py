"""Drivers of the box dialects: what a file holds, and a way there and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def write_json(to_coco: Callable[[Tensor], Any], boxes: Tensor) -> Any:
    """Return what a JSON file holds after the function's result was written to it.

    Raises:
        TypeError: JSON has no text for the result, as for a tensor.
    """
    return json.loads(json.dumps(to_coco(boxes)))


def write_then_read(to_coco: Callable[[Tensor], Any], to_corners: Callable[[Any], Any], boxes: Tensor) -> Any:
    """Return the corners that come back from a JSON file."""
    return to_corners(write_json(to_coco, boxes))


def read_then_write(to_corners: Callable[[Any], Any], to_coco: Callable[[Tensor], Any], boxes: list) -> Any:
    """Return what a JSON file holds after its boxes were read and written again."""
    return write_json(to_coco, torch.as_tensor(to_corners(boxes)))
