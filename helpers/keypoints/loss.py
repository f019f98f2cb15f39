"""Keypoint losses per point, and their permutation-invariant form for two hands that look alike.

Shape letters: B batch, K points, h w map, n cells around a point.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from helpers.keypoints.codecs import Codec, DSNTCodec
from helpers.keypoints.heatmaps import find_expectations, spatial_softmax
from helpers.keypoints.scenes import HANDS, IMAGE_SIZE

Loss = Literal["mse", "l1", "laplace", "simcc", "dsnt"]

DSNT_SIGMA = 1.0
"""Cells: standard deviation of the Gaussian in DSNT's regularisation term (Nibali et al. 2018, section 4.4)."""
DSNT_REACH = 6
"""Cells on each side of a point that contain all but 1e-9 of a Gaussian of that width."""
SMALLEST_SCALE = 1e-3
"""Smallest scale of the Laplace distribution, as a share of the image's side (an eighth of a pixel); keeps the loss
finite."""


class KeypointLoss(nn.Module):
    """Loss of a batch: the mean over all points, computed in float32.

    - "mse": squared difference to the codec's targets, averaged over a map's cells or the two coordinates (handout).
    - "l1": absolute difference to the codec's targets.
    - "laplace": negative log-likelihood of the coordinates under a Laplace distribution whose scale the network
      predicts: an L1 loss that the network weights by its own uncertainty. It is the residual log-likelihood estimation
      of Li et al. 2021 (https://arxiv.org/abs/2107.11291) without the normalising flow. The flow learns one shape of
      the distribution for all points and images; here the shape that matters, two possible hands, differs between
      images.
    - "simcc": Kullback-Leibler divergence of each axis' distribution from its target (Li et al. 2022,
      https://arxiv.org/abs/2107.03332).
    - "dsnt": distance between expected and true point, in units of half the image's side, plus the Jensen-Shannon
      divergence of the distribution from a Gaussian at the point, because the expectation alone does not determine the
      distribution (Nibali et al. 2018, https://arxiv.org/abs/1801.07372).

    Args:
        kind: one of the five above.
        codec: encodes the targets; "dsnt" needs a `DSNTCodec`.
        permutation_invariant: use, for each image, the smaller loss of the two assignments of the true hands to the
            predicted ones. With a fixed assignment, the loss is lowest for a hedge: half a peak at both hands, or a
            point between them.

    Raises:
        ValueError: the codec does not fit the kind.
    """

    def __init__(self, kind: Loss, codec: Codec, permutation_invariant: bool = False) -> None:
        super().__init__()
        if kind == "dsnt" and not isinstance(codec, DSNTCodec):
            raise ValueError(f"loss 'dsnt' needs a DSNTCodec, not {type(codec).__name__}")
        self.kind = kind
        self.codec = codec
        self.permutation_invariant = permutation_invariant

    def forward(
        self, outputs: Float[Tensor, "B K *output"], points: Float[Tensor, "B K 2"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Return the mean loss as "loss".

        Args:
            outputs: of the network.
            points: true points, (x, y) in pixels.
        """
        predictions = self.normalize(outputs.float())
        if self.permutation_invariant:
            points = self.assign_hands(predictions, points)
        return {"loss": self.compute_point_losses(predictions, points).mean()}

    def normalize(self, outputs: Float[Tensor, "B K *output"]) -> Float[Tensor, "B K *output"]:
        """Return logits as probabilities ("dsnt") or log-probabilities ("simcc"), and other outputs as they are.

        This step is expensive, since it uses all cells of a map, and does not depend on the true points. So it is done
        once for both assignments of the hands.
        """
        match self.kind:
            case "dsnt":
                return spatial_softmax(outputs)
            case "simcc":
                return outputs.log_softmax(-1)
            case _:
                return outputs

    @torch.no_grad()
    def assign_hands(
        self, predictions: Float[Tensor, "B K *output"], points: Float[Tensor, "B K 2"]
    ) -> Float[Tensor, "B K 2"]:
        """Return the true points, with the hands exchanged in each image where this has the smaller loss.

        The minimum of two losses has the gradient of the smaller one, so the choice needs no gradients.
        """
        predicted_hands, hands = predictions[:, HANDS], points[:, HANDS]
        exchanged = hands.flip(1)
        loss_exchanged = self.compute_point_losses(predicted_hands, exchanged).sum(1)
        loss_annotated = self.compute_point_losses(predicted_hands, hands).sum(1)
        points = points.clone()
        points[:, HANDS] = torch.where((loss_exchanged < loss_annotated).view(-1, 1, 1), exchanged, hands)
        return points

    def compute_point_losses(
        self, predictions: Float[Tensor, "B K *output"], points: Float[Tensor, "B K 2"]
    ) -> Float[Tensor, "B K"]:
        """Return the loss of each point.

        Args:
            predictions: returned by `normalize`: probabilities for "dsnt", log-probabilities for "simcc", else the
                outputs of the network.
            points: true points, (x, y) in pixels.
        """
        if self.kind == "dsnt" and isinstance(self.codec, DSNTCodec):
            cells = points * (self.codec.size / IMAGE_SIZE)  # [B, K, 2], in cells of the map
            distances = (find_expectations(predictions) - cells).norm(dim=-1)  # [B, K]
            distances = distances * (2 / self.codec.size)  # from cells to halves of the image's side, as in the paper
            return distances + jensen_shannon_divergence(predictions, cells)
        targets = self.codec.encode(points)
        match self.kind:
            case "mse":
                losses = F.mse_loss(predictions, targets, reduction="none")
            case "l1":
                losses = (predictions - targets).abs()
            case "laplace":
                coordinates, scales = predictions.chunk(2, dim=-1)  # [B, K, 2] each
                scales = scales.clamp(min=SMALLEST_SCALE)
                losses = (coordinates - targets).abs() / scales + (2 * scales).log()
            case "simcc":
                losses = F.kl_div(predictions, targets, reduction="none").sum(-1)
            case _:
                raise ValueError(f"loss is {self.kind!r}; choose one of {', '.join(get_args(Loss))}")
        return losses.flatten(2).mean(-1)  # [B, K]: the mean over the cells of a map, or over x and y


def jensen_shannon_divergence(p: Float[Tensor, "B K h w"], points: Float[Tensor, "B K 2"]) -> Float[Tensor, "B K"]:
    """Return the Jensen-Shannon divergence, 0 to log 2, of each distribution p from a Gaussian at its point.

    It is half of Σ p log(p / m) + Σ q log(q / m), with q the Gaussian's share of a cell and m = (p + q) / 2. Both p and
    q sum to 1, so this is log 2 + ½ Σ (p log(p / 2m) + q log(q / 2m)). Terms with q = 0 are 0, so a window around the
    point contains the whole sum. The derivative by p is log(p / 2m) / 2, because the terms from the derivative of m
    cancel. So everything but the factor p is computed without gradients.

    Args:
        p: distributions; each map sums to 1.
        points: (x, y) in cells.
    """
    with torch.no_grad():
        index, q = _compute_gaussian_window(points, p.shape[-1])
    p_window = p.flatten(2).gather(-1, index)
    with torch.no_grad():
        log_sum = _log(p_window + q)
        p_factor, q_factor = _log(p_window) - log_sum, _log(q) - log_sum
    return math.log(2) + ((p_window * p_factor).sum(-1) + (q * q_factor).sum(-1)) / 2


def _compute_gaussian_window(
    points: Float[Tensor, "B K 2"], size: int
) -> tuple[Int[Tensor, "B K n"], Float[Tensor, "B K n"]]:
    """Return the flat indices of the cells around each point, and a Gaussian's share of each cell; shares sum to 1.

    A window that would leave the map is shifted into it, so that it contains no cell twice.
    """
    side = min(2 * DSNT_REACH + 1, size)
    first = (points.floor() - DSNT_REACH).clamp(0, size - side)
    places = first.unsqueeze(-1) + torch.arange(side, device=points.device)
    columns, rows = places.long().unbind(-2)
    # The softmax of negative squares is a Gaussian that sums to 1; the two-dimensional one is a product of two.
    x, y = (-0.5 * ((places + 0.5 - points.unsqueeze(-1)) / DSNT_SIGMA).square()).softmax(-1).unbind(-2)
    index = rows.unsqueeze(-1) * size + columns.unsqueeze(-2)
    return index.flatten(2), (y.unsqueeze(-1) * x.unsqueeze(-2)).flatten(2)


def _log(shares: Float[Tensor, "B K n"]) -> Float[Tensor, "B K n"]:
    """Return finite logarithms, also of cells whose probability is 0."""
    return shares.clamp(min=1e-30).log()
