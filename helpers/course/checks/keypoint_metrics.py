"""Build tasks of the keypoint metrics: PCK, and errors under the better assignment of two hands that look alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake

IMAGE_SIZE = 128
"""Pixels per side of the keypoint images."""
EXCHANGED = [0, 2, 1, 3, 4]
"""Rows of the points with the two hands exchanged."""
PCK_IMPORTS = (
    "from collections.abc import Sequence\n\nimport torch\nfrom jaxtyping import Float\nfrom torch import Tensor"
)
ERRORS_IMPORTS = "import torch\nfrom jaxtyping import Float\nfrom torch import Tensor"


def compute_pck(
    predicted: Float[Tensor, "N 5 2"],
    true: Float[Tensor, "N 5 2"],
    thresholds: Sequence[float],
    normalize_by: str = "bbox",
) -> dict[float, float]:
    """Return the PCK (percentage of correct keypoints) at each threshold, as a share from 0 to 1.

    A point is correct at threshold t if its distance from the true point is at most t times the size of its figure.
    The PCK is the number of correct points divided by the number of all points, 5 per figure. The points of a figure
    are head, left hand, right hand, left foot, right foot.

    `normalize_by` defines the size of a figure, which is computed from its true points alone:

    - "bbox": the diagonal of the smallest box around the five true points.
    - "torso": the distance from the head to the middle between the two feet.

    The units of the points do not matter if both are the same, pixels or shares of the image.

    Example: a figure has a box of 30 x 40 pixels, so its size is 50. At threshold 0.1 a point may be 5 pixels off. Its
    points are 4, 6, 0, 0 and 0 pixels off, so four of five are correct: {0.1: 0.8}.

    Args:
        predicted: (x, y) of the points of N figures.
        true: (x, y) of the same points.
        thresholds: shares of a figure's size.
        normalize_by: "bbox" or "torso".

    Returns:
        The PCK by threshold.

    Raises:
        ValueError: `normalize_by` is neither of the two.
    """
    true = true.double()
    if normalize_by == "bbox":
        sizes = (true.amax(1) - true.amin(1)).norm(dim=-1)
    elif normalize_by == "torso":
        head, left_foot, right_foot = true[:, 0], true[:, 3], true[:, 4]
        sizes = (head - (left_foot + right_foot) / 2).norm(dim=-1)
    else:
        raise ValueError(f"normalize_by is {normalize_by!r}; choose 'bbox' or 'torso'")
    relative_errors = (predicted.double() - true).norm(dim=-1) / sizes[:, None]
    shares = {}
    for threshold in thresholds:
        is_correct = (relative_errors <= threshold).double()
        shares[threshold] = is_correct.mean(0).mean().item()  # over the figures, then over the points
    return shares


def compute_swap_invariant_errors(
    predicted: Float[Tensor, "N 5 2"], true: Float[Tensor, "N 5 2"]
) -> Float[Tensor, "N 5"]:
    """Return the error of each point, in pixels, under the better assignment of the two hands.

    The points of a figure are head, left hand, right hand, left foot, right foot. The hands look alike, so there are
    two assignments: each predicted hand belongs to the true hand of the same name, or the two predicted hands are
    exchanged. For each figure the assignment with the smaller sum of distances counts, for both hands. Head and feet
    are never exchanged. If both sums are equal, either may be used. The inputs stay as they are.

    This is a permutation-invariant error: it does not depend on the order of the predicted hands.

    Example: the true hands are at (0, 0) and (10, 0), the predicted ones at (9, 0) and (0, 2). By name the distances
    are 9 and 10.2. Exchanged they are 2 (for the true left hand) and 1 (for the true right hand), so these count.

    Args:
        predicted: (x, y) of the points of N figures, pixels.
        true: (x, y) of the same points, pixels.

    Returns:
        Distances. Column k belongs to true point k: column 1 is the distance of the true left hand from the predicted
        hand that is assigned to it.
    """
    by_name = (predicted - true).norm(dim=-1)
    exchanged = (predicted[:, [0, 2, 1, 3, 4]] - true).norm(dim=-1)
    exchanged_is_better = exchanged.sum(1, keepdim=True) < by_name.sum(1, keepdim=True)
    return torch.where(exchanged_is_better, exchanged, by_name)


# Cases

TWO_FIGURES = [
    [[50.0, 10], [30, 30], [70, 30], [35, 90], [65, 90]],
    [[50.0, 10], [40, 30], [60, 30], [45, 50], [55, 50]],
]
"""True points of two figures whose boxes have diagonals of 89.44 and 44.72 pixels."""
THEIR_ERRORS = [
    [[4.4, 0.0], [0, 4.6], [0, 0], [0, 0], [0, 0]],
    [[2.2, 0.0], [0, 4.4], [8, 0], [0, 0], [0, 0]],
]
ONE_FIGURE = [[[0.0, 0], [30, 0], [0, 40], [15, 20], [30, 40]]]
"""True points of a figure whose box has a diagonal of 50 pixels."""
ITS_ERRORS = [[[3.0, 3.9], [-5.2, 0], [0, 0], [0, 0], [0, 0]]]


def _draw_figures(num_figures: int, generator: torch.Generator) -> Tensor:
    """Return points of figures of different sizes: head above, hands at the sides, feet below."""
    shape = torch.tensor([[0.0, -0.5], [-0.35, -0.2], [0.35, -0.1], [-0.25, 0.5], [0.25, 0.5]])
    centres = 40 + torch.rand(num_figures, 1, 2, generator=generator) * 48
    sizes = 25 + torch.rand(num_figures, 1, 1, generator=generator) * 40
    jitter = torch.rand(num_figures, 5, 2, generator=generator) * 6
    return centres + sizes * shape + jitter


def _draw_errors(num_figures: int, largest: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(num_figures, 5, 2, generator=generator) - 1) * largest


def draw_pck_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `compute_pck`."""
    two, one = torch.tensor(TWO_FIGURES), torch.tensor(ONE_FIGURE)
    two_predicted = two + torch.tensor(THEIR_ERRORS)
    one_predicted = one + torch.tensor(ITS_ERRORS)
    many = _draw_figures(8, generator)
    many_predicted = many + _draw_errors(8, 7.0, generator)
    thresholds = [0.02, 0.05, 0.1, 0.15]
    return [
        Case("by hand", "two figures", (two_predicted, two, [0.05, 0.1])),
        Case("by hand", "errors on both axes, and a prediction out of the box", (one_predicted, one, [0.1])),
        Case("by hand", "the same by torso", (two_predicted, two, [0.05, 0.1], "torso")),
        Case(
            "by hand", "feet at unequal distances from the head, by torso", (one_predicted, one, [0.15, 0.18], "torso")
        ),
        Case("borders and empty input", "perfect points", (two, two, [0.05])),
        Case("borders and empty input", "a normaliser that does not exist", (two, two, [0.05], "height")),
        Case("shapes and batches", "one figure, four thresholds", (many_predicted[:1], many[:1], thresholds)),
        Case("laws", "points as shares of the image", (two_predicted / IMAGE_SIZE, two / IMAGE_SIZE, [0.05, 0.1])),
        Case("laws", "both sides moved together", (many_predicted + 20, many + 20, thresholds)),
        Case("data", "random figures", (many_predicted, many, thresholds)),
        Case("data", "random figures by torso", (many_predicted, many, thresholds, "torso")),
    ]


def draw_swap_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `compute_swap_invariant_errors`."""
    true = torch.tensor([[[5.0, -9], [0, 0], [10, 0], [0, 20], [10, 20]]])
    exchanged = torch.tensor([[[5.0, -9], [9, 0], [0, 2], [0, 20], [10, 20]]])
    same_place = torch.tensor([[[5.0, -9], [9, 1], [10, 2], [0, 20], [10, 20]]])
    feet_exchanged = torch.tensor([[[5.0, -9], [1, 0], [10, 0], [10, 20], [0, 20]]])
    # By name the hands' distances are 5 and 5, exchanged they are 9 and 0: a smaller sum, but a larger maximum.
    uneven_true = torch.tensor([[[0.0, 40], [0, 0], [5, 0], [20, 60], [30, 60]]])
    uneven = torch.tensor([[[0.0, 40], [5, 0], [8.1, 3.9], [20, 60], [30, 60]]])
    # By name 5 and 5, exchanged 6 and 1: the maximum is larger, the sum of squares is not.
    nearly_even = torch.tensor([[[0.0, 40], [4.9, 1], [3.6, 4.8], [20, 60], [30, 60]]])
    # By name 5 and 7, exchanged 3 and 11: the left hand alone would be nearer.
    left_nearer = torch.tensor([[[5.0, -9], [0, 5], [3, 0], [0, 20], [10, 20]]])
    many = _draw_figures(6, generator)
    many_predicted = many[:, EXCHANGED] + _draw_errors(6, 9.0, generator)
    many_predicted[::2] = many_predicted[::2, EXCHANGED]
    return [
        Case("by hand", "exchanged hands", (exchanged, true)),
        Case("by hand", "hands in the right order", (true + torch.tensor([3.0, 4.0]), true)),
        Case("by hand", "an exchange whose largest distance is larger", (uneven, uneven_true)),
        Case("by hand", "distances of 5 and 5 against 6 and 1", (nearly_even, uneven_true)),
        Case("by hand", "an exchange that only the left hand gains from", (left_nearer, true)),
        Case("borders and empty input", "both predicted hands at the same true hand", (same_place, true)),
        Case("borders and empty input", "exchanged feet", (feet_exchanged, true)),
        Case(
            "shapes and batches",
            "three figures, the second one exchanged",
            (torch.cat([true, exchanged, true + 1]), true.expand(3, 5, 2)),
        ),
        Case("laws", "the predicted hands in the other order", (many_predicted[:, EXCHANGED], many)),
        Case("data", "random figures", (many_predicted, many)),
    ]


# Wrong implementations of compute_pck


def _measure_diagonals(points: Tensor) -> Tensor:
    return (points.amax(1) - points.amin(1)).norm(dim=-1)


def _check_normaliser(normalize_by: str) -> None:
    if normalize_by not in ("bbox", "torso"):
        raise ValueError(normalize_by)


def _measure(true: Tensor, normalize_by: str) -> Tensor:
    """Return the right size of each figure."""
    _check_normaliser(normalize_by)
    if normalize_by == "bbox":
        return _measure_diagonals(true)
    return (true[:, 0] - (true[:, 3] + true[:, 4]) / 2).norm(dim=-1)


def _share(errors: Tensor, sizes: Tensor | float, thresholds: Sequence[float]) -> dict[float, float]:
    """Return the share of errors within each threshold of the sizes, which fit the errors' shape."""
    return {threshold: (errors <= threshold * sizes).double().mean().item() for threshold in thresholds}


def _measure_errors(predicted: Tensor, true: Tensor) -> Tensor:
    return (predicted - true).norm(dim=-1)


def _image_diagonal(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    _check_normaliser(normalize_by)
    return _share(_measure_errors(predicted, true), IMAGE_SIZE * 2**0.5, thresholds)


def _image_side(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    _check_normaliser(normalize_by)
    return _share(_measure_errors(predicted, true), IMAGE_SIZE, thresholds)


def _not_normalised(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    _check_normaliser(normalize_by)
    return _share(_measure_errors(predicted, true), 1.0, thresholds)


def _sides_at_least_one(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    sizes = _measure(true, normalize_by)
    if normalize_by == "bbox":
        sizes = (true.amax(1) - true.amin(1)).clamp(min=1).norm(dim=-1)
    return _share(_measure_errors(predicted, true), sizes[:, None], thresholds)


def _torso_ignored(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    _check_normaliser(normalize_by)
    return compute_pck(predicted, true, thresholds)


def _torso_to_left_hand(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    sizes = (true[:, 0] - true[:, 1]).norm(dim=-1) if normalize_by == "torso" else _measure(true, normalize_by)
    return _share(_measure_errors(predicted, true), sizes[:, None], thresholds)


def _torso_to_left_foot(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    sizes = (true[:, 0] - true[:, 3]).norm(dim=-1) if normalize_by == "torso" else _measure(true, normalize_by)
    return _share(_measure_errors(predicted, true), sizes[:, None], thresholds)


def _longer_side(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    sizes = _measure(true, normalize_by)
    if normalize_by == "bbox":
        sizes = (true.amax(1) - true.amin(1)).amax(-1)
    return _share(_measure_errors(predicted, true), sizes[:, None], thresholds)


def _root_of_area(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    sizes = _measure(true, normalize_by)
    if normalize_by == "bbox":
        sizes = (true.amax(1) - true.amin(1)).prod(-1).sqrt()
    return _share(_measure_errors(predicted, true), sizes[:, None], thresholds)


def _size_of_prediction(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    return _share(_measure_errors(predicted, true), _measure(predicted, normalize_by)[:, None], thresholds)


def _one_box_for_all(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    sizes = _measure(true, normalize_by)
    if normalize_by == "bbox":
        sizes = _measure_diagonals(true.flatten(0, 1)[None])
    return _share(_measure_errors(predicted, true), sizes[:, None], thresholds)


def _mean_size(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    return _share(_measure_errors(predicted, true), _measure(true, normalize_by).mean(), thresholds)


def _per_coordinate(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    return _share((predicted - true).abs(), _measure(true, normalize_by)[:, None, None], thresholds)


def _whole_figures(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    return _share(_measure_errors(predicted, true).amax(1), _measure(true, normalize_by), thresholds)


def _squared_distance(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    return _share((predicted - true).square().sum(-1), _measure(true, normalize_by)[:, None], thresholds)


def _sum_of_sides(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    return _share((predicted - true).abs().sum(-1), _measure(true, normalize_by)[:, None], thresholds)


def _list_of_shares(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> list[float]:
    return list(compute_pck(predicted, true, thresholds, normalize_by).values())


def _percent(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    shares = compute_pck(predicted, true, thresholds, normalize_by)
    return {threshold: 100 * share for threshold, share in shares.items()}


def _any_other_is_bbox(
    predicted: Tensor, true: Tensor, thresholds: Sequence[float], normalize_by: str = "bbox"
) -> dict[float, float]:
    return compute_pck(predicted, true, thresholds, "torso" if normalize_by == "torso" else "bbox")


# Wrong implementations of compute_swap_invariant_errors


def _measure_both(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Return the errors by name, and those with the predicted hands exchanged."""
    return _measure_errors(predicted, true), _measure_errors(predicted[:, EXCHANGED], true)


def _each_hand_alone(predicted: Tensor, true: Tensor) -> Tensor:
    return torch.minimum(*_measure_both(predicted, true))


def _one_assignment_for_all(predicted: Tensor, true: Tensor) -> Tensor:
    by_name, exchanged = _measure_both(predicted, true)
    return exchanged if exchanged.sum() < by_name.sum() else by_name


def _smaller_maximum(predicted: Tensor, true: Tensor) -> Tensor:
    by_name, exchanged = _measure_both(predicted, true)
    is_better = exchanged[:, 1:3].amax(1, keepdim=True) < by_name[:, 1:3].amax(1, keepdim=True)
    return torch.where(is_better, exchanged, by_name)


def _smaller_squares(predicted: Tensor, true: Tensor) -> Tensor:
    by_name, exchanged = _measure_both(predicted, true)
    is_better = exchanged.square().sum(1, keepdim=True) < by_name.square().sum(1, keepdim=True)
    return torch.where(is_better, exchanged, by_name)


def _left_hand_decides(predicted: Tensor, true: Tensor) -> Tensor:
    by_name, exchanged = _measure_both(predicted, true)
    return torch.where(exchanged[:, 1:2] < by_name[:, 1:2], exchanged, by_name)


def _feet_exchanged_too(predicted: Tensor, true: Tensor) -> Tensor:
    errors = compute_swap_invariant_errors(predicted, true)
    by_name = _measure_errors(predicted, true)[:, 3:]
    exchanged = _measure_errors(predicted[:, [0, 1, 2, 4, 3]], true)[:, 3:]
    is_better = exchanged.sum(1, keepdim=True) < by_name.sum(1, keepdim=True)
    return torch.cat([errors[:, :3], torch.where(is_better, exchanged, by_name)], dim=1)


def _feet_exchanged_with_hands(predicted: Tensor, true: Tensor) -> Tensor:
    by_name = _measure_errors(predicted, true)
    exchanged = _measure_errors(predicted[:, [0, 2, 1, 4, 3]], true)
    return torch.where(exchanged.sum(1, keepdim=True) < by_name.sum(1, keepdim=True), exchanged, by_name)


def _never_exchanged(predicted: Tensor, true: Tensor) -> Tensor:
    return _measure_errors(predicted, true)


def _always_exchanged(predicted: Tensor, true: Tensor) -> Tensor:
    return _measure_errors(predicted[:, EXCHANGED], true)


def _larger_sum(predicted: Tensor, true: Tensor) -> Tensor:
    by_name, exchanged = _measure_both(predicted, true)
    return torch.where(exchanged.sum(1, keepdim=True) > by_name.sum(1, keepdim=True), exchanged, by_name)


def _in_predicted_order(predicted: Tensor, true: Tensor) -> Tensor:
    by_name, exchanged = _measure_both(predicted, true)
    is_better = exchanged.sum(1, keepdim=True) < by_name.sum(1, keepdim=True)
    return torch.where(is_better, exchanged[:, EXCHANGED], by_name)


def _exchanged_in_place(predicted: Tensor, true: Tensor) -> Tensor:
    by_name = _measure_errors(predicted, true)
    exchanged = predicted
    exchanged[:, 1], exchanged[:, 2] = predicted[:, 2], predicted[:, 1]
    exchanged = _measure_errors(exchanged, true)
    return torch.where(exchanged.sum(1, keepdim=True) < by_name.sum(1, keepdim=True), exchanged, by_name)


def _mean_per_figure(predicted: Tensor, true: Tensor) -> Tensor:
    return compute_swap_invariant_errors(predicted, true).mean(1)


def _squared_errors(predicted: Tensor, true: Tensor) -> Tensor:
    return compute_swap_invariant_errors(predicted, true).square()


PCK = Definition(
    name="compute_pck",
    number="5.1",
    title="PCK: percentage of correct keypoints",
    purpose="All networks of lessons 5 and 6 are compared by this metric.",
    points=3,
    difficulty=2,
    minutes=(15, 25),
    reference=compute_pck,
    imports=PCK_IMPORTS,
    draw_cases=draw_pck_cases,
    workload=Case("data", "200 figures", (200, [0.05, 0.1, 0.15, 0.2]), driver="keypoints.score_random_figures"),
    calls=200,
    hints=(
        "For one figure by hand: how large is its box, how far may a point be off, which of the five are correct?",
        "Three steps: the distance of each point [N, 5], the size of each figure [N], and for each threshold the mean "
        "of a comparison.",
        "`true.amax(1) - true.amin(1)` has the width and the height of each figure's box. An axis of length 1 lets "
        "sizes [N, 1] meet distances [N, 5].",
    ),
    mistakes=(
        Mistake(
            "PK1",
            "the size is the diagonal of the image",
            "The limit is a share of the figure's size, not of the image's.",
            _image_diagonal,
        ),
        Mistake(
            "PK2",
            "the size is the side of the image",
            "The limit is a share of the figure's size, not of the image's.",
            _image_side,
        ),
        Mistake(
            "PK3",
            "distances are compared with the thresholds themselves",
            "Divide each distance by the size of its figure, as normalize_by defines it.",
            _not_normalised,
        ),
        Mistake(
            "PK5",
            "the sides of the box are raised to at least 1",
            "Points may be shares of the image. Then 1 is the whole image.",
            _sides_at_least_one,
        ),
        Mistake(
            "PK6",
            '"torso" gives the same as "bbox"',
            "With normalize_by = 'torso' the size is the distance from the head to the middle of the feet.",
            _torso_ignored,
        ),
        Mistake(
            "PK7a",
            "the torso reaches from the head to the left hand",
            "The torso is defined as the distance from the head to the middle between the feet.",
            _torso_to_left_hand,
        ),
        Mistake(
            "PK7b",
            "the torso reaches from the head to the left foot",
            "The torso is defined as the distance from the head to the middle between the feet.",
            _torso_to_left_foot,
        ),
        Mistake(
            "PK9a",
            "the size is the longer side of the box",
            "The size is the diagonal: the root of width² + height².",
            _longer_side,
        ),
        Mistake(
            "PK9b",
            "the size is the root of the box's area",
            "The size is the diagonal: the root of width² + height².",
            _root_of_area,
        ),
        Mistake(
            "PK10",
            "the size is that of the predicted figure",
            "A wild prediction would allow itself large errors. Measure the true points.",
            _size_of_prediction,
        ),
        Mistake(
            "PK11a",
            "one box surrounds all figures",
            "Each figure has its own box: take the minimum and maximum over axis 1 only.",
            _one_box_for_all,
        ),
        Mistake(
            "PK11b",
            "all figures have the mean size",
            "Compare the errors of a figure with its own size.",
            _mean_size,
        ),
        Mistake(
            "PK12a",
            "x and y are judged separately",
            "A point has one error: the length of (dx, dy).",
            _per_coordinate,
        ),
        Mistake(
            "PK12b",
            "a figure is correct only if all its points are",
            "Count points, not figures.",
            _whole_figures,
        ),
        Mistake(
            "PK12c",
            "the distance is squared",
            "The distance is the root of dx² + dy².",
            _squared_distance,
        ),
        Mistake(
            "PK12d",
            "the distance is |dx| + |dy|",
            "The distance is the root of dx² + dy².",
            _sum_of_sides,
        ),
        Mistake(
            "PK13a",
            "a list is returned",
            "Return a dict: {threshold: share}.",
            _list_of_shares,
        ),
        Mistake(
            "PK13b",
            "percentages are returned",
            "Return shares from 0 to 1.",
            _percent,
        ),
        Mistake(
            "PK14",
            "an unknown normaliser is accepted",
            "Raise a ValueError. A misspelt name would give wrong numbers without a word.",
            _any_other_is_bbox,
        ),
    ),
)

SWAP_INVARIANT_ERRORS = Definition(
    name="compute_swap_invariant_errors",
    number="5.2",
    title="Errors under the better assignment of the hands",
    purpose="The images do not show which hand is the left one. With these errors, a network that finds both"
    " hands is not graded by a name that it cannot know.",
    points=2,
    difficulty=2,
    minutes=(10, 20),
    reference=compute_swap_invariant_errors,
    imports=ERRORS_IMPORTS,
    draw_cases=draw_swap_cases,
    workload=Case("data", "200 figures", (200,), driver="keypoints.score_random_figures"),
    calls=200,
    hints=(
        "Compute all five errors twice: once with the predicted points as they are, once with rows 1 and 2 exchanged.",
        "`predicted[:, [0, 2, 1, 3, 4]]` exchanges the hands in a copy. Which of the two results has the smaller sum "
        "for a figure?",
        "`torch.where(is_better, exchanged, by_name)` chooses per figure if is_better has the shape [N, 1].",
    ),
    mistakes=(
        Mistake(
            "SW1",
            "each true hand gets the nearest predicted hand",
            "Both true hands may get the same predicted hand then. Choose one assignment for both.",
            _each_hand_alone,
        ),
        Mistake(
            "SW2",
            "one assignment is chosen for all figures",
            "Choose for each figure: sum over axis 1 only.",
            _one_assignment_for_all,
        ),
        Mistake(
            "SW3a",
            "the smaller of the largest distances decides",
            "The sum of the distances decides.",
            _smaller_maximum,
        ),
        Mistake(
            "SW3b",
            "the sum of squared distances decides",
            "The sum of the distances decides.",
            _smaller_squares,
        ),
        Mistake(
            "SW3c",
            "the left hand alone decides",
            "The sum of both hands' distances decides.",
            _left_hand_decides,
        ),
        Mistake(
            "SW4a",
            "feet may be exchanged, too",
            "The left foot is the one at the smaller x. Exchange the hands only.",
            _feet_exchanged_too,
        ),
        Mistake(
            "SW4b",
            "feet are exchanged together with the hands",
            "The left foot is the one at the smaller x. Exchange the hands only.",
            _feet_exchanged_with_hands,
        ),
        Mistake(
            "SW5",
            "the hands are never exchanged",
            "Compute the errors a second time, with the predicted hands exchanged. Exchanging them on both sides gives "
            "the same distances again.",
            _never_exchanged,
        ),
        Mistake(
            "SW7",
            "the hands are always exchanged",
            "Exchange them only where the sum of distances becomes smaller.",
            _always_exchanged,
        ),
        Mistake(
            "SW8",
            "the worse assignment is chosen",
            "The smaller sum counts.",
            _larger_sum,
        ),
        Mistake(
            "SW9",
            "the errors are in the order of the predicted hands",
            "Column 1 belongs to the true left hand.",
            _in_predicted_order,
        ),
        Mistake(
            "SW10",
            "the hands are exchanged in place, so one of them is lost",
            "`a[:, 1], a[:, 2] = a[:, 2], a[:, 1]` reads views: the second copy already sees the first one's result. "
            "Index a copy: a[:, [0, 2, 1, 3, 4]].",
            _exchanged_in_place,
        ),
        Mistake(
            "SW11",
            "one mean per figure is returned",
            "Return one error per point: [N, 5].",
            _mean_per_figure,
        ),
        Mistake(
            "SW12",
            "errors are squared",
            "The error is the distance: the root of dx² + dy².",
            _squared_errors,
        ),
    ),
)

DEFINITIONS = (PCK, SWAP_INVARIANT_ERRORS)
