"""PCK and errors by hand, the ceilings against the facts of the handout's data, and why points fail."""

import numpy as np
import pytest
import torch

from helpers.keypoints.metrics import (
    compute_errors,
    compute_pck,
    compute_pck_per_point,
    exchange_hands,
    mean_error,
    measure_sizes,
)

FIGURE = torch.tensor([[60.0, 40.0], [50.0, 60.0], [70.0, 60.0], [45.0, 97.0], [75.0, 97.0]])
"""Head, hands, feet: the box is 30 × 57, its diagonal 64.4; the hands are 20 apart."""
DIAGONAL = (30**2 + 57**2) ** 0.5


@pytest.fixture
def true():
    """Returns two such figures."""
    return torch.stack([FIGURE, FIGURE + 3])


def move(points, image, point, by) -> torch.Tensor:
    """Returns the points with one of them moved by (x, y) pixels."""
    points = points.clone()
    points[image, point] += torch.tensor(by)
    return points


def test_a_figure_is_as_large_as_the_diagonal_of_its_box_or_as_its_torso(true):
    torch.testing.assert_close(measure_sizes(true, "bbox"), torch.full((2,), DIAGONAL).double())
    torch.testing.assert_close(measure_sizes(true, "torso"), torch.full((2,), 57.0).double())


def test_another_size_is_refused(true):
    with pytest.raises(ValueError, match="'bbox' or 'torso'"):
        measure_sizes.__wrapped__(true, "head")


def test_errors_are_distances_in_pixels(true):
    predicted = move(true, 1, 3, (3.0, -4.0))
    assert compute_errors(predicted, true).tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 5, 0]]
    assert mean_error(predicted, true).tolist() == [0, 0, 0, 2.5, 0]


@pytest.mark.parametrize(("normalize_by", "size"), [("bbox", DIAGONAL), ("torso", 57.0)])
def test_a_point_counts_from_its_distance_on(true, normalize_by, size):
    predicted = move(true, 0, 0, (0.0, 6.0))
    thresholds = [6 / size - 1e-9, 6 / size + 1e-9]
    assert compute_pck(predicted, true, thresholds, normalize_by).tolist() == [0.9, 1.0]
    assert compute_pck_per_point(predicted, true, thresholds, normalize_by).tolist() == [[0.5, 1, 1, 1, 1], [1] * 5]


def test_thresholds_may_be_an_array(true):
    assert compute_pck(true, true, np.linspace(0, 0.2, 5)).tolist() == [1.0] * 5


def test_exchanged_hands_are_wrong_unless_they_may_be_exchanged(true):
    predicted = exchange_hands(true)
    assert compute_errors(predicted, true)[0].tolist() == [0, 20, 20, 0, 0]
    assert compute_errors(predicted, true, exchangeable_hands=True).sum() == 0
    torch.testing.assert_close(compute_pck(predicted, true, [0.02]), torch.tensor([0.6]).double())
    assert compute_pck(predicted, true, [0.02], exchangeable_hands=True).tolist() == [1.0]


def test_hands_are_exchanged_in_one_figure_and_kept_in_the_next(true):
    predicted = torch.stack([exchange_hands(true)[0], true[1]])
    assert compute_errors(predicted, true, exchangeable_hands=True).sum() == 0


def test_one_place_cannot_answer_for_both_hands(true):
    predicted = move(true, 0, 2, (-20.0, 0.0))
    assert compute_errors(predicted, true, exchangeable_hands=True)[0].tolist() == [0, 0, 20, 0, 0]


def test_feet_are_never_exchanged(true):
    predicted = true[:, [0, 1, 2, 4, 3]]
    assert compute_errors(predicted, true, exchangeable_hands=True)[:, 3:].tolist() == [[30, 30], [30, 30]]


def test_exchanging_hands_never_makes_the_sum_of_errors_larger():
    generator = torch.Generator().manual_seed(0)
    predicted, true = torch.rand(2, 64, 5, 2, generator=generator).mul(128)
    plain, exchanged = (compute_errors(predicted, true, allowed) for allowed in (False, True))
    assert (exchanged.sum(1) <= plain.sum(1)).all()
    torch.testing.assert_close(exchanged, compute_errors(exchange_hands(predicted), true, True))


def test_a_point_that_is_no_number_is_not_found(true):
    assert compute_pck(move(true, 0, 0, (float("nan"), 0.0)), true, [0.2]).tolist() == [0.9]
