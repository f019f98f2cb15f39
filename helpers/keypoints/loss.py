"""What a keypoint network is punished for, point by point, and how hands that look alike are spared it.

Shape letters: B batch, K points, h w map, n cells around a point.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from helpers.keypoints.codecs import Codec, find_expectations, soften
from helpers.keypoints.scenes import HANDS, IMAGE_SIZE

Loss = Literal["mse", "l1", "rle", "simcc", "dsnt"]

DSNT_SIGMA = 1.0
"""Cells: the width that DSNT's regulariser asks of a distribution (Nibali et al. 2018, section 4.4)."""
DSNT_REACH = 6
"""Cells on each side of a point that hold all but 1e-9 of a Gaussian of that width."""
SMALLEST_SPREAD = 1e-3
"""Share of the image's side, an eighth of a pixel: a network that is surer of a point than that learns nothing new."""


class KeypointLoss(nn.Module):
    """Returns the loss of a batch: the mean over all points, computed in float32.

    - "mse": squared difference to the codec's targets, the mean over a map's cells or the two coordinates (handout).
    - "l1": absolute difference instead.
    - "rle": negative log-likelihood of coordinates under a Laplace distribution whose spread the network predicts, and
      so an L1 loss that the network itself weighs by how sure it is (Li et al. 2021, "Residual Log-likelihood
      Estimation"). The paper also learns the distribution's shape by a normalising flow, one for all points and
      images. It is left out: the shape that matters here, two hands to choose from, differs from image to image.
    - "simcc": Kullback-Leibler divergence of each axis' distribution from its target (Li et al. 2022).
    - "dsnt": distance between expected and true point, where the image's half side is 1, plus the Jensen-Shannon
      divergence of the distribution from a Gaussian at the point, which the expectation alone would leave free
      (Nibali et al. 2018).

    Args:
        kind: which of the five.
        codec: what the network is asked for, and for "dsnt" how it is read.
        exchangeable_hands: per image the smaller loss of the two ways to name the hands. Punished for each wrong guess
            of a name, the best that a network can do is to hedge: half a peak at both hands, or a point between them.
    """

    def __init__(self, kind: Loss, codec: Codec, exchangeable_hands: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.codec = codec
        self.exchangeable_hands = exchangeable_hands

    def forward(
        self, outputs: Float[Tensor, "B K *output"], points: Float[Tensor, "B K 2"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Returns "loss".

        Args:
            outputs: of the network.
            points: the truth, (x, y) in pixels.
        """
        answers = self.interpret(outputs.float())
        if self.exchangeable_hands:
            points = self.name_hands(answers, points)
        return {"loss": self.per_point(answers, points).mean()}

    def interpret(self, outputs: Float[Tensor, "B K *output"]) -> Float[Tensor, "B K *output"]:
        """Returns what the outputs say, whatever the truth: logits become probabilities or their logarithms.

        All cells of a map take part in this; done once, it serves naming the hands and the loss.
        """
        match self.kind:
            case "dsnt":
                return soften(outputs)
            case "simcc":
                return outputs.log_softmax(-1)
            case _:
                return outputs

    @torch.no_grad()
    def name_hands(
        self, answers: Float[Tensor, "B K *output"], points: Float[Tensor, "B K 2"]
    ) -> Float[Tensor, "B K 2"]:
        """Returns the points with each image's hands named as costs less.

        The smaller of two losses has the smaller one's gradient: which one that is can be settled without gradients.
        """
        hands, named = answers[:, HANDS], points[:, HANDS]
        exchanged = named.flip(1)
        cheaper = self.per_point(hands, exchanged).sum(1) < self.per_point(hands, named).sum(1)
        points = points.clone()
        points[:, HANDS] = torch.where(cheaper.view(-1, 1, 1), exchanged, named)
        return points

    def per_point(self, answers: Float[Tensor, "B K *output"], points: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K"]:
        """Returns the loss of each point for itself, of outputs that are interpreted already."""
        if self.kind == "dsnt":
            cells = points * (self.codec.size / IMAGE_SIZE)
            distances = (find_expectations(answers) - cells).norm(dim=-1) * (2 / self.codec.size)
            return distances + divergence(answers, cells)
        targets = self.codec.encode(points)
        match self.kind:
            case "mse":
                losses = F.mse_loss(answers, targets, reduction="none")
            case "l1":
                losses = (answers - targets).abs()
            case "rle":
                coordinates, spreads = answers.chunk(2, dim=-1)
                spreads = spreads.clamp(min=SMALLEST_SPREAD)
                losses = (coordinates - targets).abs() / spreads + (2 * spreads).log()
            case "simcc":
                losses = F.kl_div(answers, targets, reduction="none").sum(-1)
        return losses.flatten(2).mean(-1)


def divergence(p: Float[Tensor, "B K h w"], points: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K"]:
    """Returns the Jensen-Shannon divergence, 0 to log 2, of each distribution p from a Gaussian at its point.

    Half of Σ p log(p / m) + Σ q log(q / m), with q the Gaussian's share of a cell and m = (p + q) / 2. Both sum to 1,
    so that is log 2 + ½ Σ (p log(p / 2m) + q log(q / 2m)). Where q vanishes so does its term: a window around the point
    holds the whole sum. The derivative by p is log(p / 2m) / 2 and no more, because what the change of m adds cancels.
    So all but the factor p is computed without gradients.

    Args:
        p: sums to 1 over each map.
        points: (x, y) in cells.
    """
    with torch.no_grad():
        index, q = _draw_gaussian(points, p.shape[-1])
    near = p.flatten(2).gather(-1, index)
    with torch.no_grad():
        log_both = _log(near + q)
        p_gain, q_gain = _log(near) - log_both, _log(q) - log_both
    return math.log(2) + ((near * p_gain).sum(-1) + (q * q_gain).sum(-1)) / 2


def _draw_gaussian(points: Float[Tensor, "B K 2"], size: int) -> tuple[Int[Tensor, "B K n"], Float[Tensor, "B K n"]]:
    """Returns the numbers of the cells around each point, row by row, and a Gaussian's share of each; shares sum to 1.

    The window is moved into the map where it would stick out, so that it holds no cell twice.
    """
    side = min(2 * DSNT_REACH + 1, size)
    first = (points.floor() - DSNT_REACH).clamp(0, size - side)
    places = first.unsqueeze(-1) + torch.arange(side, device=points.device)
    columns, rows = places.long().unbind(-2)
    # A softmax of squares is a Gaussian that sums to 1, and the two-dimensional one is the product of two of these.
    x, y = (-0.5 * ((places + 0.5 - points.unsqueeze(-1)) / DSNT_SIGMA).square()).softmax(-1).unbind(-2)
    index = rows.unsqueeze(-1) * size + columns.unsqueeze(-2)
    return index.flatten(2), (y.unsqueeze(-1) * x.unsqueeze(-2)).flatten(2)


def _log(shares: Float[Tensor, "B K n"]) -> Float[Tensor, "B K n"]:
    """Returns finite logarithms, also of cells without any probability."""
    return shares.clamp(min=1e-30).log()
