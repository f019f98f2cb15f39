"""Drivers of the keypoint tasks: maps that are drawn and decoded again, and results at a readable scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

IMAGE_SIZE = 128


def decode_drawn_points(
    decode: Callable[..., Any], generate: Callable[..., Any], points: Tensor, size: int, sigma: float, *arguments: Any
) -> Any:
    """Return the points that a decoder reads off the maps which another function has drawn of `points`.

    Args:
        decode: from maps to points.
        generate: from points to maps.
        points: (x, y) pixels.
        size: rows, and columns, of each map.
        sigma: of the Gaussians, cells.
        arguments: of the decoder, after the maps.
    """
    return decode(generate(points, size, size, sigma), *arguments)


def multiply_by_cells(function: Callable[..., Any], height: int, width: int, sigma: float) -> Any:
    """Return the function's result times the number of cells: a sum over the map in place of a mean."""
    return function(height, width, sigma) * (height * width)


def call_twice(function: Callable[..., Any], image: Tensor, points: Tensor) -> Any:
    """Return what the function returns for its own result: a figure that is mirrored twice."""
    return function(*function(image, points))


# Workloads: one call as a lesson makes it, with inputs that the driver draws.


def draw_random_points(generate: Callable[..., Any], num_points: int, size: int, sigma: float) -> Any:
    """Return the maps of random points."""
    return generate(torch.rand(num_points, 2) * IMAGE_SIZE, size, size, sigma)


def decode_random_maps(decode: Callable[..., Any], num_maps: int, size: int, *arguments: Any) -> Any:
    """Return the points of random maps."""
    return decode(torch.rand(num_maps, size, size), *arguments)


def score_random_figures(score: Callable[..., Any], num_figures: int, *arguments: Any) -> Any:
    """Return the score of random figures against others."""
    predicted, true = torch.rand(2, num_figures, 5, 2) * IMAGE_SIZE
    return score(predicted, true, *arguments)
