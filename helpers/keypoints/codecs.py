"""Codecs: points as targets of a network and back, by heatmaps, coordinates, SimCC or DSNT.

`encode` turns points in pixels into the target of the network, `decode` turns the network's outputs into points in
pixels. Pixel i covers [i, i + 1).

Law of all codecs: `decode` of perfect outputs for x returns x to within `resolution` pixels on each axis, for any x in
the image. Perfect outputs are the targets themselves for heatmaps and coordinates, logits whose softmax is the target
for SimCC, and logits whose expectation is x for DSNT.

Shape letters: B batch, K points, h w map, D bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.keypoints.hand_pairs import decode_hand_pair
from helpers.keypoints.heatmaps import (
    Decoder,
    dark,
    find_expectations,
    find_peaks,
    generate_heatmap,
    local_soft_argmax,
    peak_centres,
    quarter_offset,
    spatial_softmax,
)
from helpers.keypoints.scenes import HANDS, IMAGE_SIZE


class Decoded(NamedTuple):
    """Decoded points and their confidence scores."""

    points: Float[Tensor, "B K 2"]  # (x, y) pixels
    scores: Float[Tensor, "B K"]  # a map's peak, a probability, or 1 where a codec has no confidence


@runtime_checkable
class Codec(Protocol):
    """Encoder of points into targets, and decoder of a network's outputs into points; points are in pixels."""

    @property
    def resolution(self) -> float:
        """Return the largest error, in pixels on each axis, of the points decoded from perfect outputs."""
        ...

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Tensor:
        """Return the target of the network."""
        ...

    def decode(self, outputs: Tensor) -> Decoded:
        """Return the points of the network's outputs; computed in float32 for outputs of any precision."""
        ...


@dataclass(frozen=True)
class HeatmapCodec:
    """Heatmaps: one map per point, with a Gaussian of height 1 at the point."""

    size: int = 64  # cells per side
    sigma: float = 2.0  # cells
    decoder: Decoder = "dark"
    joint_hands: bool = False  # decode both hands together by `decode_hand_pair`, whatever the decoder

    def __post_init__(self) -> None:
        """Raise ValueError if there is no such decoder: else it would be noticed after the training."""
        if self.decoder not in get_args(Decoder):
            raise ValueError(f"decoder is {self.decoder!r}; choose one of {', '.join(get_args(Decoder))}")

    @property
    def resolution(self) -> float:
        """Return half a cell for argmax, a quarter for the quarter offset, else 1/100; at least sigma / 3 if joint."""
        cells = {"argmax": 0.5, "quarter": 0.25, "dark": 0.01, "local": 0.01}[self.decoder]
        return self.stride * (max(cells, self.sigma / 3) if self.joint_hands else cells)

    @property
    def stride(self) -> float:
        """Return the pixels per cell."""
        return IMAGE_SIZE / self.size

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Float[Tensor, "*B K h w"]:
        """Return the target maps."""
        return generate_heatmap(points, self.size, self.sigma)

    def decode(self, outputs: Float[Tensor, "B K h w"]) -> Decoded:
        """Return the points, and the values of the maps' peaks as scores."""
        maps = outputs.float()
        peaks, scores = find_peaks(maps)
        match self.decoder:
            case "argmax":
                cells = peak_centres(maps, peaks)
            case "quarter":
                cells = quarter_offset(maps, peaks)
            case "dark":
                cells = dark(maps, peaks)
            case "local":
                cells = local_soft_argmax(maps, peaks, self.sigma)
        if self.joint_hands:
            cells[:, HANDS] = decode_hand_pair(maps[:, HANDS], self.sigma)
        return Decoded(cells * self.stride, scores)


@dataclass(frozen=True)
class CoordinateCodec:
    """Coordinates: two numbers per point, each a share of the image's side, the range of a sigmoid."""

    @property
    def resolution(self) -> float:
        """Return the rounding error of float32."""
        return 1e-4

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Float[Tensor, "*B K 2"]:
        """Return the points as shares of the image's side, 0..1."""
        return points / IMAGE_SIZE

    def decode(self, outputs: Float[Tensor, "B K 2"]) -> Decoded:
        """Return the points; coordinates contain no confidence, so every score is 1."""
        points = outputs.float() * IMAGE_SIZE
        return Decoded(points, torch.ones_like(points[..., 0]))


@dataclass(frozen=True)
class SimCCCodec:
    """SimCC: two classifications per point, one of the column and one of the row.

    A bin is half a pixel wide, and yet a point takes only 2 · 256 outputs, where a map of 64 × 64 cells takes 4096. The
    targets are Gaussian, so that a bin near the right one costs less than one far away.

    Source: Li et al. 2022, "SimCC", https://arxiv.org/abs/2107.03332.
    """

    bins_per_pixel: int = 2
    sigma: float = 6.0  # bins

    @property
    def resolution(self) -> float:
        """Return half a bin."""
        return 0.5 / self.bins_per_pixel

    @property
    def num_bins(self) -> int:
        """Return the bins per axis."""
        return IMAGE_SIZE * self.bins_per_pixel

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Float[Tensor, "*B K 2 D"]:
        """Return the target distributions over columns and over rows."""
        centres = torch.arange(self.num_bins, device=points.device) + 0.5
        distances = points.unsqueeze(-1) * self.bins_per_pixel - centres
        return (-0.5 * (distances / self.sigma).square()).softmax(-1)

    def decode(self, outputs: Float[Tensor, "B K 2 D"]) -> Decoded:
        """Return the centres of the most probable bins; a score is the product of the probabilities of its two bins."""
        probabilities, bins = outputs.float().softmax(-1).max(-1)
        return Decoded((bins + 0.5) / self.bins_per_pixel, probabilities.prod(-1))


@dataclass(frozen=True)
class DSNTCodec:
    """DSNT (differentiable spatial to numerical transform): a point is the mean position under a map of probabilities.

    Only the mean has a target, the map itself has none. `decode` is differentiable, so a loss may be computed on the
    points.

    Source: Nibali et al. 2018, "Numerical Coordinate Regression", https://arxiv.org/abs/1801.07372.
    """

    size: int = 64  # cells per side

    @property
    def resolution(self) -> float:
        """Return half a cell, in pixels.

        A mean cannot lie beyond the centres of the outermost cells, which are half a cell from the border. Elsewhere
        the only error is the rounding of float32.
        """
        return IMAGE_SIZE / self.size / 2

    def encode(self, points: Float[Tensor, "*B K 2"]) -> Float[Tensor, "*B K 2"]:
        """Return the points in the units of the paper: -1 and 1 at the image's borders, 0 in its middle."""
        return points * (2 / IMAGE_SIZE) - 1

    def decode(self, outputs: Float[Tensor, "B K h w"]) -> Decoded:
        """Return the mean positions under the softmax of the logits; scores are the highest probabilities of a cell."""
        probabilities = spatial_softmax(outputs.float())
        return Decoded(find_expectations(probabilities) * (IMAGE_SIZE / self.size), probabilities.amax((-2, -1)))
