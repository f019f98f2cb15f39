"""How good points are: the share found (PCK) and the mean error, what hands that look alike allow, and why points fail.

The handout's picture does not say which hand is the left one: exchanging the two redraws it to the last pixel. So every
measure comes in two kinds. The plain one compares names. With `exchangeable_hands`, the hands of a figure may be
exchanged, both or neither: it counts the better of the two assignments, the one with the smaller sum of distances.

Everything is computed on the CPU in float64: a point at the threshold is found or lost on every machine alike.

Shape letters: M images, K points in the order of `POINT_NAMES`, T thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from helpers.keypoints.scenes import POINT_NAMES

Normalization = Literal["bbox", "torso"]
THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
"""Shares of a figure's size. The assignment asks for the last four; the first two tell sub-pixel methods apart."""
EXCHANGED = [0, 2, 1, 3, 4]
"""The rows of `POINT_NAMES` with the hands exchanged: of the five only hands look alike, feet differ by their side."""


def compute_pck(
    predicted: Float[Tensor, "M K 2"],
    true: Float[Tensor, "M K 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS,
    normalize_by: Normalization = "bbox",
    exchangeable_hands: bool = False,
) -> Float[Tensor, " T"]:
    """Returns the share of correct keypoints: those that lie within threshold · size of their figure.

    Law: rises with the threshold, and with `exchangeable_hands` it is 1 for every way to name the true hands.

    Args:
        predicted: (x, y) pixels.
        thresholds: shares of the size of each figure; see `measure_sizes` for `normalize_by`.

    Source: section 2 of the assignment; Yang and Ramanan, "Articulated human detection" (2013).
    """
    return compute_pck_per_point(predicted, true, thresholds, normalize_by, exchangeable_hands).mean(1)


def compute_pck_per_point(
    predicted: Float[Tensor, "M K 2"],
    true: Float[Tensor, "M K 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS,
    normalize_by: Normalization = "bbox",
    exchangeable_hands: bool = False,
) -> Float[Tensor, "T K"]:
    """Returns the PCK of each point alone; `compute_pck` is its mean over the points."""
    relative = compute_errors(predicted, true, exchangeable_hands) / measure_sizes(true, normalize_by).unsqueeze(1)
    return (relative <= torch.as_tensor(thresholds, dtype=torch.float64).view(-1, 1, 1)).double().mean(1)


def mean_error(
    predicted: Float[Tensor, "M K 2"], true: Float[Tensor, "M K 2"], exchangeable_hands: bool = False
) -> Float[Tensor, " K"]:
    """Returns the mean distance of each point from its truth in pixels."""
    return compute_errors(predicted, true, exchangeable_hands).mean(0)


def compute_errors(
    predicted: Float[Tensor, "M K 2"], true: Float[Tensor, "M K 2"], exchangeable_hands: bool = False
) -> Float[Tensor, "M K"]:
    """Returns how far each point is from its truth in pixels; see above for `exchangeable_hands`."""
    plain = _distance(predicted, true)
    if not exchangeable_hands:
        return plain
    exchanged = _distance(exchange_hands(predicted), true)
    # All other points are equal in both, so that the sums differ by the hands alone.
    better = exchanged.sum(1, keepdim=True) < plain.sum(1, keepdim=True)
    return torch.where(better, exchanged, plain)


def measure_sizes(true: Float[Tensor, "M K 2"], normalize_by: Normalization = "bbox") -> Float[Tensor, " M"]:
    """Returns the length in pixels that stands for each figure's size: what PCK's thresholds are shares of.

    "bbox" is the diagonal of the smallest box around the true points; spread limbs make it longer. "torso" would
    be from shoulder to hip, but neither is among the five points. So it is from the head to the middle of the feet, the
    one length that does not depend on how a figure stands: 57 px in all of the handout's.

    Raises:
        ValueError: `normalize_by` is another.
    """
    true = true.cpu().double()
    if normalize_by == "bbox":
        return (true.amax(1) - true.amin(1)).norm(dim=-1)
    if normalize_by == "torso":
        head, left_foot, right_foot = (true[:, POINT_NAMES.index(name)] for name in ("head", "left_foot", "right_foot"))
        return (head - (left_foot + right_foot) / 2).norm(dim=-1)
    raise ValueError(f"normalize_by is {normalize_by!r}; choose 'bbox' or 'torso'")


def exchange_hands(points: Float[Tensor, "*B K 2"]) -> Float[Tensor, "*B K 2"]:
    """Returns the points with the left hand's place under the right hand's name and vice versa."""
    return points[..., EXCHANGED, :]


def _distance(predicted: Float[Tensor, "M K 2"], true: Float[Tensor, "M K 2"]) -> Float[Tensor, "M K"]:
    return (predicted.cpu().double() - true.cpu().double()).norm(dim=-1)
