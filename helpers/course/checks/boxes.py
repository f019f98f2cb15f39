"""Build task of box geometry: IoU."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake
from helpers.detection.boxes import paired_overlap


def compute_iou(boxes: Float[Tensor, "N 4"], others: Float[Tensor, "M 4"]) -> Float[Tensor, "N M"]:
    """Return the IoU (intersection over union) of every box with every other box.

    Boxes are corners (x1, y1, x2, y2) in pixels. Coordinates are continuous: the width of a box is x2 - x1.
    Boxes that do not overlap have IoU 0. A box without area has IoU 0 with every box, never NaN.

    Example: [0, 0, 10, 10] and [5, 5, 15, 15] share 5 x 5 = 25 square pixels. Together they cover 100 + 100 - 25 = 175,
    so the IoU is 25 / 175 = 0.1429.

    Args:
        boxes: N boxes.
        others: M boxes; N and M may differ, and either may be 0.

    Returns:
        Row n, column m: the IoU of boxes[n] and others[m].
    """
    overlap_start = torch.maximum(boxes[:, None, :2], others[None, :, :2])  # [N, M, (x1, y1)]
    overlap_end = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    overlap_size = (overlap_end - overlap_start).clamp(min=0)
    intersection = overlap_size[..., 0] * overlap_size[..., 1]
    areas = _area(boxes)
    other_areas = _area(others)
    union = areas[:, None] + other_areas[None, :] - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


SQUARE = [[0.0, 0, 10, 10]]
OTHERS = [[5.0, 5, 15, 15], [0, 0, 20, 20], [20, 20, 30, 30], [20, 0, 30, 10], [10, 0, 20, 10]]


def draw_iou_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `compute_iou`."""
    square, others = torch.tensor(SQUARE), torch.tensor(OTHERS)
    corners = torch.rand(5, 2, generator=generator) * 50
    boxes = torch.cat([corners, corners + 1 + torch.rand(5, 2, generator=generator) * 30], dim=1)
    offset = torch.tensor([-7.0, 3, -7, 3])
    return [
        Case("by hand", "two boxes that overlap", (square, others[:1])),
        Case("by hand", "a box inside the other", (square, others[1:2])),
        Case("borders and empty input", "two boxes apart, on a diagonal", (square, others[2:3])),
        Case("borders and empty input", "two boxes apart, side by side", (square, others[3:4])),
        Case("borders and empty input", "two boxes that only touch", (square, others[4:])),
        Case("borders and empty input", "a box without area", (torch.tensor([[3.0, 3, 3, 3]]), square)),
        Case("borders and empty input", "two boxes without area", (torch.zeros(1, 4), torch.zeros(1, 4))),
        Case("borders and empty input", "no box at all", (torch.zeros(0, 4), others)),
        Case("borders and empty input", "very small boxes", (square / 1e4, square / 1e4)),
        Case("shapes and batches", "two boxes and three", (torch.cat([square, others[:1]]), others[:3])),
        Case("shapes and batches", "three boxes and three: every pair", (others[:3], boxes[:3])),
        Case("laws", "the arguments exchanged", (boxes[:2], boxes[2:]), driver="general.call_swapped"),
        Case("laws", "both sides moved together, across 0", (boxes[:2] + offset, boxes[2:] + offset)),
        Case("data", "random boxes", (boxes, boxes.flip(0))),
    ]


# Wrong implementations. Each is written as a student writes it.


def _intersect(boxes: Tensor, others: Tensor, extra: float = 0.0) -> Tensor:
    """Return the areas of the intersections, with `extra` pixels added to each side."""
    start = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    size = (torch.minimum(boxes[:, None, 2:], others[None, :, 2:]) - start + extra).clamp(min=0)
    return size.prod(-1)


def _divide(intersection: Tensor, union: Tensor) -> Tensor:
    return torch.where(union > 0, intersection / union.clamp(min=1e-30), torch.zeros_like(union))


def _without_clamp(boxes: Tensor, others: Tensor) -> Tensor:
    start = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    intersection = (torch.minimum(boxes[:, None, 2:], others[None, :, 2:]) - start).prod(-1)
    union = _area(boxes)[:, None] + _area(others) - intersection
    return torch.where(union != 0, intersection / union, torch.zeros_like(union))


def _inclusive_pixels(boxes: Tensor, others: Tensor) -> Tensor:
    intersection = _intersect(boxes, others, extra=1)
    first = (boxes[:, 2:] - boxes[:, :2] + 1).prod(-1)
    second = (others[:, 2:] - others[:, :2] + 1).prod(-1)
    return intersection / (first[:, None] + second - intersection)


def _sum_without_overlap(boxes: Tensor, others: Tensor) -> Tensor:
    return _divide(_intersect(boxes, others), _area(boxes)[:, None] + _area(others))


def _over_smaller_area(boxes: Tensor, others: Tensor) -> Tensor:
    return _divide(_intersect(boxes, others), torch.minimum(_area(boxes)[:, None], _area(others)[None]))


def _over_first_area(boxes: Tensor, others: Tensor) -> Tensor:
    intersection = _intersect(boxes, others)
    return _divide(intersection, _area(boxes)[:, None].expand_as(intersection))


def _same_area_twice(boxes: Tensor, others: Tensor) -> Tensor:
    intersection = _intersect(boxes, others)
    return _divide(intersection, 2 * _area(boxes)[:, None] - intersection)


def _as_widths(boxes: Tensor, others: Tensor) -> Tensor:
    def to_corners(values: Tensor) -> Tensor:
        return torch.cat([values[:, :2], values[:, :2] + values[:, 2:]], dim=1)

    return compute_iou(to_corners(boxes), to_corners(others))


def _as_centres(boxes: Tensor, others: Tensor) -> Tensor:
    def to_corners(values: Tensor) -> Tensor:
        return torch.cat([values[:, :2] - values[:, 2:] / 2, values[:, :2] + values[:, 2:] / 2], dim=1)

    return compute_iou(to_corners(boxes), to_corners(others))


def _epsilon_in_union(boxes: Tensor, others: Tensor) -> Tensor:
    intersection = _intersect(boxes, others)
    return intersection / (_area(boxes)[:, None] + _area(others) - intersection + 1e-6)


def _zero_by_zero(boxes: Tensor, others: Tensor) -> Tensor:
    intersection = _intersect(boxes, others)
    return intersection / (_area(boxes)[:, None] + _area(others) - intersection)


def _pairs_at_equal_positions(boxes: Tensor, others: Tensor) -> Tensor:
    return torch.stack([compute_iou(box[None], other[None])[0, 0] for box, other in zip(boxes, others, strict=True)])


def _transposed(boxes: Tensor, others: Tensor) -> Tensor:
    return compute_iou(others, boxes)


def _zero_is_invalid(boxes: Tensor, others: Tensor) -> Tensor:
    is_valid = (boxes > 0).all(-1)[:, None] & (others > 0).all(-1)
    return compute_iou(boxes, others) * is_valid


def _generalised(boxes: Tensor, others: Tensor) -> Tensor:
    pairs = [[paired_overlap(box, other)[1] for other in others] for box in boxes]
    return torch.tensor(pairs).reshape(len(boxes), len(others))


def _dice(boxes: Tensor, others: Tensor) -> Tensor:
    return _divide(2 * _intersect(boxes, others), _area(boxes)[:, None] + _area(others))


IOU = Definition(
    name="compute_iou",
    number="2.2",
    title="IoU of every pair of boxes",
    purpose="IoU decides which anchor learns which object, which of two detections is a duplicate, and what counts as "
    "found.",
    points=2,
    difficulty=2,
    minutes=(10, 20),
    reference=compute_iou,
    imports="import torch\nfrom jaxtyping import Float\nfrom torch import Tensor",
    draw_cases=draw_iou_cases,
    workload=Case("data", "12348 anchors and 5 objects", (12348, 5), driver="boxes.time_pairs"),
    calls=1000,
    hints=(
        "Draw two overlapping boxes on paper. Where does the overlap start, and where does it end, on each axis?",
        "The overlap starts at the larger of the two x1 and ends at the smaller of the two x2. What if it ends before "
        "it starts?",
        "For all pairs at once give one side an axis of length 1: `boxes[:, None, :2]` against `others[None, :, :2]` "
        "has the shape [N, M, 2].",
    ),
    mistakes=(
        Mistake(
            "IOU1",
            "the overlap's width and height are not cut at 0",
            "Two boxes apart on both axes give two negative sides, and their product is positive. Cut each side at 0 "
            "before you multiply.",
            _without_clamp,
        ),
        Mistake(
            "IOU2",
            "one pixel is added to each side (x2 - x1 + 1)",
            "Corners are positions here, not numbers of pixels: the width is x2 - x1.",
            _inclusive_pixels,
        ),
        Mistake(
            "IOU3",
            "the union counts the overlap twice",
            "The overlap is part of both areas. Subtract it once from their sum.",
            _sum_without_overlap,
        ),
        Mistake(
            "IOU4a",
            "the overlap is divided by the smaller area",
            "IoU divides by the union of both boxes.",
            _over_smaller_area,
        ),
        Mistake(
            "IOU4b",
            "the overlap is divided by the area of the first box",
            "IoU divides by the union of both boxes.",
            _over_first_area,
        ),
        Mistake(
            "IOU5",
            "the union uses the area of the first box twice",
            "Two boxes of equal size hide this. Check which areas you add.",
            _same_area_twice,
        ),
        Mistake(
            "IOU6a",
            "boxes are taken for (x, y, width, height)",
            "The last two numbers of a box are its lower right corner.",
            _as_widths,
        ),
        Mistake(
            "IOU6b",
            "boxes are taken for (centre x, centre y, width, height)",
            "A box is its upper left and its lower right corner.",
            _as_centres,
        ),
        Mistake(
            "IOU7",
            "a small number is added to every union",
            "It changes the IoU of small boxes. Guard only the case in which the union is 0.",
            _epsilon_in_union,
        ),
        Mistake(
            "IOU8",
            "two boxes without area give NaN",
            "0 / 0 is NaN, and one NaN spoils a whole loss. Here the IoU of boxes without area is 0.",
            _zero_by_zero,
        ),
        Mistake(
            "IOU9a",
            "box i is compared with other box i only",
            "The result has a row for each box and a column for each other box: [N, 1, 4] against [1, M, 4].",
            _pairs_at_equal_positions,
        ),
        Mistake(
            "IOU9b",
            "rows and columns are exchanged",
            "Row n belongs to boxes[n], column m to others[m].",
            _transposed,
        ),
        Mistake(
            "IOU10",
            "a box with a coordinate 0 counts as invalid",
            "0 is a legal coordinate: the left and the upper border of the image.",
            _zero_is_invalid,
        ),
        Mistake(
            "IOU11a",
            "the result is the generalised IoU",
            "Return the plain ratio of intersection and union.",
            _generalised,
        ),
        Mistake(
            "IOU11b",
            "the result is the Dice coefficient, 2 · intersection / sum of the areas",
            "Return intersection / union.",
            _dice,
        ),
    ),
)

DEFINITIONS = (IOU,)
