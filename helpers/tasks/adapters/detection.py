"""Adapters of the tasks about detection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]


def compute_iou(function: Function) -> dict[str, Function]:
    """Return the replacement of the workbook's function, with leading axes that broadcast."""

    def replacement(boxes: Tensor, others: Tensor) -> Tensor:
        shape = (boxes.shape[-2], others.shape[-2])
        leading = torch.broadcast_shapes(boxes.shape[:-2], others.shape[:-2])
        if others.dim() == 2:  # one call: each row of the result depends on one box alone
            iou = function(boxes.reshape(-1, 4), others)
            return torch.as_tensor(iou).to(boxes).reshape(*leading, *shape)
        boxes = boxes.expand(*leading, *boxes.shape[-2:]).flatten(0, -3)
        others = others.expand(*leading, *others.shape[-2:]).flatten(0, -3)
        result = boxes.new_zeros(len(boxes), *shape)
        for image in range(len(boxes)):
            result[image] = torch.as_tensor(function(boxes[image], others[image]))
        return result.reshape(*leading, *shape)

    return {"helpers.detection.boxes.compute_iou": replacement}
