"""Heatmaps: the Gaussian target of a point, and the decoders that compute a point from a map.

Cell i of a map covers [i, i + 1) on the map's axis, so its centre is at i + 0.5 cells or (i + 0.5) · stride pixels,
with stride = 128 / map size. Decoders work in cells; `codecs.HeatmapCodec` converts to pixels.

Shape letters: B batch, K points, h w map, S side of a window.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from helpers.keypoints.scenes import IMAGE_SIZE

Decoder = Literal["argmax", "quarter", "dark", "local"]

LOG_FLOOR = 1e-6
"""Smallest map value whose logarithm is taken; lower values, which may be negative, are raised to it."""
WINDOW_RADIUS = 2
"""Cells on each side of the peak in the window of the local soft-argmax: 5 × 5, as in the paper."""
SHARP_SIGMA = 0.65
"""Cells. With a smaller sigma the cells undersample the weights; with a larger one the window cuts the weights off."""


def generate_heatmap(points: Float[Tensor, "*B 2"], size: int, sigma: float) -> Float[Tensor, "*B {size} {size}"]:
    """Return one Gaussian map per point, of value 1 at the point itself, evaluated at the centres of all cells.

    The Gaussian exp(-(dx² + dy²) / 2σ²) is the outer product of a column and a row, so 2 · size exponentials per point
    give all size² values. No value is cut off or rounded, so points at the border need no special case.

    Args:
        points: (x, y) pixels, sub-pixel positions included.
        size: cells per side of the map.
        sigma: standard deviation, cells.
    """
    centres = torch.arange(size, device=points.device) + 0.5
    distances = points.unsqueeze(-1) * (size / IMAGE_SIZE) - centres
    rows_and_columns = torch.exp(-0.5 * (distances / sigma).square())
    return rows_and_columns[..., 1, :, None] * rows_and_columns[..., 0, None, :]


# Decoders that start at the peak. All positions are in cells of the map.


def find_peaks(maps: Float[Tensor, "B K h w"]) -> tuple[Int[Tensor, "B K 2"], Float[Tensor, "B K"]]:
    """Return the (column, row) of each map's highest cell, and its value."""
    values, index = maps.flatten(-2).max(-1)
    width = maps.shape[-1]
    return torch.stack([index % width, index // width], dim=-1), values


def peak_centres(maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"]) -> Float[Tensor, "B K 2"]:
    """Return the centres of the peaks' cells: up to half a cell from the point on each axis, even for perfect maps."""
    return peaks + 0.5


def quarter_offset(maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"]) -> Float[Tensor, "B K 2"]:
    """Return the centres of the peaks' cells, moved by a quarter of a cell towards the higher neighbour on each axis.

    The error is at most a quarter of a cell on each axis for perfect maps.

    Source: Newell et al. 2016, "Stacked Hourglass Networks", https://arxiv.org/abs/1603.06937.
    """
    gradient, _ = _differentiate_logs(maps, peaks)
    return peaks + 0.5 + 0.25 * gradient.sign()


def dark(maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"]) -> Float[Tensor, "B K 2"]:
    """Return the maximum of a Gaussian through the cells around each peak, by one Newton step on the logarithm.

    The logarithm of a Gaussian is a parabola, which three cells per axis determine. One step from the peak, -H⁻¹g,
    reaches the parabola's maximum, so the result is exact for Gaussians. Where the logarithm is not concave there is no
    maximum, and the centre of the peak's cell is returned. The step is limited to that cell, because the maximum of a
    Gaussian lies in its highest cell.

    The paper blurs the maps first, because maps of photographs have many small peaks. Maps of these drawings are
    smooth, and a blur would move points at the border inwards, so it is left out.

    Source: Zhang et al. 2020, "Distribution-Aware Coordinate Representation" (DARK), https://arxiv.org/abs/1910.06278.
    """
    gradient, hessian = _differentiate_logs(maps, peaks)
    (xx, xy), (yx, yy) = (row.unbind(-1) for row in hessian.unbind(-2))
    determinant = xx * yy - xy * yx
    concave = (xx < 0) & (determinant > 0)
    adjugate = torch.stack([torch.stack([yy, -xy], -1), torch.stack([-yx, xx], -1)], -2)
    step = -_apply(adjugate, gradient) / torch.where(concave, determinant, 1.0).unsqueeze(-1)
    return peaks + 0.5 + torch.where(concave.unsqueeze(-1), step, 0.0).clamp(-0.5, 0.5)


def local_soft_argmax(
    maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"], sigma: float
) -> Float[Tensor, "B K 2"]:
    """Return the mean position of the 5 × 5 cells around each peak, weighted by a softmax of their logarithms.

    The logarithms are multiplied by (σ / 0.65)² before the softmax. This factor makes a Gaussian of any sigma as narrow
    as one of 0.65 cells, which fits into the window. Where the window does not fit into the map, the mean of the
    remaining cells would lie too far inwards, and the result of `dark` is returned instead.

    Args:
        sigma: of the Gaussians that the network was trained on, cells.

    Source: Bulat et al. 2021, "Subpixel Heatmap Regression", https://arxiv.org/abs/2111.02360.
    """
    offsets = torch.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1, device=maps.device)
    logs = _gather_windows(maps, peaks, WINDOW_RADIUS).clamp(min=LOG_FLOOR).log()  # [B, K, 5, 5]
    weights = (logs * (sigma / SHARP_SIGMA) ** 2).flatten(-2).softmax(-1).view_as(logs)  # of each window, sum 1
    mean_x = (weights.sum(-2) * offsets).sum(-1)  # the sum over the rows is one weight per column
    mean_y = (weights.sum(-1) * offsets).sum(-1)  # the sum over the columns is one weight per row
    means = torch.stack([mean_x, mean_y], dim=-1)
    return torch.where(_fits(maps, peaks, WINDOW_RADIUS), peaks + 0.5 + means, dark(maps, peaks))


def _differentiate_logs(
    maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"]
) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K 2 2"]]:
    """Return gradient and Hessian of the maps' logarithms at the peaks, by central differences.

    A peak at the border lacks a neighbour. There the differences are taken one cell further in, and the Hessian
    extrapolates the gradient to the peak, which is exact for a parabola and therefore for a Gaussian.
    """
    height, width = maps.shape[-2:]
    centres = peaks.clamp(min=1).minimum(peaks.new_tensor([width - 2, height - 2]))
    logs = _gather_windows(maps, centres, 1).clamp(min=LOG_FLOOR).log()
    x, y = logs[..., 1, :], logs[..., :, 1]
    xx, yy = (axis[..., 0] - 2 * axis[..., 1] + axis[..., 2] for axis in (x, y))
    xy = (logs[..., 0, 0] - logs[..., 0, 2] - logs[..., 2, 0] + logs[..., 2, 2]) / 4
    gradient = torch.stack([x[..., 2] - x[..., 0], y[..., 2] - y[..., 0]], dim=-1) / 2
    hessian = torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], dim=-2)
    return gradient + _apply(hessian, (peaks - centres).to(gradient)), hessian


def _apply(matrices: Float[Tensor, "B K 2 2"], vectors: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K 2"]:
    """Return each matrix times its vector."""
    return (matrices * vectors.unsqueeze(-2)).sum(-1)


def _gather_windows(
    maps: Float[Tensor, "B K h w"], centres: Int[Tensor, "B K 2"], radius: int
) -> Float[Tensor, "B K S S"]:
    """Return the cells around each centre; cells beyond the border repeat the border's."""
    height, width = maps.shape[-2:]
    offsets = torch.arange(-radius, radius + 1, device=maps.device)
    columns, rows = (centres.unsqueeze(-1) + offsets).unbind(-2)
    index = rows.clamp(0, height - 1).unsqueeze(-1) * width + columns.clamp(0, width - 1).unsqueeze(-2)
    return maps.flatten(-2).gather(-1, index.flatten(-2)).view(index.shape)


def _fits(maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"], radius: int) -> Bool[Tensor, "B K 1"]:
    """Return whether the window around each peak lies in the map."""
    height, width = maps.shape[-2:]
    return ((peaks >= radius) & (peaks < peaks.new_tensor([width - radius, height - radius]))).all(-1, keepdim=True)


# Decoders that average over all cells


def find_expectations(probabilities: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K 2"]:
    """Return the mean position under each map, in cells; each map must sum to 1."""
    column_sums = probabilities.sum(-2)  # [B, K, w]
    row_sums = probabilities.sum(-1)  # [B, K, h]
    x = (column_sums * (torch.arange(column_sums.shape[-1], device=column_sums.device) + 0.5)).sum(-1)
    y = (row_sums * (torch.arange(row_sums.shape[-1], device=row_sums.device) + 0.5)).sum(-1)
    return torch.stack([x, y], dim=-1)


def soft_argmax(maps: Float[Tensor, "B K h w"], temperature: float = 1.0) -> Float[Tensor, "B K 2"]:
    """Return the mean position, in pixels, under the softmax of each map / temperature.

    A network that is trained through this function learns logits that suit it. A map trained by mean squared error has
    values from 0 to 1: its peak has weight e¹ = 2.7, and each of the thousands of empty cells has weight e⁰ = 1, so the
    mean stays near the map's centre unless the temperature is low.

    Source: Sun et al. 2018, "Integral Human Pose Regression", https://arxiv.org/abs/1711.08229.
    """
    return find_expectations(spatial_softmax(maps.float() / temperature)) * (IMAGE_SIZE / maps.shape[-1])


def spatial_softmax(logits: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K h w"]:
    """Return the softmax over all cells of each map."""
    return logits.flatten(-2).softmax(-1).view_as(logits)
