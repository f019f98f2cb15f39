"""What a keypoint network is punished for, point by point, and how hands that look alike are spared it.

Shape letters: B batch, K points.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from helpers.keypoints.codecs import HANDS, Codec, generate_heatmap
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
        losses = self.per_point(outputs, points)
        total = losses.sum(1)
        if self.exchangeable_hands:
            exchanged = self.per_point(outputs[:, HANDS], points[:, HANDS].flip(1)).sum(1)
            total = total - (losses[:, HANDS].sum(1) - exchanged).clamp(min=0)  # min(a, b) is a - max(a - b, 0)
        return {"loss": total.mean() / points.shape[1]}

    def per_point(self, outputs: Float[Tensor, "B K *output"], points: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K"]:
        """Returns the loss of each point for itself."""
        if self.kind == "dsnt":
            distances = (self.codec.decode(outputs).points - points).norm(dim=-1) * (2 / IMAGE_SIZE)
            return distances + divergence(outputs, generate_heatmap(points, outputs.shape[-1], DSNT_SIGMA))
        targets = self.codec.encode(points)
        match self.kind:
            case "mse":
                losses = (outputs - targets).square()
            case "l1":
                losses = (outputs - targets).abs()
            case "rle":
                coordinates, spreads = outputs.chunk(2, dim=-1)
                spreads = spreads.clamp(min=SMALLEST_SPREAD)
                losses = (coordinates - targets).abs() / spreads + (2 * spreads).log()
            case "simcc":
                losses = F.kl_div(outputs.log_softmax(-1), targets, reduction="none").sum(-1)
        return losses.flatten(2).mean(-1)


def divergence(logits: Float[Tensor, "B K h w"], maps: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K"]:
    """Returns the Jensen-Shannon divergence of each softmax from the distribution proportional to a map, 0 to log 2.

    Worked in logarithms, so that cells with (next to) no probability cost nothing and have finite gradients.
    """
    log_p = logits.flatten(2).log_softmax(-1)
    q = maps.flatten(2) / maps.sum((-2, -1)).unsqueeze(-1)
    log_q = q.clamp(min=1e-30).log()
    log_middle = torch.logaddexp(log_p, log_q) - math.log(2)
    return (log_p.exp() * (log_p - log_middle) + q * (log_q - log_middle)).sum(-1) / 2
