"""The codecs' law at sub-pixel positions everywhere, the decoders by hand, and what each is said to be unable to do."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.keypoints.codecs import (
    Codec,
    CoordinateCodec,
    DSNTCodec,
    HeatmapCodec,
    SimCCCodec,
    dark,
    decode_exchangeable,
    find_peaks,
    generate_heatmap,
    soft_argmax,
)

DECODERS = ("argmax", "quarter", "dark", "local")
SIZES = (16, 32, 64, 128)
SIGMAS = (1.0, 1.5, 2.0, 3.0, 4.0)
ROUNDING = 1e-3  # pixels: of two cells that are equally near, rounding chooses


def everywhere() -> torch.Tensor:
    """Returns points [B, 5, 2] in the whole image: a sub-pixel grid, random ones, and ones on and near the border."""
    grid = torch.arange(0, 128.1, 5.3)
    edge = torch.tensor([0.0, 0.01, 0.3, 0.5, 1.2, 2.9, 4.0, 124.0, 126.3, 127.4, 127.99, 128.0])
    along = torch.cat([edge, torch.rand(30, generator=torch.Generator().manual_seed(0)) * 128])
    points = [
        torch.cartesian_prod(grid, grid),
        torch.cartesian_prod(edge, along),
        torch.cartesian_prod(along, edge),
        torch.rand(500, 2, generator=torch.Generator().manual_seed(1)) * 128,
    ]
    points = torch.cat(points)
    return points[: len(points) // 5 * 5].view(-1, 5, 2)


def say_perfectly(codec: Codec, points: torch.Tensor) -> torch.Tensor:
    """Returns what a network that has learned everything outputs for `points`."""
    if isinstance(codec, SimCCCodec):
        return codec.encode(points).log()
    if isinstance(codec, DSNTCodec):  # logits whose mean is the point, or the nearest place that a mean can be
        cells = (points * codec.size / 128).clamp(0.5, codec.size - 0.5)
        tents = (1 - (cells.unsqueeze(-1) - torch.arange(codec.size) - 0.5).abs()).clamp(min=0).log()
        return tents[..., 1, :, None] + tents[..., 0, None, :]
    return codec.encode(points)


def largest_error(codec: Codec, points: torch.Tensor, dtype: torch.dtype = torch.float32) -> float:
    decoded = codec.decode(say_perfectly(codec, points).to(dtype)).points
    assert decoded.dtype == torch.float32
    return (decoded - points).abs().max().item()


HEATMAPS = [HeatmapCodec(size, sigma, decoder) for size in SIZES for sigma in SIGMAS for decoder in DECODERS]
OTHERS = [CoordinateCodec(), *(SimCCCodec(bins) for bins in (1, 2, 4)), *(DSNTCodec(size) for size in SIZES)]


@pytest.mark.parametrize("codec", [*HEATMAPS, *OTHERS], ids=str)
def test_what_is_said_perfectly_is_understood_to_within_the_resolution(codec):
    assert isinstance(codec, Codec)
    points = everywhere()[:: codec.size // 16 if isinstance(codec, HeatmapCodec) else 1]
    assert largest_error(codec, points) <= codec.resolution + ROUNDING
