"""Right implementations of the metric tasks, and their contracts."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from helpers.course.checks import keypoint_metrics
from helpers.keypoints import metrics


def _compute_pck_in_loops(predicted, true, thresholds, normalize_by="bbox"):
    correct = dict.fromkeys(thresholds, 0)
    for predicted_points, points in zip(predicted.tolist(), true.tolist(), strict=True):
        if normalize_by == "bbox":
            xs, ys = zip(*points, strict=True)
            size = math.hypot(max(xs) - min(xs), max(ys) - min(ys))
        elif normalize_by == "torso":
            middle = [(points[3][axis] + points[4][axis]) / 2 for axis in (0, 1)]
            size = math.dist(points[0], middle)
        else:
            raise ValueError(normalize_by)
        for threshold in thresholds:
            for predicted_point, point in zip(predicted_points, points, strict=True):
                correct[threshold] += math.dist(predicted_point, point) <= threshold * size
    return {threshold: count / (5 * len(true)) for threshold, count in correct.items()}


def _compute_pck_strictly(predicted, true, thresholds, normalize_by="bbox"):
    shares = _compute_pck_in_loops(predicted, true, [threshold * (1 - 1e-9) for threshold in thresholds], normalize_by)
    return dict(zip(thresholds, shares.values(), strict=True))


def _compute_pck_with_numpy(predicted, true, thresholds, normalize_by="bbox"):
    if normalize_by not in ("bbox", "torso"):
        raise ValueError(normalize_by)
    predicted, true = predicted.numpy(), true.numpy()
    sides = true.max(axis=1) - true.min(axis=1)
    if normalize_by == "torso":
        sides = true[:, 0] - true[:, 3:].mean(axis=1)
    limits = np.linalg.norm(sides, axis=1)[:, None]
    errors = np.linalg.norm(predicted - true, axis=2)
    return {threshold: np.mean(errors <= threshold * limits) for threshold in thresholds}


def _assign_with_scipy(predicted, true):
    errors = []
    for predicted_points, points in zip(predicted.numpy(), true.numpy(), strict=True):
        distances = np.linalg.norm(predicted_points[:, None] - points[None], axis=2)
        row = distances.diagonal().copy()
        predicted_hands, true_hands = linear_sum_assignment(distances[1:3, 1:3])
        for predicted_hand, true_hand in zip(predicted_hands + 1, true_hands + 1, strict=True):
            row[true_hand] = distances[predicted_hand, true_hand]
        errors.append(row)
    return np.stack(errors)


def _assign_on_the_true_side(predicted, true):
    plain = (predicted - true).norm(dim=-1)
    exchanged = (predicted - true[:, [0, 2, 1, 3, 4]]).norm(dim=-1)[:, [0, 2, 1, 3, 4]]
    rows = [b if b[1:3].sum() < a[1:3].sum() else a for a, b in zip(plain, exchanged, strict=True)]
    return torch.stack(rows)


ORACLES = {"compute_pck": _compute_pck_in_loops, "compute_swap_invariant_errors": _assign_with_scipy}
"""An independent right implementation of each task."""

VARIATIONS = {
    "compute_pck": {"NumPy": _compute_pck_with_numpy, "below the limit, not at it": _compute_pck_strictly},
    "compute_swap_invariant_errors": {
        "exchanged on the true side": _assign_on_the_true_side,
        "float64": lambda predicted, true: _assign_on_the_true_side(predicted.double(), true.double()),
    },
}
"""Legitimate variations of each task."""


def test_the_pck_by_hand():
    two = torch.tensor(keypoint_metrics.TWO_FIGURES)
    predicted = two + torch.tensor(keypoint_metrics.THEIR_ERRORS)
    assert keypoint_metrics.compute_pck(predicted, two, [0.05, 0.1]) == pytest.approx({0.05: 0.7, 0.1: 0.9})
    one = torch.tensor(keypoint_metrics.ONE_FIGURE)
    predicted = one + torch.tensor(keypoint_metrics.ITS_ERRORS)
    assert keypoint_metrics.compute_pck(predicted, one, [0.1]) == pytest.approx({0.1: 0.8})


def test_known_mistakes_give_the_known_values_by_hand():
    two = torch.tensor(keypoint_metrics.TWO_FIGURES)
    predicted = two + torch.tensor(keypoint_metrics.THEIR_ERRORS)
    mistakes = {mistake.code: mistake.function for mistake in keypoint_metrics.PCK.mistakes}
    for code, shares in {"PK1": [1, 1], "PK2": [0.9, 1], "PK3": [0.5, 0.5], "PK11a": [0.8, 1]}.items():
        assert list(mistakes[code](predicted, two, [0.05, 0.1]).values()) == pytest.approx(shares)


def test_exchanged_hands_by_hand():
    true = torch.tensor([[[5.0, -9], [0, 0], [10, 0], [0, 20], [10, 20]]])
    predicted = torch.tensor([[[5.0, -9], [9, 0], [0, 2], [0, 20], [10, 20]]])
    errors = keypoint_metrics.compute_swap_invariant_errors(predicted, true)
    assert errors.tolist() == [[0, 2, 1, 0, 0]]


def test_the_references_agree_with_the_workbook_to_the_last_digit():
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(50, 5, 2, generator=generator) * 128
    predicted = true[:, [0, 2, 1, 3, 4]] + torch.randn(50, 5, 2, generator=generator) * 20
    for normalize_by in ("bbox", "torso"):
        shares = keypoint_metrics.compute_pck(predicted, true, metrics.THRESHOLDS, normalize_by)
        workbook = metrics.compute_pck(predicted, true, normalize_by=normalize_by)
        assert list(shares.values()) == workbook.tolist()
    errors = keypoint_metrics.compute_swap_invariant_errors(predicted.double(), true.double())
    assert torch.equal(errors, metrics.compute_errors(predicted, true, permutation_invariant=True))
