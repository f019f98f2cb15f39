"""What a keypoint network is punished for, point by point, and how hands that look alike are spared it.

Shape letters: B batch, K points.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from helpers.keypoints.codecs import HANDS, Codec, find_expectations, generate_heatmap
from helpers.keypoints.scenes import IMAGE_SIZE

Loss = Literal["mse", "l1", "rle", "simcc", "dsnt"]

DSNT_SIGMA = 1.0
"""Cells: the width that DSNT's regulariser asks of a distribution (Nibali et al. 2018, section 4.4)."""
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
        outputs = outputs.float()
        if self.exchangeable_hands:
            points = self.name_hands(outputs, points)
        return {"loss": self.per_point(outputs, points).mean()}

    @torch.no_grad()
    def name_hands(
        self, outputs: Float[Tensor, "B K *output"], points: Float[Tensor, "B K 2"]
    ) -> Float[Tensor, "B K 2"]:
        """Returns the points with each image's hands named as costs less.

        The smaller of two losses has the smaller one's gradient: which one that is can be settled without gradients.
        """
        hands, named = outputs[:, HANDS], points[:, HANDS]
        exchanged = named.flip(1)
        cheaper = self.per_point(hands, exchanged).sum(1) < self.per_point(hands, named).sum(1)
        points = points.clone()
        points[:, HANDS] = torch.where(cheaper.view(-1, 1, 1), exchanged, named)
        return points

    def per_point(self, outputs: Float[Tensor, "B K *output"], points: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K"]:
        """Returns the loss of each point for itself."""
        if self.kind == "dsnt":
            probabilities = outputs.flatten(2).softmax(-1).view_as(outputs)
            expected = find_expectations(probabilities) * (IMAGE_SIZE / self.codec.size)
            distances = (expected - points).norm(dim=-1) * (2 / IMAGE_SIZE)
            return distances + divergence(probabilities, generate_heatmap(points, self.codec.size, DSNT_SIGMA))
        targets = self.codec.encode(points)
        match self.kind:
            case "mse":
                losses = F.mse_loss(outputs, targets, reduction="none")
            case "l1":
                losses = (outputs - targets).abs()
            case "rle":
                coordinates, spreads = outputs.chunk(2, dim=-1)
                spreads = spreads.clamp(min=SMALLEST_SPREAD)
                losses = (coordinates - targets).abs() / spreads + (2 * spreads).log()
            case "simcc":
                losses = F.kl_div(outputs.log_softmax(-1), targets, reduction="none").sum(-1)
        return losses.flatten(2).mean(-1)


def divergence(p: Float[Tensor, "B K h w"], maps: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K"]:
    """Returns the Jensen-Shannon divergence, 0 to log 2, of each distribution p from the one proportional to a map.

    Half of Σ p log(p / m) + Σ q log(q / m), with q the map's distribution and m = (p + q) / 2. Its derivative by p is
    log(p / m) / 2 and no more: what m's own change adds is -(p + q) / 2m + 1 = 0. So all but the factor p is computed
    without gradients, which halves the work.
    """
    with torch.no_grad():
        q = maps / maps.sum((-2, -1), keepdim=True)
        log_m = _log((p + q) / 2)
        p_gain, q_gain = _log(p) - log_m, _log(q) - log_m
    return ((p * p_gain).sum((-2, -1)) + (q * q_gain).sum((-2, -1))) / 2


def _log(shares: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K h w"]:
    """Returns finite logarithms, also of cells without any probability."""
    return shares.clamp(min=1e-30).log()
