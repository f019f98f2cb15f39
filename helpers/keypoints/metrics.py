"""Keypoint metrics: PCK and mean error, the ceilings that two hands which look alike impose, and causes of failures.

PCK is the percentage of correct keypoints. The handout's images do not show which hand is the left one: a figure with
exchanged hands has the same pixels. So every metric has two forms. The plain form compares each point with the true
point of the same name. With `permutation_invariant`, the better of the two assignments of the hands counts for each
figure, that is the one with the smaller sum of distances.

Everything is computed on the CPU in float64, so that a point at the threshold counts alike on every machine.

Shape letters: M images, T thresholds; the 5 points are in the order of `POINT_NAMES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from helpers.keypoints.scenes import HANDS, POINT_NAMES, exchange_rows

Normalization = Literal["bbox", "torso"]
THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
"""Shares of a figure's size. The assignment asks for the last four; the first two separate sub-pixel methods."""
EXCHANGED = exchange_rows(HANDS)
IS_HAND = torch.tensor(EXCHANGED) != torch.arange(len(EXCHANGED))


def compute_pck(
    predicted: Float[Tensor, "M 5 2"],
    true: Float[Tensor, "M 5 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS,
    normalize_by: Normalization = "bbox",
    permutation_invariant: bool = False,
) -> Float[Tensor, " T"]:
    """Return the PCK at each threshold: the share of points at most threshold · size of their figure from the truth.

    Law: PCK does not fall when the threshold rises; with `permutation_invariant` it is 1 for the true points with the
    hands in either order.

    Args:
        predicted: (x, y) pixels.
        true: (x, y) pixels.
        thresholds: shares of the size of each figure.
        normalize_by: definition of that size, see `measure_sizes`.
        permutation_invariant: allow exchanged hands, see the module's docstring.

    Source: section 2 of the assignment; Yang and Ramanan 2013, "Articulated Human Detection with Flexible Mixtures of
    Parts", https://doi.org/10.1109/TPAMI.2012.261.
    """
    return compute_pck_per_point(predicted, true, thresholds, normalize_by, permutation_invariant).mean(1)


def compute_pck_per_point(
    predicted: Float[Tensor, "M 5 2"],
    true: Float[Tensor, "M 5 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS,
    normalize_by: Normalization = "bbox",
    permutation_invariant: bool = False,
) -> Float[Tensor, "T 5"]:
    """Return the PCK of each point separately; `compute_pck` is its mean over the points."""
    relative = compute_errors(predicted, true, permutation_invariant) / measure_sizes(true, normalize_by).unsqueeze(1)
    return (relative <= torch.as_tensor(thresholds, dtype=torch.float64).view(-1, 1, 1)).double().mean(1)


def compute_correctness(
    predicted: Float[Tensor, "M 5 2"],
    true: Float[Tensor, "M 5 2"],
    threshold: float,
    normalize_by: Normalization = "bbox",
    permutation_invariant: bool = False,
) -> Bool[Tensor, "M 5"]:
    """Return whether each point of each image is correct; the mean over all of them is the PCK.

    The bootstrap over images (`helpers.intervals`) needs the points of each image.
    """
    errors = compute_errors(predicted, true, permutation_invariant)
    return errors <= threshold * measure_sizes(true, normalize_by).unsqueeze(1)


def mean_error(
    predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"], permutation_invariant: bool = False
) -> Float[Tensor, " 5"]:
    """Return the mean error of each point, in pixels, over all images."""
    return compute_errors(predicted, true, permutation_invariant).mean(0)


def compute_errors(
    predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"], permutation_invariant: bool = False
) -> Float[Tensor, "M 5"]:
    """Return the distance of each predicted point from the true one, in pixels.

    Args:
        predicted: (x, y) pixels.
        true: (x, y) pixels.
        permutation_invariant: allow exchanged hands, see the module's docstring.
    """
    plain = _distance(predicted, true)
    if not permutation_invariant:
        return plain
    exchanged = _distance(exchange_hands(predicted), true)
    # All other points are equal in both, so the sums differ by the hands alone.
    exchanged_is_better = exchanged.sum(1, keepdim=True) < plain.sum(1, keepdim=True)
    return torch.where(exchanged_is_better, exchanged, plain)


def measure_sizes(true: Float[Tensor, "M 5 2"], normalize_by: Normalization = "bbox") -> Float[Tensor, " M"]:
    """Return the size of each figure in pixels; PCK's thresholds are shares of it.

    "bbox" is the diagonal of the smallest box around the true points, which is longer for spread limbs. "torso" is
    usually the distance from shoulder to hip, but neither is among the five points. Here it is the distance from the
    head to the middle of the feet, which does not depend on the pose: 57 px in all of the handout's figures.

    Raises:
        ValueError: `normalize_by` is neither of the two.
    """
    true = true.cpu().double()
    if normalize_by == "bbox":
        return (true.amax(1) - true.amin(1)).norm(dim=-1)
    if normalize_by == "torso":
        head, left_foot, right_foot = (true[:, POINT_NAMES.index(name)] for name in ("head", "left_foot", "right_foot"))
        return (head - (left_foot + right_foot) / 2).norm(dim=-1)
    raise ValueError(f"normalize_by is {normalize_by!r}; choose 'bbox' or 'torso'")


def measure_hand_distances(
    predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"]
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Return how far apart the two predicted hands are, and how far their middle is from the true hands' middle.

    Both are in pixels and do not depend on which hand is called the left one. Hands that coincide have distance 0. A
    point between the two true hands, predicted for both, has a correct middle.
    """
    left, right = predicted[:, HANDS].cpu().double().unbind(1)
    true_middle = true[:, HANDS].cpu().double().mean(1)
    return (left - right).norm(dim=-1), ((left + right) / 2 - true_middle).norm(dim=-1)


def exchange_hands(points: Float[Tensor, "*B 5 2"]) -> Float[Tensor, "*B 5 2"]:
    """Return the points with the positions of the two hands exchanged."""
    return points[..., EXCHANGED, :]


def evaluate_points(predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"]) -> dict[str, float]:
    """Return one row of results: PCK at each of `THRESHOLDS`, and mean errors in pixels.

    Columns: `pck@t` and `error` compare names, `pck_swap@t` and `error_swap` are permutation-invariant,
    `error_head_feet` is the mean over head and feet, which no exchange of hands changes.
    """
    row: dict[str, float] = {}
    for suffix, permutation_invariant in (("", False), ("_swap", True)):
        pck = compute_pck(predicted, true, permutation_invariant=permutation_invariant).tolist()
        row |= {f"pck{suffix}@{threshold}": value for threshold, value in zip(THRESHOLDS, pck, strict=True)}
        row[f"error{suffix}"] = mean_error(predicted, true, permutation_invariant).mean().item()
    row["error_head_feet"] = mean_error(predicted, true)[~IS_HAND].mean().item()
    return row


# Ceilings of the plain PCK. Both assignments of the hands are equally likely given the image, so a predicted hand is
# correct with probability 1/2 for each true hand that is near enough. Head and feet are taken as perfect.


def random_assignment_pck(
    true: Float[Tensor, "M 5 2"], thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS
) -> Float[Tensor, " T"]:
    """Return the expected PCK of perfect points whose hands are assigned to left and right at random.

    It is the mean of the PCK with all points correct and the PCK with the hands exchanged.
    """
    return (compute_pck(true, true, thresholds) + compute_pck(exchange_hands(true), true, thresholds)) / 2


def hands_midpoint_pck(
    true: Float[Tensor, "M 5 2"], thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS
) -> Float[Tensor, " T"]:
    """Return the PCK of predicting the middle between the hands for both of them.

    This prediction minimises the expected squared error of the coordinates: the mean of two equally likely truths.
    """
    return compute_pck((true + exchange_hands(true)) / 2, true, thresholds)


def best_expected_pck(
    true: Float[Tensor, "M 5 2"], thresholds: Sequence[float] | Float[np.ndarray, " T"] = THRESHOLDS
) -> Float[Tensor, " T"]:
    """Return the highest expected PCK of any method, at each threshold separately.

    Let r = threshold · size. If the hands are at most 2r apart, their middle is within r of both, and it is always
    correct. Otherwise no position is within r of both, and none is correct more often than in half of the cases.

    `random_assignment_pck` at twice the threshold gives these two numbers. If the hands are at most 2r apart, exchanged
    hands are correct as well: the mean is 1. Otherwise exchanged hands are wrong: the mean of 1 and 0 is 1/2.

    No single prediction reaches the best expected PCK at every threshold: at small ones, the middle is correct for
    neither hand.
    """
    return random_assignment_pck(true, 2 * np.asarray(thresholds))


Cause = Literal["hands exchanged", "hands coincide", "between the hands", "near miss", "lost"]


class Failure(NamedTuple):
    """Point that is wrong by at least one of two methods, with the cause for each; None for a method that is right."""

    image: int  # row in the set
    point: int  # row of `POINT_NAMES`
    heatmap: Cause | None
    regression: Cause | None

    @property
    def kind(self) -> Literal["heatmap only", "regression only", "both"]:
        """Return which of the two methods failed."""
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
    """Return every point that is wrong by at least one of two methods, in the order of images and points.

    A point is correct as for the plain PCK: within r = threshold · size of the true point. The cause of a failure is
    the first of these that holds:

    1. `hands exchanged`: the point is within r of the other hand, and the other predicted hand is wrong.
    2. `hands coincide`: the point is within r of the other hand, and the other predicted hand is correct.
    3. `between the hands`: the point is within r of the middle of the hands.
    4. `near miss`: the point is within 2r of the true point.
    5. `lost`: none of the above.

    Args:
        heatmap: points predicted by the heatmap method, (x, y) pixels.
        regression: points predicted by coordinate regression, (x, y) pixels.
        true: (x, y) pixels.
        threshold: share of the size of each figure.
        normalize_by: definition of that size, see `measure_sizes`.

    Source: section 2 of the assignment.
    """
    heatmap_causes = _find_causes(heatmap, true, threshold, normalize_by)
    regression_causes = _find_causes(regression, true, threshold, normalize_by)
    has_failed = heatmap_causes.astype(bool) | regression_causes.astype(bool)
    return [
        Failure(image, point, heatmap_causes[image, point], regression_causes[image, point])
        for image, point in np.argwhere(has_failed).tolist()
    ]


def choose_examples(failures: Sequence[Failure]) -> list[Failure]:
    """Return one failure of each cause that occurs, in the order of `Cause`, each from a different image.

    A failure at the head or a foot comes before one at a hand, and one of the heatmap method before one of the
    regression; among equals the first is returned.
    """
    examples: list[Failure] = []
    for cause in get_args(Cause):
        used_images = {example.image for example in examples}
        candidates = []
        for failure in failures:
            if cause in (failure.heatmap, failure.regression) and failure.image not in used_images:
                candidates.append(failure)
        if candidates:
            examples.append(min(candidates, key=lambda failure: _rank(failure, cause)))
    return examples


def _rank(failure: Failure, cause: Cause) -> tuple[bool, bool]:
    """Return the order in which `choose_examples` prefers failures with `cause`: smaller is better."""
    return bool(IS_HAND[failure.point]), failure.heatmap != cause


def _find_causes(
    predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"], threshold: float, normalize_by: Normalization
) -> Shaped[np.ndarray, "M 5"]:
    """Return the cause of each point's failure, an array of texts, with None where the point is correct."""
    radius = threshold * measure_sizes(true, normalize_by).unsqueeze(1)
    error = _distance(predicted, true)
    correct = error <= radius
    near_other_hand = IS_HAND & (_distance(predicted, exchange_hands(true)) <= radius)
    other_hand_correct = correct[:, EXCHANGED]
    conditions: dict[Cause | None, Tensor] = {
        None: correct,
        "hands exchanged": near_other_hand & ~other_hand_correct,
        "hands coincide": near_other_hand,
        "between the hands": IS_HAND & (_distance(predicted, (true + exchange_hands(true)) / 2) <= radius),
        "near miss": error <= 2 * radius,
    }
    causes = [np.array(cause, object) for cause in conditions]
    return np.select([condition.numpy() for condition in conditions.values()], causes, np.array("lost", object))


def _distance(predicted: Float[Tensor, "M 5 2"], true: Float[Tensor, "M 5 2"]) -> Float[Tensor, "M 5"]:
    """Return the distances between points, in pixels."""
    return (predicted.cpu().double() - true.cpu().double()).norm(dim=-1)
