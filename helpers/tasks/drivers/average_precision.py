"""Drivers for average precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor


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
