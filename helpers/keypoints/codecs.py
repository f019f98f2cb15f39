"""Points as a network sees them, and back: heatmaps, coordinates, SimCC and DSNT behind one interface.

A codec encodes points into what a network is asked for and decodes what it answers. Pixels are outside, always:
`(x, y)`, pixel i covering [i, i + 1). Inside, cell i of a map covers [i, i + 1) of the map's own cells, so its centre
is at i + 0.5 cells or (i + 0.5) · stride pixels, with stride = 128 / map size.

All codecs obey one law: `decode` of perfect outputs for x returns x to within `resolution` pixels on each axis, for x
anywhere in the image. Perfect outputs are what a network that has learned everything would say: the targets themselves
for heatmaps and coordinates, logits whose softmax is the target for SimCC, logits whose expectation is x for DSNT.

Shape letters: B batch, K points, h w map, D bins, S side of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from helpers.keypoints.scenes import HANDS, IMAGE_SIZE

Decoder = Literal["argmax", "quarter", "dark", "local"]


class Decoded(NamedTuple):
    """Where the points are, and how sure the outputs are of each."""

    points: Float[Tensor, "B K 2"]  # (x, y) pixels
    scores: Float[Tensor, "B K"]  # a map's peak, a probability, or 1 where a codec has no opinion


@runtime_checkable
class Codec(Protocol):
    """Translates points in pixels into targets, and a network's outputs into points in pixels."""

    @property
    def resolution(self) -> float:
        """Returns how far, in pixels on each axis, the decoded points of perfect outputs may be from the truth."""

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Tensor:
        """Returns what the network is asked for."""

    def decode(self, outputs: Tensor) -> Decoded:
        """Returns the points that the network's outputs say; computed in float32 whatever the outputs are."""


# Heatmaps: the target


def generate_heatmap(points: Float[Tensor, "*B 2"], size: int, sigma: float) -> Float[Tensor, "*B {size} {size}"]:
    """Returns one map per point: a Gaussian of value 1 at the point itself, evaluated at the centres of all cells.

    exp(-(dx² + dy²) / 2σ²) is a product of a column and a row: of the 2 · size exponentials that this takes per point,
    an outer product makes the size² values. Nothing is cut off or rounded, so the border needs no special case.

    Args:
        points: (x, y) pixels, sub-pixel positions included.
        size: cells per side of the map.
        sigma: in cells.
    """
    centres = torch.arange(size, device=points.device) + 0.5
    distances = points.unsqueeze(-1) * (size / IMAGE_SIZE) - centres
    rows_and_columns = torch.exp(-0.5 * (distances / sigma).square())
    return rows_and_columns[..., 1, :, None] * rows_and_columns[..., 0, None, :]


# Heatmaps: from the peak's cell to the point. All positions below are in cells of the map.

LOG_FLOOR = 1e-6
"""Stands for map values that have no logarithm."""
WINDOW_RADIUS = 2
"""Cells on each side of the peak that the local soft-argmax sees: 5 × 5, as in the paper."""
SHARP_SIGMA = 0.65
"""Cells. Sharper, and the cells undersample the weights; blunter, and the window cuts them off."""


def find_peaks(maps: Float[Tensor, "B K h w"]) -> tuple[Int[Tensor, "B K 2"], Float[Tensor, "B K"]]:
    """Returns the (column, row) of each map's highest cell, and its value."""
    values, index = maps.flatten(-2).max(-1)
    width = maps.shape[-1]
    return torch.stack([index % width, index // width], dim=-1), values


def argmax(maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"]) -> Float[Tensor, "B K 2"]:
    """Returns the centres of the peaks' cells: half a cell off at worst, however good the maps are."""
    return peaks + 0.5


def quarter_offset(maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"]) -> Float[Tensor, "B K 2"]:
    """Returns the centres of the peaks' cells, moved by a quarter of a cell towards the higher neighbour on each axis.

    A quarter of a cell off at worst (Newell et al. 2016, "Stacked Hourglass Networks").
    """
    gradient, _ = _differentiate_logs(maps, peaks)
    return peaks + 0.5 + 0.25 * gradient.sign()


def dark(maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"]) -> Float[Tensor, "B K 2"]:
    """Returns the tops of the Gaussians: the logarithm of one is a parabola, which three cells per axis determine.

    One Newton step from the peak, -H⁻¹g, lands on the parabola's top (Zhang et al. 2020, "Distribution-Aware
    Coordinate Representation", DARK). Exact for Gaussians. Where the logarithms curve upwards there is no top, and the
    centre of the peak's cell is returned. A step never leaves that cell: a Gaussian's top lies in its highest cell.
    The paper first blurs the maps, because on photographs they have many small peaks; on drawings they are smooth, and
    a blur would pull points at the border inwards.
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
    """Returns the mean position of the 5 × 5 cells around each peak, weighted by a softmax of their logarithms.

    (Bulat et al. 2021, "Subpixel Heatmap Regression".) The temperature (0.65 / σ)² sharpens a Gaussian of any sigma to
    one of 0.65 cells, which the window holds entire. Where it does not fit into the map, the mean of the cells that are
    left would lie inwards of the point; there DARK answers.
    """
    offsets = torch.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1, device=maps.device)
    logs = _gather_windows(maps, peaks, WINDOW_RADIUS).clamp(min=LOG_FLOOR).log()
    weights = (logs * (sigma / SHARP_SIGMA) ** 2).flatten(-2).softmax(-1).view_as(logs)
    means = torch.stack([(weights.sum(axis) * offsets).sum(-1) for axis in (-2, -1)], dim=-1)
    return torch.where(_fits(maps, peaks, WINDOW_RADIUS), peaks + 0.5 + means, dark(maps, peaks))


def _differentiate_logs(
    maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"]
) -> tuple[Float[Tensor, "B K 2"], Float[Tensor, "B K 2 2"]]:
    """Returns gradient and Hessian of the maps' logarithms at the peaks, by central differences.

    A peak at the border has no neighbour outside. The differences are then taken one cell further in, and the Hessian
    carries the gradient back to the peak: for a parabola, hence for a Gaussian, that is no approximation.
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
    """Returns each matrix times its vector."""
    return (matrices * vectors.unsqueeze(-2)).sum(-1)


def _gather_windows(
    maps: Float[Tensor, "B K h w"], centres: Int[Tensor, "B K 2"], radius: int
) -> Float[Tensor, "B K S S"]:
    """Returns the cells around each centre; those beyond the border repeat the border's."""
    height, width = maps.shape[-2:]
    offsets = torch.arange(-radius, radius + 1, device=maps.device)
    columns, rows = (centres.unsqueeze(-1) + offsets).unbind(-2)
    index = rows.clamp(0, height - 1).unsqueeze(-1) * width + columns.clamp(0, width - 1).unsqueeze(-2)
    return maps.flatten(-2).gather(-1, index.flatten(-2)).view(index.shape)


def _fits(maps: Float[Tensor, "B K h w"], peaks: Int[Tensor, "B K 2"], radius: int) -> Bool[Tensor, "B K 1"]:
    """Returns whether the window around each peak lies in the map."""
    height, width = maps.shape[-2:]
    return ((peaks >= radius) & (peaks < peaks.new_tensor([width - radius, height - radius]))).all(-1, keepdim=True)


# Two hands that look alike

FIT_ROUNDS = 12
LARGEST_STEP = (1.0, 1.0, 1.0, 1.0, 0.2, 1.0)
"""What a round may change: x, y, x, y in cells, the width's logarithm and the height."""
PRODUCTS = (0, 2, 1, 3, 4, 4, 4, 4, 5, 5)
"""For each product of a column and a row in `compare_pair`, which of these six it belongs to."""
BLOB_LEVEL = 0.2
"""Share of the highest value from which a cell belongs to the hands: below it lies the noise of a whole empty map."""


def decode_exchangeable(maps: Float[Tensor, "B 2 h w"], sigma: float) -> Float[Tensor, "B 2 2"]:
    """Returns two points, in cells, that together explain two maps which may have confused them.

    Asked for points that it cannot tell apart, a network shows both in both maps. Their sum, whatever the network knows
    about names, is close to G(p) + G(q). Its two highest peaks are not enough: Gaussians less than 2 sigma apart melt
    into one, and a third of the handout's hands are as close as that. So p, q and the Gaussians' common width and
    height are fitted to the whole sum by least squares (damped Gauss-Newton), and hands that coincide need no rule of
    their own. Which of the two points is the first is what the given maps prefer.

    Exact for targets. Only of points that nearly coincide the sum hardly tells the distance: they are found to within
    sigma / 25, and to within sigma / 3 where the border hides half of them.

    Args:
        maps: of the two points, as predicted.
        sigma: of the Gaussians that the network was taught, in cells.
    """
    size = maps.shape[-1]
    total = maps.sum(1)
    height = total.amax((1, 2)).unsqueeze(1)
    with torch.autocast(maps.device.type, enabled=False):  # normal equations do not survive half precision
        fit = torch.cat([_split_blob(total).flatten(1), torch.full_like(height, sigma).log(), height], dim=1)
        limits = fit.new_tensor(LARGEST_STEP)
        for _ in range(FIT_ROUNDS):
            normal, slope = compare_pair(fit, total)
            damping = torch.diag_embed(1e-3 * normal.diagonal(dim1=-2, dim2=-1) + LOG_FLOOR)
            step = torch.linalg.solve(normal + damping, slope).squeeze(-1)
            fit = fit + step.maximum(-limits).minimum(limits)
    points = fit[:, :4].view(-1, 2, 2).clamp(0, size)
    alone = generate_heatmap(points * (IMAGE_SIZE / size), size, sigma)
    agreement = ((maps[:, 0] - maps[:, 1]) * (alone[:, 0] - alone[:, 1])).sum((-2, -1))
    return torch.where(agreement.view(-1, 1, 1) < 0, points.flip(1), points)


def _split_blob(total: Float[Tensor, "B h w"]) -> Float[Tensor, "B 2 2"]:
    """Returns where the fit of two points begins: the centres of the two halves of all that stands out in a map.

    Two Gaussians vary most along the line that joins them: all is cut in two across that line, in the middle. The
    halves' own centres are right also where one Gaussian is the fainter, or cut by the border.
    """
    weights = total * (total > BLOB_LEVEL * total.amax((1, 2), keepdim=True))
    weights = weights / weights.sum((1, 2), keepdim=True).clamp(min=LOG_FLOOR)
    centres = torch.arange(total.shape[-1], device=total.device) + 0.5
    x, y = (centres - find_expectations(weights.unsqueeze(1)).mT).unbind(1)
    by_column, by_row = weights.sum(1), weights.sum(2)
    half_difference = ((by_column * x * x).sum(1) - (by_row * y * y).sum(1)) / 2
    covariance = ((weights @ x.unsqueeze(2)).squeeze(2) * y).sum(1)
    angle = torch.atan2(covariance, half_difference) / 2  # of the longer axis of the covariance's ellipse
    along = y.unsqueeze(2) * angle.sin().view(-1, 1, 1) + x.unsqueeze(1) * angle.cos().view(-1, 1, 1)
    halves = weights.unsqueeze(1) * torch.stack([along <= 0, along >= 0], dim=1)
    return find_expectations(halves) / halves.sum((2, 3)).clamp(min=LOG_FLOOR).unsqueeze(2)


def compare_pair(
    fit: Float[Tensor, "B 6"], total: Float[Tensor, "B h w"]
) -> tuple[Float[Tensor, "B 6 6"], Float[Tensor, "B 6 1"]]:
    """Returns JᵀJ and Jᵀr: r is what a pair of Gaussians lacks to `total`, J the pair's derivatives.

    The derivatives are by x, y, x, y, the width's logarithm and the height, and none of these maps is drawn. A Gaussian
    is a column times a row. So are its derivatives, with u the distance in widths: the one by a place has u / width
    times its line, and the one by the width is the sum of two that have u² times one line. The inner product of two
    such maps is the columns' times the rows', and with `total` it is column · total · row.
    """
    points, width, height = fit[:, :4].view(-1, 2, 2, 1), fit[:, 4].exp().view(-1, 1, 1, 1), fit[:, 5].view(-1, 1, 1)
    u = (torch.arange(total.shape[-1], device=total.device) + 0.5 - points) / width
    lines = torch.exp(-0.5 * u.square())
    x, y = lines.unbind(2)
    x_by_place, y_by_place = (height.unsqueeze(3) * lines * u / width).unbind(2)
    x_by_width, y_by_width = (height.unsqueeze(3) * lines * u.square()).unbind(2)
    rows = torch.cat([x_by_place, x, x_by_width, x, x], dim=1)
    columns = torch.cat([y, y_by_place, y, y_by_width, y], dim=1)
    # Of these ten products, five for each point, the derivatives are sums.
    terms = F.one_hot(torch.tensor(PRODUCTS, device=total.device)).mT.to(total.dtype)
    normal = terms @ ((columns @ columns.mT) * (rows @ rows.mT)) @ terms.mT
    shown = terms @ ((columns @ total) * rows).sum(-1, keepdim=True)
    return normal, shown - height * normal[:, :, 5:]  # the pair is its height times its derivative by the height


# Expectations: a mean over all cells instead of a peak


def find_expectations(probabilities: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K 2"]:
    """Returns the mean position under each map, in cells; a map sums to 1."""
    sums = probabilities.sum(-2), probabilities.sum(-1)
    centres = (torch.arange(line.shape[-1], device=line.device) + 0.5 for line in sums)
    return torch.stack([(line * centre).sum(-1) for line, centre in zip(sums, centres, strict=True)], dim=-1)


def soft_argmax(maps: Float[Tensor, "B K h w"], temperature: float = 1.0) -> Float[Tensor, "B K 2"]:
    """Returns the mean position, in pixels, under the softmax of each map / temperature.

    (Sun et al. 2018, "Integral Human Pose Regression".) A network trained through it makes logits that suit it. A map
    trained by MSE has values of 0 to 1: its peak weighs e¹ = 2.7, and each of the thousands of empty cells e⁰ = 1, so
    the mean hardly leaves the map's centre unless the temperature is low.
    """
    return find_expectations(soften(maps.float() / temperature)) * (IMAGE_SIZE / maps.shape[-1])


def soften(logits: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K h w"]:
    """Returns the softmax over all cells of each map."""
    return logits.flatten(-2).softmax(-1).view_as(logits)


# The codecs


@dataclass(frozen=True)
class HeatmapCodec:
    """One map per point, with a Gaussian of height 1 at the point."""

    size: int = 64  # cells per side
    sigma: float = 2.0  # cells
    decoder: Decoder = "dark"
    exchangeable: bool = False  # the hands are explained together, by `decode_exchangeable`, whatever the decoder

    @property
    def resolution(self) -> float:
        """Returns half a cell for argmax, a quarter for the quarter offset, 1 / 100 otherwise; sigma / 3 for hands."""
        cells = {"argmax": 0.5, "quarter": 0.25, "dark": 0.01, "local": 0.01}[self.decoder]
        return self.stride * (max(cells, self.sigma / 3) if self.exchangeable else cells)

    @property
    def stride(self) -> float:
        """Returns the pixels per cell."""
        return IMAGE_SIZE / self.size

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Float[Tensor, "*B K h w"]:
        """Returns the maps that the network is to predict."""
        return generate_heatmap(points, self.size, self.sigma)

    def decode(self, outputs: Float[Tensor, "B K h w"]) -> Decoded:
        """Returns the points, and the values of the maps' peaks as scores."""
        maps = outputs.float()
        peaks, scores = find_peaks(maps)
        if self.decoder == "local":
            cells = local_soft_argmax(maps, peaks, self.sigma)
        else:
            cells = {"argmax": argmax, "quarter": quarter_offset, "dark": dark}[self.decoder](maps, peaks)
        if self.exchangeable:
            cells[:, HANDS] = decode_exchangeable(maps[:, HANDS], self.sigma)
        return Decoded(cells * self.stride, scores)


@dataclass(frozen=True)
class CoordinateCodec:
    """Two numbers per point, each a share of the image's side: what a sigmoid can say."""

    @property
    def resolution(self) -> float:
        """Returns what float32 may round."""
        return 1e-4

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Float[Tensor, "*B K 2"]:
        """Returns the points in 0..1."""
        return points / IMAGE_SIZE

    def decode(self, outputs: Float[Tensor, "B K 2"]) -> Decoded:
        """Returns the points; numbers do not say how sure they are, so every score is 1."""
        points = outputs.float() * IMAGE_SIZE
        return Decoded(points, torch.ones_like(points[..., 0]))


@dataclass(frozen=True)
class SimCCCodec:
    """Two classifications per point, one of the column and one of the row (Li et al. 2022, "SimCC").

    A bin is narrower than a pixel, and yet a point takes 2 · 256 outputs where a map of 64 × 64 cells takes 4096. The
    targets are Gaussian, so that a near miss costs less than a far one.
    """

    bins_per_pixel: int = 2
    sigma: float = 6.0  # bins

    @property
    def resolution(self) -> float:
        """Returns half a bin."""
        return 0.5 / self.bins_per_pixel

    @property
    def num_bins(self) -> int:
        """Returns the bins per axis."""
        return IMAGE_SIZE * self.bins_per_pixel

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Float[Tensor, "*B K 2 D"]:
        """Returns the distributions over columns and over rows that the network's softmax is to predict."""
        centres = torch.arange(self.num_bins, device=points.device) + 0.5
        distances = points.unsqueeze(-1) * self.bins_per_pixel - centres
        return (-0.5 * (distances / self.sigma).square()).softmax(-1)

    def decode(self, outputs: Float[Tensor, "B K 2 D"]) -> Decoded:
        """Returns the centres of the likeliest bins of logits; the scores are the probabilities of both together."""
        probabilities, bins = outputs.float().softmax(-1).max(-1)
        return Decoded((bins + 0.5) / self.bins_per_pixel, probabilities.prod(-1))


@dataclass(frozen=True)
class DSNTCodec:
    """A point is the mean of a map that is a distribution, so the map needs no target of its own, only its mean does.

    (Nibali et al. 2018, "Numerical Coordinate Regression", the differentiable spatial to numerical transform.) `decode`
    is differentiable: a loss may be computed on the points themselves.
    """

    size: int = 64  # cells per side

    @property
    def resolution(self) -> float:
        """Returns half a cell: what the centres of the outermost cells are from the border, and no mean passes them.

        Everywhere further in, only float32 rounds.
        """
        return IMAGE_SIZE / self.size / 2

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Float[Tensor, "*B K 2"]:
        """Returns the points as the paper has them: -1 and 1 are the image's borders, 0 its middle."""
        return points * (2 / IMAGE_SIZE) - 1

    def decode(self, outputs: Float[Tensor, "B K h w"]) -> Decoded:
        """Returns the mean positions under the softmax of logits; the scores are the likeliest cells' probabilities."""
        probabilities = soften(outputs.float())
        return Decoded(find_expectations(probabilities) * (IMAGE_SIZE / self.size), probabilities.amax((-2, -1)))
