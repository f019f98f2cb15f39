"""Drivers for any function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def call(function: Callable[..., Any], *inputs: Any, **keywords: Any) -> Any:
    """Return what the function returns."""
    return function(*inputs, **keywords)


def call_swapped(function: Callable[..., Any], first: Any, second: Any) -> Any:
    """Return what the function returns for its two arguments exchanged."""
    return function(second, first)


def compute_gradient(function: Callable[..., Any], variable: Tensor, *inputs: Any) -> Tensor:
    """Return the gradient of the sum of the function's results by its first argument."""
    variable = variable.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(variable, *inputs).sum(), variable)
    return gradient
