"""How good points are: the share found (PCK) and the mean error, what hands that look alike allow, and why points fail.

The handout's picture does not say which hand is the left one: exchanging the two redraws it to the last pixel. So every
measure comes in two kinds. The plain one compares names. With `exchangeable_hands`, the hands of a figure may be
exchanged, both or neither: it counts the better of the two assignments, the one with the smaller sum of distances.

Everything is computed on the CPU in float64: a point at the threshold is found or lost on every machine alike.

Shape letters: M images, T thresholds; the 5 points are in the order of `POINT_NAMES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from helpers.keypoints.scenes import HANDS, POINT_NAMES, exchange_rows

Normalization = Literal["bbox", "torso"]
THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
"""Shares of a figure's size. The assignment asks for the last four; the first two tell sub-pixel methods apart."""
EXCHANGED = exchange_rows(HANDS)
IS_HAND = torch.tensor(EXCHANGED) != torch.arange(len(EXCHANGED))


def compute_pck(
    predicted: Float[Tensor, "M 5 2"],
    true: Float[Tensor, "M 5 2"],
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
    predicted: Float[Tensor, "M 5 2"],
    true: Float[Tensor, "M 5 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS,
    normalize_by: Normalization = "bbox",
    exchangeable_hands: bool = False,
) -> Float[Tensor, "T 5"]:
    """Returns the PCK of each point alone; `compute_pck` is its mean over the points."""
    relative = compute_errors(predicted, true, exchangeable_hands) / measure_sizes(true, normalize_by).unsqueeze(1)
    return (relative <= torch.as_tensor(thresholds, dtype=torch.float64).view(-1, 1, 1)).double().mean(1)


def mean_error(
    predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"], exchangeable_hands: bool = False
) -> Float[Tensor, " 5"]:
    """Returns the mean distance of each point from its truth in pixels."""
    return compute_errors(predicted, true, exchangeable_hands).mean(0)


def compute_errors(
    predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"], exchangeable_hands: bool = False
) -> Float[Tensor, "M 5"]:
    """Returns how far each point is from its truth in pixels; see above for `exchangeable_hands`."""
    plain = _distance(predicted, true)
    if not exchangeable_hands:
        return plain
    exchanged = _distance(exchange_hands(predicted), true)
    # All other points are equal in both, so that the sums differ by the hands alone.
    better = exchanged.sum(1, keepdim=True) < plain.sum(1, keepdim=True)
    return torch.where(better, exchanged, plain)


def measure_sizes(true: Float[Tensor, "M 5 2"], normalize_by: Normalization = "bbox") -> Float[Tensor, " M"]:
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


def exchange_hands(points: Float[Tensor, "*B 5 2"]) -> Float[Tensor, "*B 5 2"]:
    """Returns the points with the left hand's place under the right hand's name and vice versa."""
    return points[..., EXCHANGED, :]


def evaluate_points(predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"]) -> dict[str, float]:
    """Returns one row of results: `pck@t` and `pck_swap@t` (hands exchangeable) for each of `THRESHOLDS`, and errors.

    `error` and `error_swap` are means over all points in pixels, `error_head_feet` over those that no exchange touches.
    """
    row = {}
    for suffix, exchangeable in (("", False), ("_swap", True)):
        pck = compute_pck(predicted, true, exchangeable_hands=exchangeable).tolist()
        row |= {f"pck{suffix}@{threshold}": value for threshold, value in zip(THRESHOLDS, pck, strict=True)}
        row[f"error{suffix}"] = mean_error(predicted, true, exchangeable).mean().item()
    row["error_head_feet"] = mean_error(predicted, true)[~IS_HAND].mean().item()
    return row


# What hands that look alike allow. In the image both assignments are equally likely, so an answer for a hand hits with
# probability 1/2 for each hand it is near enough to. Head and feet are taken as perfect: these are ceilings.


def guess_the_hands_pck(
    true: Float[Tensor, "M 5 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS,
    normalize_by: Normalization = "bbox",
) -> Float[Tensor, " T"]:
    """Returns the PCK expected of a perfect localiser that tosses a coin for which hand is the left one.

    It is the mean of two outcomes: all right, and exchanged.
    """
    outcomes = (compute_pck(points, true, thresholds, normalize_by) for points in (true, exchange_hands(true)))
    return sum(outcomes) / 2


def hands_midpoint_pck(
    true: Float[Tensor, "M 5 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS,
    normalize_by: Normalization = "bbox",
) -> Float[Tensor, " T"]:
    """Returns the PCK of answering both hands with the middle between them.

    The answer that a squared error of coordinates teaches: the mean of two equally likely truths.
    """
    return compute_pck((true + exchange_hands(true)) / 2, true, thresholds, normalize_by)


def best_expected_pck(
    true: Float[Tensor, "M 5 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS,
    normalize_by: Normalization = "bbox",
) -> Float[Tensor, " T"]:
    """Returns the highest PCK that can be expected of any method, at each threshold for itself.

    Let r = threshold · size. If the hands are at most 2r apart, their middle is within r of both and hits for certain.
    Otherwise no place is within r of both, and nothing hits more often than a coin. So it scores like a coin that also
    wins up to distance 2r: `guess_the_hands_pck` at twice the threshold. No single answer reaches this at every
    threshold: at strict ones, the middle gives up the coin's half.
    """
    return guess_the_hands_pck(true, 2 * np.asarray(thresholds), normalize_by)


Cause = Literal["hands exchanged", "hands coincide", "between the hands", "near miss", "lost"]


class Failure(NamedTuple):
    """One point that at least one of two methods failed to find, and why; a method that found it has no cause."""

    image: int  # row in the set
    point: int  # row of `POINT_NAMES`
    heatmap: Cause | None
    regression: Cause | None

    @property
    def kind(self) -> Literal["heatmap only", "regression only", "both"]:
        """Returns who failed."""
        if self.heatmap and self.regression:
            return "both"
        return "heatmap only" if self.heatmap else "regression only"


def analyze_failure_cases(
    heatmap: Float[Tensor, "M 5 2"],
    regression: Float[Tensor, "M 5 2"],
    true: Float[Tensor, "M 5 2"],
    threshold: float = 0.05,
    normalize_by: Normalization = "bbox",
) -> list[Failure]:
    """Returns every point that one of two methods or both fail to find, in the order of images and points.

    Found means what PCK means, by name. A failure has the first of these causes that holds; "near" is within
    r = threshold · size, as for PCK:

    1. `hands exchanged`: it is near the other hand, which was not found itself.
    2. `hands coincide`: it is near the other hand, which was found there too. One place answers for both hands.
    3. `between the hands`: it is near their middle.
    4. `near miss`: within 2r of the truth.
    5. `lost`: nothing of the above.

    Args:
        heatmap: (x, y) pixels that the heatmap method predicts; `regression` likewise.

    Source: section 2 of the assignment.
    """
    causes = [_explain(predicted, true, threshold, normalize_by) for predicted in (heatmap, regression)]
    return [
        Failure(image, point, *(str(own[image, point]) or None for own in causes))
        for image, point in np.argwhere((causes[0] != "") | (causes[1] != "")).tolist()
    ]


def _explain(
    predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"], threshold: float, normalize_by: Normalization
) -> Shaped[np.ndarray, "M 5"]:
    """Returns the cause of each point's failure, an empty text where it is found."""
    radius = threshold * measure_sizes(true, normalize_by).unsqueeze(1)
    error = _distance(predicted, true)
    found = error <= radius
    near_other_hand = IS_HAND & (_distance(predicted, exchange_hands(true)) <= radius)
    other_hand_found = found[:, EXCHANGED]
    causes = {
        "": found,
        "hands exchanged": near_other_hand & ~other_hand_found,
        "hands coincide": near_other_hand,
        "between the hands": IS_HAND & (_distance(predicted, (true + exchange_hands(true)) / 2) <= radius),
        "near miss": error <= 2 * radius,
    }
    return np.select([condition.numpy() for condition in causes.values()], list(causes), "lost")


def _distance(predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"]) -> Float[Tensor, "M 5"]:
    return (predicted.cpu().double() - true.cpu().double()).norm(dim=-1)
