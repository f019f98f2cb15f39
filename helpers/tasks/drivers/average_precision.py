"""Drivers for average precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.tasks.drivers.boxes import draw_boxes


def call_with_arrays(function: Callable[..., Any], *inputs: Any) -> Any:
    """Return what the function returns for NumPy arrays in place of tensors; an array shares the tensor's memory."""
    return function(*(value.numpy() if isinstance(value, Tensor) else value for value in inputs))


def compute_ap_of_detections(
    compute_ap: Callable[..., Any],
    precision_recall_curve: Callable[..., Any],
    detections: dict[str, Tensor],
    targets: dict[str, Tensor],
    method: str,
) -> Any:
    """Return the AP of class 0 at IoU 0.5 with the student's own precision-recall curve."""
    recall, precision = precision_recall_curve(detections, targets, 0, 0.5)
    return compute_ap(np.asarray(recall, dtype=np.float64), np.asarray(precision, dtype=np.float64), method)


def time_curve(function: Callable[..., Any], num_images: int, per_image: int) -> int:
    """Return the number of points of the curve for random detections, `per_image` of each image with two targets."""
    count = num_images * per_image
    images = torch.arange(num_images)
    detections = {
        "boxes": draw_boxes(count),
        "scores": torch.rand(count),
        "labels": torch.zeros(count, dtype=torch.int64),
        "images": images.repeat(per_image),
    }
    targets = {
        "boxes": draw_boxes(2 * num_images),
        "labels": torch.zeros(2 * num_images, dtype=torch.int64),
        "images": images.repeat(2),
    }
    recall, _ = function(detections, targets, 0, 0.5)
    return len(recall)
