"""PCK and errors by hand, the ceilings of the handout's val split, and the causes of failures."""

import numpy as np
import pytest
import torch

from helpers.coco import annotation_path, read_points
from helpers.handout import ensure_handout
from helpers.keypoints.metrics import (
    Failure,
    analyze_failure_cases,
    best_expected_pck,
    choose_examples,
    compute_correctness,
    compute_errors,
    compute_pck,
    compute_pck_per_point,
    evaluate_points,
    exchange_hands,
    hands_midpoint_pck,
    mean_error,
    measure_hand_distances,
    measure_sizes,
    random_assignment_pck,
)
from helpers.keypoints.scenes import IMAGE_SIZE, POINT_NAMES

FIGURE = torch.tensor([[60.0, 40.0], [50.0, 60.0], [70.0, 60.0], [45.0, 97.0], [75.0, 97.0]])
"""Head, hands, feet: the box is 30 × 57, its diagonal 64.4; the hands are 20 apart."""
DIAGONAL = (30**2 + 57**2) ** 0.5


HEAD, LEFT_HAND, RIGHT_HAND, LEFT_FOOT, RIGHT_FOOT = range(5)


@pytest.fixture
def true():
    """Return two such figures."""
    return torch.stack([FIGURE, FIGURE + 3])


@pytest.fixture(scope="module")
def val_points():
    """Return the points of the handout's val split."""
    path = annotation_path(ensure_handout() / "keypoints", "val", "handout")
    return torch.from_numpy(read_points(path, "handout", POINT_NAMES, (IMAGE_SIZE, IMAGE_SIZE)).points)


def move(points, image, point, by) -> torch.Tensor:
    """Return the points with one of them moved by (x, y) pixels."""
    points = points.clone()
    points[image, point] += torch.tensor(by)
    return points


def test_the_size_of_a_figure_is_the_diagonal_of_its_box_or_its_torso(true):
    torch.testing.assert_close(measure_sizes(true, "bbox"), torch.full((2,), DIAGONAL).double())
    torch.testing.assert_close(measure_sizes(true, "torso"), torch.full((2,), 57.0).double())


def test_an_unknown_size_is_refused(true):
    with pytest.raises(ValueError, match="'bbox' or 'torso'"):
        measure_sizes.__wrapped__(true, "head")


def test_errors_are_distances_in_pixels(true):
    predicted = move(true, 1, 3, (3.0, -4.0))
    assert compute_errors(predicted, true).tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 5, 0]]
    assert mean_error(predicted, true).tolist() == [0, 0, 0, 2.5, 0]


@pytest.mark.parametrize(("normalize_by", "size"), [("bbox", DIAGONAL), ("torso", 57.0)])
def test_a_point_is_correct_from_the_threshold_of_its_distance_on(true, normalize_by, size):
    predicted = move(true, 0, 0, (0.0, 6.0))
    thresholds = [6 / size - 1e-9, 6 / size + 1e-9]
    assert compute_pck(predicted, true, thresholds, normalize_by).tolist() == [0.9, 1.0]
    assert compute_pck_per_point(predicted, true, thresholds, normalize_by).tolist() == [[0.5, 1, 1, 1, 1], [1] * 5]


def test_thresholds_may_be_an_array(true):
    assert compute_pck(true, true, np.linspace(0, 0.2, 5)).tolist() == [1.0] * 5


def test_exchanged_hands_are_wrong_unless_the_metric_is_permutation_invariant(true):
    predicted = exchange_hands(true)
    assert compute_errors(predicted, true)[0].tolist() == [0, 20, 20, 0, 0]
    assert compute_errors(predicted, true, permutation_invariant=True).sum() == 0
    torch.testing.assert_close(compute_pck(predicted, true, [0.02]), torch.tensor([0.6]).double())
    assert compute_pck(predicted, true, [0.02], permutation_invariant=True).tolist() == [1.0]


def test_the_assignment_of_hands_is_chosen_for_each_figure_separately(true):
    predicted = torch.stack([exchange_hands(true)[0], true[1]])
    assert compute_errors(predicted, true, permutation_invariant=True).sum() == 0


def test_two_predicted_hands_at_one_true_hand_leave_the_other_wrong(true):
    predicted = move(true, 0, 2, (-20.0, 0.0))
    assert compute_errors(predicted, true, permutation_invariant=True)[0].tolist() == [0, 0, 20, 0, 0]


def test_feet_are_never_exchanged(true):
    predicted = true[:, [0, 1, 2, 4, 3]]
    assert compute_errors(predicted, true, permutation_invariant=True)[:, 3:].tolist() == [[30, 30], [30, 30]]


def test_permutation_invariance_never_increases_the_sum_of_errors():
    generator = torch.Generator().manual_seed(0)
    predicted, true = torch.rand(2, 64, 5, 2, generator=generator).mul(128)
    plain, exchanged = (compute_errors(predicted, true, allowed) for allowed in (False, True))
    assert (exchanged.sum(1) <= plain.sum(1)).all()
    torch.testing.assert_close(exchanged, compute_errors(exchange_hands(predicted), true, True))


def test_a_point_that_is_nan_is_wrong(true):
    assert compute_pck(move(true, 0, 0, (float("nan"), 0.0)), true, [0.2]).tolist() == [0.9]


def test_a_row_of_results_has_a_column_per_metric_and_threshold(true):
    row = evaluate_points(exchange_hands(move(true, 0, HEAD, (0.0, 6.0))), true)
    assert list(row) == [
        *(f"pck@{threshold}" for threshold in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)),
        "error",
        *(f"pck_swap@{threshold}" for threshold in (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)),
        "error_swap",
        "error_head_feet",
    ]
    assert (row["pck@0.05"], row["pck_swap@0.05"], row["pck_swap@0.1"]) == (0.5, 0.9, 1.0)
    assert (row["error"], row["error_swap"], row["error_head_feet"]) == (8.6, 0.6, 1.0)


# Ceilings


@pytest.mark.parametrize(
    ("ceiling", "expected"),
    [
        (random_assignment_pck, [0.830, 0.859, 0.888, 0.914]),
        (hands_midpoint_pck, [0.718, 0.828, 0.930, 0.974]),
        (best_expected_pck, [0.859, 0.914, 0.965, 0.987]),
    ],
)
def test_the_ceilings_of_the_val_split_are_the_published_ones(val_points, ceiling, expected):
    thresholds = [0.05, 0.1, 0.15, 0.2]
    torch.testing.assert_close(ceiling(val_points, thresholds), torch.tensor(expected).double())


def test_every_torso_of_the_handout_has_the_same_length(val_points):
    assert (measure_sizes(val_points, "torso") == 57).all()


def test_perfect_points_with_random_hands_reach_the_expected_pck_on_average(val_points):
    generator = torch.Generator().manual_seed(0)
    scores = []
    for _ in range(200):
        is_exchanged = torch.rand(len(val_points), 1, 1, generator=generator) < 0.5
        predicted = torch.where(is_exchanged, exchange_hands(val_points), val_points)
        scores.append(compute_pck(predicted, val_points, [0.05, 0.1]))
    expected = random_assignment_pck(val_points, [0.05, 0.1])
    torch.testing.assert_close(torch.stack(scores).mean(0), expected, atol=0.002, rtol=0)


def test_the_best_expected_pck_is_that_of_the_best_position_for_a_hand(val_points):
    """Oracle: of all positions on a grid of half pixels, the one that is near a hand with the highest probability."""
    figures = val_points[:20]
    grid = torch.cartesian_prod(*[torch.arange(0, IMAGE_SIZE, 0.5, dtype=torch.float64)] * 2)
    distances = torch.cdist(figures[:, [LEFT_HAND, RIGHT_HAND]], grid)  # [figure, hand, position]
    for threshold in (0.02, 0.05, 0.1):
        near = distances <= threshold * measure_sizes(figures).view(-1, 1, 1)
        best_position = near.double().mean(1).amax(1)
        expected = best_expected_pck(figures, [threshold])
        torch.testing.assert_close(0.6 + 0.4 * best_position.mean(0, keepdim=True), expected)


# Failures


@pytest.mark.parametrize(
    ("moves", "causes"),
    [
        ({}, {}),
        ({HEAD: (3.0, 0.0)}, {}),
        ({HEAD: (5.0, 0.0)}, {HEAD: "near miss"}),
        ({HEAD: (9.0, 0.0)}, {HEAD: "lost"}),
        ({LEFT_FOOT: (30.0, 0.0)}, {LEFT_FOOT: "lost"}),
        ({LEFT_HAND: (20.0, 0.0), RIGHT_HAND: (-20.0, 0.0)}, dict.fromkeys([LEFT_HAND, RIGHT_HAND], "hands exchanged")),
        ({LEFT_HAND: (20.0, 0.0)}, {LEFT_HAND: "hands coincide"}),
        ({LEFT_HAND: (20.0, 0.0), RIGHT_HAND: (0.0, 40.0)}, {LEFT_HAND: "hands exchanged", RIGHT_HAND: "lost"}),
        ({LEFT_HAND: (10.0, 0.0)}, {LEFT_HAND: "between the hands"}),
        ({LEFT_HAND: (0.0, 5.0)}, {LEFT_HAND: "near miss"}),
    ],
)
def test_a_failure_has_the_first_cause_that_holds(true, moves, causes):
    """By hand: at 0.05 a point is correct up to 3.2 px, and a near miss up to 6.4 px."""
    predicted = true
    for point, by in moves.items():
        predicted = move(predicted, 1, point, by)
    assert analyze_failure_cases(predicted, true, true) == [
        Failure(1, point, heatmap=cause, regression=None) for point, cause in causes.items()
    ]


def test_a_failure_has_a_cause_for_each_method_that_failed(true):
    heatmap = move(exchange_hands(true), 1, HEAD, (5.0, 0.0))
    regression = move(move(true, 0, LEFT_HAND, (10.0, 0.0)), 1, LEFT_FOOT, (20.0, 0.0))
    failures = analyze_failure_cases(heatmap, regression, true)
    assert [(failure.image, failure.point, failure.kind) for failure in failures] == [
        (0, LEFT_HAND, "both"),
        (0, RIGHT_HAND, "heatmap only"),
        (1, HEAD, "heatmap only"),
        (1, LEFT_HAND, "heatmap only"),
        (1, RIGHT_HAND, "heatmap only"),
        (1, LEFT_FOOT, "regression only"),
    ]
    assert failures[0] == Failure(0, LEFT_HAND, heatmap="hands exchanged", regression="between the hands")


def test_the_failures_are_exactly_the_points_that_are_wrong_for_pck(val_points):
    generator = torch.Generator().manual_seed(0)
    heatmap, regression = (
        val_points + torch.randn(val_points.shape, generator=generator) * scale for scale in (3.0, 9.0)
    )
    failures = analyze_failure_cases(heatmap, regression, val_points, 0.1, "torso")
    for predicted, kinds in ((heatmap, ("heatmap only", "both")), (regression, ("regression only", "both"))):
        num_failed = sum(failure.kind in kinds for failure in failures)
        pck = compute_pck(predicted, val_points, [0.1], "torso").item()
        assert num_failed == round((1 - pck) * val_points[..., 0].numel())


def test_the_share_of_correct_points_is_the_pck(val_points):
    predicted = exchange_hands(val_points) + 2
    for invariant in (False, True):
        correct = compute_correctness(predicted, val_points, 0.05, permutation_invariant=invariant)
        pck = compute_pck(predicted, val_points, (0.05,), permutation_invariant=invariant)
        assert correct.double().mean().item() == pytest.approx(pck.item())


def test_hand_distances_do_not_depend_on_the_names_of_the_hands(true):
    predicted = true.clone()
    predicted[0, LEFT_HAND] += torch.tensor([0.0, 6.0])
    predicted[1, [LEFT_HAND, RIGHT_HAND]] = true[1, [LEFT_HAND, RIGHT_HAND]].mean(0)
    for points in (predicted, exchange_hands(predicted)):
        apart, middle = measure_hand_distances(points, true)
        np.testing.assert_allclose(apart, [(20**2 + 6**2) ** 0.5, 0])
        np.testing.assert_allclose(middle, [3, 0])


def test_examples_of_failures_have_one_cause_each_and_prefer_heads_and_feet():
    failures = [
        Failure(0, LEFT_HAND, "near miss", None),
        Failure(1, HEAD, None, "near miss"),
        Failure(2, LEFT_HAND, None, "hands coincide"),
        Failure(3, RIGHT_HAND, "hands coincide", "lost"),
        Failure(3, LEFT_FOOT, None, "lost"),
        Failure(4, LEFT_HAND, "lost", None),
    ]
    assert choose_examples(failures) == [failures[3], failures[1], failures[5]]
    assert choose_examples([]) == []
