"""Drivers for receptive fields and for the analysis of scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def list_fields(function: Callable[..., Any], layers: list[list[int]]) -> list[list[float]]:
    """Return the width, the step and the first centre after each layer, as lists of numbers."""
    return [[float(number) for number in field] for field in function([tuple(layer) for layer in layers])]


def analyze(
    function: Callable[..., Any],
    detections: list[dict[str, Any]],
    targets: list[dict[str, Any]],
    limits: list[float],
    **keywords: Any,
) -> Any:
    """Return the shares; the limits are passed as a tuple."""
    return function(detections, targets, tuple(limits), **keywords)
