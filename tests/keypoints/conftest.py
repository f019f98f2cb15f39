"""Fixtures of the keypoint tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session")
def points_everywhere() -> torch.Tensor:
    """Return points [B, 5, 2] in the whole image: a sub-pixel grid, random ones, and ones on and near the border."""
    grid = torch.arange(0, 128.1, 5.3)
    edge = torch.tensor([0.0, 0.01, 0.3, 0.5, 1.2, 2.9, 4.0, 124.0, 126.3, 127.4, 127.99, 128.0])
    along = torch.cat([edge, torch.rand(30, generator=torch.Generator().manual_seed(0)) * 128])
    points = torch.cat(
        [
            torch.cartesian_prod(grid, grid),
            torch.cartesian_prod(edge, along),
            torch.cartesian_prod(along, edge),
            torch.rand(500, 2, generator=torch.Generator().manual_seed(1)) * 128,
        ]
    )
    return points[: len(points) // 5 * 5].view(-1, 5, 2)
