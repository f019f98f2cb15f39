"""Build tasks of box losses: GIoU, DIoU and CIoU."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake


def giou_loss(boxes: Float[Tensor, "N 4"], others: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """Return 1 - GIoU (generalised IoU) of each box with the other box in the same row.

    GIoU = IoU - gap / enclosing area. The enclosing box is the smallest box that contains both. The gap is the part of
    it that neither box covers: enclosing area minus union. Gradients must flow to both arguments.

    Example: [0, 0, 10, 10] and [5, 5, 15, 15] share 25 of 175 square pixels: the IoU is 0.1429. The enclosing box
    [0, 0, 15, 15] has 225, so the gap is 50, and GIoU = 0.1429 - 50 / 225 = -0.0794. The loss is 1.0794.

    Args:
        boxes: N boxes (x1, y1, x2, y2) in pixels, with positive width and height.
        others: N boxes of the same kind.

    Returns:
        N losses from 0 (equal boxes) to 2.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    other_x1, other_y1, other_x2, other_y2 = others.unbind(1)
    overlap_width = (torch.minimum(x2, other_x2) - torch.maximum(x1, other_x1)).clamp(min=0)
    overlap_height = (torch.minimum(y2, other_y2) - torch.maximum(y1, other_y1)).clamp(min=0)
    intersection = overlap_width * overlap_height
    union = (x2 - x1) * (y2 - y1) + (other_x2 - other_x1) * (other_y2 - other_y1) - intersection
    enclosing_width = torch.maximum(x2, other_x2) - torch.minimum(x1, other_x1)
    enclosing_height = torch.maximum(y2, other_y2) - torch.minimum(y1, other_y1)
    enclosing_area = enclosing_width * enclosing_height
    giou = intersection / union - (enclosing_area - union) / enclosing_area
    return 1 - giou


def diou_loss(boxes: Float[Tensor, "N 4"], others: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """Return the DIoU loss (distance IoU) of each box with the other box in the same row.

    The loss is 1 - IoU + distance² / diagonal². The distance is the one between the two centres. The diagonal is the
    one of the smallest box that encloses both. Gradients must flow to both arguments.

    Example: [0, 0, 10, 10] and [5, 5, 15, 15] have IoU 25 / 175 = 0.1429. Their centres (5, 5) and (10, 10) have the
    squared distance 50. The enclosing box [0, 0, 15, 15] has the squared diagonal 450. The loss is
    1 - 0.1429 + 50 / 450 = 0.9683.

    Args:
        boxes: N boxes (x1, y1, x2, y2) in pixels, with positive width and height.
        others: N boxes of the same kind.

    Returns:
        N losses from 0 (equal boxes) to 2.
    """
    iou = _compute_paired_iou(boxes, others)  # [N]: IoU of the two boxes in each row
    x1, y1, x2, y2 = boxes.unbind(1)
    other_x1, other_y1, other_x2, other_y2 = others.unbind(1)
    enclosing_width = torch.maximum(x2, other_x2) - torch.minimum(x1, other_x1)
    enclosing_height = torch.maximum(y2, other_y2) - torch.minimum(y1, other_y1)
    squared_diagonal = enclosing_width**2 + enclosing_height**2
    centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
    other_centre_x, other_centre_y = (other_x1 + other_x2) / 2, (other_y1 + other_y2) / 2
    squared_distance = (centre_x - other_centre_x) ** 2 + (centre_y - other_centre_y) ** 2
    return 1 - iou + squared_distance / squared_diagonal


def _compute_paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of each box with the other box in the same row."""
    x1, y1, x2, y2 = boxes.unbind(1)
    other_x1, other_y1, other_x2, other_y2 = others.unbind(1)
    overlap_width = (torch.minimum(x2, other_x2) - torch.maximum(x1, other_x1)).clamp(min=0)
    overlap_height = (torch.minimum(y2, other_y2) - torch.maximum(y1, other_y1)).clamp(min=0)
    intersection = overlap_width * overlap_height
    union = (x2 - x1) * (y2 - y1) + (other_x2 - other_x1) * (other_y2 - other_y1) - intersection
    return intersection / union


def ciou_loss(boxes: Float[Tensor, "N 4"], others: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """Return the CIoU loss (complete IoU) of each box with the other box in the same row.

    The loss is the DIoU loss plus alpha · v. The shape term v = 4 / pi² · (angle - other angle)² compares the boxes'
    angles, atan(width / height). Its weight is alpha = v / (1 - IoU + v). Two equal boxes have the loss 0, not NaN, so
    add 1e-7 to the divisor of alpha. Gradients must flow to both arguments. Whether alpha is a constant for the
    gradient, as in the paper and in torchvision, or takes part in it, is free.

    Example: [0, 0, 10, 10] and [0, 0, 20, 5] have IoU 50 / 150 = 0.3333. Their centres differ by (5, -2.5), and the
    enclosing box is 20 × 10, so the DIoU loss is 0.6667 + 31.25 / 500 = 0.7292. The angles are 0.7854 and 1.3258, so
    v = 0.1184, alpha = 0.1184 / (0.6667 + 0.1184) = 0.1508, and the loss is 0.7292 + 0.1508 · 0.1184 = 0.747.

    Args:
        boxes: N boxes (x1, y1, x2, y2) in pixels, with positive width and height.
        others: N boxes of the same kind.

    Returns:
        N losses.
    """
    loss = diou_loss(boxes, others)
    x1, y1, x2, y2 = boxes.unbind(1)
    other_x1, other_y1, other_x2, other_y2 = others.unbind(1)
    angle = torch.atan((x2 - x1) / (y2 - y1))
    other_angle = torch.atan((other_x2 - other_x1) / (other_y2 - other_y1))
    v = 4 / math.pi**2 * (angle - other_angle) ** 2
    with torch.no_grad():
        iou = _compute_paired_iou(boxes, others)  # [N]: IoU of the two boxes in each row
        alpha = v / (1 - iou + v + 1e-7)
    return loss + alpha * v


# Cases

SQUARE = [0.0, 0, 10, 10]
OTHERS = {
    "two boxes that overlap": [5.0, 5, 15, 15],
    "two boxes apart": [20.0, 0, 30, 10],
    "the same centre, another shape": [-5.0, 2.5, 15, 7.5],
    "another centre and another shape": [0.0, 0, 20, 5],
}
GRADIENT = "general.compute_gradient"


def draw_loss_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of a box loss. Gradients are taken where no two edges coincide, so that they are unique."""
    square = torch.tensor([SQUARE])
    corners = torch.rand(6, 2, generator=generator) * 20
    boxes = torch.cat([corners, corners + 4 + torch.rand(6, 2, generator=generator) * 20], dim=1)
    far_boxes = boxes + torch.tensor([50.0, -31, 50, -31])
    inner = torch.tensor([[2.0, 1, 7, 9]])
    wide = torch.tensor([[-5.0, 2.5, 15, 7.5]])
    all_others = torch.tensor(list(OTHERS.values()))
    return [
        *(Case("by hand", title, (square, torch.tensor([other]))) for title, other in OTHERS.items()),
        Case("borders and empty input", "two equal boxes", (wide, wide)),
        Case("borders and empty input", "no box at all", (torch.zeros(0, 4), torch.zeros(0, 4))),
        Case("borders and empty input", "two boxes apart on a diagonal", (square, square + 30)),
        Case("shapes and batches", "four boxes and four: row by row", (square.expand(4, 4), all_others)),
        Case("laws", "the arguments exchanged", (boxes[:3], boxes[3:]), driver="general.call_swapped"),
        Case("laws", "both sides moved together, across 0", (boxes[:3] - 11, boxes[3:] - 11)),
        Case("laws", "gradient: two boxes that overlap", (square, torch.tensor([[5.0, 4, 15, 16]])), driver=GRADIENT),
        Case("laws", "gradient: two boxes apart", (square, torch.tensor([[20.0, 1, 31, 12]])), driver=GRADIENT),
        Case("laws", "gradient: a box inside the other", (square, inner), driver=GRADIENT),
        Case("data", "random boxes", (boxes, boxes.flip(0))),
        Case("data", "gradients of random boxes, far from one another", (boxes, far_boxes.flip(0)), driver=GRADIENT),
    ]


# Wrong implementations. Each is written as a student writes it.


def _intersect(boxes: Tensor, others: Tensor) -> Tensor:
    shared = torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])
    return shared.clamp(min=0).prod(1)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def _unite(boxes: Tensor, others: Tensor) -> Tensor:
    return _area(boxes) + _area(others) - _intersect(boxes, others)


def _enclose(boxes: Tensor, others: Tensor) -> Tensor:
    """Return width and height of the smallest box around both."""
    return torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])


def _diagonal(boxes: Tensor, others: Tensor) -> Tensor:
    return (_enclose(boxes, others) ** 2).sum(1)


def _shift(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the difference of the centres."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2 - (others[:, :2] + others[:, 2:]) / 2


def _distance(boxes: Tensor, others: Tensor) -> Tensor:
    return (_shift(boxes, others) ** 2).sum(1)


def _angle(boxes: Tensor) -> Tensor:
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    return torch.atan(width / height)


def _weigh_shape(boxes: Tensor, others: Tensor, v: Tensor) -> Tensor:
    """Return the CIoU loss for a shape term v, with alpha as a constant."""
    alpha = (v / (1 - _compute_paired_iou(boxes, others) + v + 1e-7)).detach()
    return diou_loss(boxes, others) + alpha * v


def _squared_angle(boxes: Tensor, others: Tensor) -> Tensor:
    return (_angle(others) - _angle(boxes)) ** 2


def _overlap_without_cut(boxes: Tensor, others: Tensor) -> Tensor:
    """Return an IoU whose sides are not cut at 0."""
    shared = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).prod(1)
    return shared / (_area(boxes) + _area(others) - shared)


def _giou_over_union(boxes: Tensor, others: Tensor) -> Tensor:
    union = _unite(boxes, others)
    return 1 - _compute_paired_iou(boxes, others) + (_enclose(boxes, others).prod(1) - union) / union


def _giou_gap_without_overlap(boxes: Tensor, others: Tensor) -> Tensor:
    enclosing = _enclose(boxes, others).prod(1)
    return 1 - _compute_paired_iou(boxes, others) + (enclosing - _intersect(boxes, others)) / enclosing


def _giou_itself(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - giou_loss(boxes, others)


def _giou_gap_added(boxes: Tensor, others: Tensor) -> Tensor:
    return 2 * (1 - _compute_paired_iou(boxes, others)) - giou_loss(boxes, others)


def _giou_without_gradient(boxes: Tensor, others: Tensor) -> Tensor:
    return giou_loss(boxes, others).detach()


def _giou_without_cut(boxes: Tensor, others: Tensor) -> Tensor:
    shared = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).prod(1)
    union = _area(boxes) + _area(others) - shared
    enclosing = _enclose(boxes, others).prod(1)
    return 1 - shared / union + (enclosing - union) / enclosing


def _giou_of_all_pairs(boxes: Tensor, others: Tensor) -> Tensor:
    return torch.stack([giou_loss(box.expand_as(others), others) for box in boxes]) if len(boxes) else boxes[:, :0]


def _giou_mean(boxes: Tensor, others: Tensor) -> Tensor:
    return giou_loss(boxes, others).mean()


def _iou_loss(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - _compute_paired_iou(boxes, others)


def _squared_iou_loss(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - _compute_paired_iou(boxes, others) ** 2


def _log_iou_loss(boxes: Tensor, others: Tensor) -> Tensor:
    return -_compute_paired_iou(boxes, others).log()


def _diou_without_squares(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - _compute_paired_iou(boxes, others) + _distance(boxes, others).sqrt() / _diagonal(boxes, others).sqrt()


def _diou_only_distance_squared(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - _compute_paired_iou(boxes, others) + _distance(boxes, others) / _diagonal(boxes, others).sqrt()


def _diou_distance_subtracted(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - _compute_paired_iou(boxes, others) - _distance(boxes, others) / _diagonal(boxes, others)


def _diou_itself(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - diou_loss(boxes, others)


def _diou_without_gradient(boxes: Tensor, others: Tensor) -> Tensor:
    return diou_loss(boxes, others).detach()


def _diou_of_corners(boxes: Tensor, others: Tensor) -> Tensor:
    distance = ((boxes[:, :2] - others[:, :2]) ** 2).sum(1)
    return 1 - _compute_paired_iou(boxes, others) + distance / _diagonal(boxes, others)


def _diou_over_area(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - _compute_paired_iou(boxes, others) + _distance(boxes, others) / _enclose(boxes, others).prod(1)


def _diou_over_own_diagonal(boxes: Tensor, others: Tensor) -> Tensor:
    return (
        1
        - _compute_paired_iou(boxes, others)
        + _distance(boxes, others) / ((others[:, 2:] - others[:, :2]) ** 2).sum(1)
    )


def _diou_without_cut(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - _overlap_without_cut(boxes, others) + _distance(boxes, others) / _diagonal(boxes, others)


def _ciou_without_alpha(boxes: Tensor, others: Tensor) -> Tensor:
    return diou_loss(boxes, others) + 4 / math.pi**2 * _squared_angle(boxes, others)


def _ciou_without_factor(boxes: Tensor, others: Tensor) -> Tensor:
    return _weigh_shape(boxes, others, _squared_angle(boxes, others))


def _ciou_angle_not_squared(boxes: Tensor, others: Tensor) -> Tensor:
    return _weigh_shape(boxes, others, 4 / math.pi**2 * (_angle(others) - _angle(boxes)).abs())


def _ciou_without_arctangent(boxes: Tensor, others: Tensor) -> Tensor:
    ratio, other_ratio = _angle(boxes).tan(), _angle(others).tan()
    return _weigh_shape(boxes, others, 4 / math.pi**2 * (other_ratio - ratio) ** 2)


def _ciou_itself(boxes: Tensor, others: Tensor) -> Tensor:
    return 1 - ciou_loss(boxes, others)


def _ciou_without_gradient(boxes: Tensor, others: Tensor) -> Tensor:
    return ciou_loss(boxes, others).detach()


def _ciou_alpha_over_iou(boxes: Tensor, others: Tensor) -> Tensor:
    v = 4 / math.pi**2 * _squared_angle(boxes, others)
    alpha = (v / (_compute_paired_iou(boxes, others) + v + 1e-7)).detach()
    return diou_loss(boxes, others) + alpha * v


def _ciou_zero_by_zero(boxes: Tensor, others: Tensor) -> Tensor:
    v = 4 / math.pi**2 * _squared_angle(boxes, others)
    alpha = (v / (1 - _compute_paired_iou(boxes, others) + v)).detach()
    return diou_loss(boxes, others) + alpha * v


def _ciou_without_distance(boxes: Tensor, others: Tensor) -> Tensor:
    return ciou_loss(boxes, others) - _distance(boxes, others) / _diagonal(boxes, others)


def _ciou_v_without_gradient(boxes: Tensor, others: Tensor) -> Tensor:
    v = 4 / math.pi**2 * _squared_angle(boxes, others).detach()
    return _weigh_shape(boxes, others, v)


def _alpha_in_the_gradient(boxes: Tensor, others: Tensor) -> Tensor:
    v = 4 / math.pi**2 * _squared_angle(boxes, others)
    return diou_loss(boxes, others) + v * v / (1 - _compute_paired_iou(boxes, others) + v + 1e-7)


IMPORTS = "import math\n\nimport torch\nfrom jaxtyping import Float\nfrom torch import Tensor"
WORKLOAD = Case("data", "64 pairs of boxes", (64,), driver="digits.time_loss")
LOSS_NOT_SIMILARITY = "Equal boxes must have the loss 0: return 1 minus it."
NO_GRADIENT = "A loss that has no gradient changes no weight: remove `detach`, `no_grad` and `.item()`."
CUT_AT_ZERO = "Boxes apart on both axes give two negative sides, and their product is positive. Cut each side at 0."

GIOU = Definition(
    name="giou_loss",
    number="8.1",
    title="GIoU loss",
    purpose="The IoU loss is flat where boxes do not touch. The GIoU loss has a slope there; the lesson "
    "measures how steep it is.",
    points=2,
    difficulty=2,
    minutes=(10, 20),
    reference=giou_loss,
    imports=IMPORTS,
    draw_cases=draw_loss_cases,
    workload=WORKLOAD,
    calls=500,
    hints=(
        "Draw two boxes apart and the smallest box around both. Which part of it does neither box cover?",
        "The enclosing box starts at the smaller of the two x1 and ends at the larger of the two x2.",
        "loss = 1 - (intersection / union - (enclosing area - union) / enclosing area)",
    ),
    mistakes=(
        Mistake("BL1", "the gap is divided by the union", "Divide the gap by the enclosing area.", _giou_over_union),
        Mistake(
            "BL2",
            "the gap is the enclosing area minus the intersection",
            "The gap is covered by neither box: subtract the union.",
            _giou_gap_without_overlap,
        ),
        Mistake("BL3a", "the result is GIoU, not 1 - GIoU", LOSS_NOT_SIMILARITY, _giou_itself),
        Mistake(
            "BL3b",
            "the gap lowers the loss",
            "A gap makes GIoU smaller, and so the loss larger.",
            _giou_gap_added,
        ),
        Mistake("BL9a", "the result is 1 - IoU", "Add the gap's share of the enclosing box.", _iou_loss),
        Mistake("BL9b", "the result is 1 - IoU²", "The loss is 1 - GIoU.", _squared_iou_loss),
        Mistake("BL9c", "the result is -log IoU", "The loss is 1 - GIoU.", _log_iou_loss),
        Mistake("BL10a", "the loss has no gradient", NO_GRADIENT, _giou_without_gradient),
        Mistake("BL11a", "the overlap's width and height are not cut at 0", CUT_AT_ZERO, _giou_without_cut),
        Mistake(
            "BL12",
            "every box is compared with every other box",
            "Compare row by row: the result has N numbers.",
            _giou_of_all_pairs,
        ),
        Mistake("BL13", "the result is the mean", "Return one loss per row; the caller takes the mean.", _giou_mean),
    ),
)

DIOU = Definition(
    name="diou_loss",
    number="8.2",
    title="DIoU loss",
    purpose="The DIoU loss compares the centres of two boxes, also if one lies inside the other.",
    points=2,
    difficulty=2,
    minutes=(10, 15),
    reference=diou_loss,
    imports=IMPORTS,
    draw_cases=draw_loss_cases,
    workload=WORKLOAD,
    calls=500,
    hints=(
        "How far is one centre from the other? Why must the distance be divided by a length?",
        "Squared distance of the centres: the sum of the squared differences in x and in y.",
        "loss = 1 - IoU + squared distance / (enclosing width² + enclosing height²)",
    ),
    mistakes=(
        Mistake(
            "BL4",
            "distance and diagonal are not squared",
            "Divide the squared distance by the squared diagonal.",
            _diou_without_squares,
        ),
        Mistake(
            "BL5",
            "only the diagonal is not squared",
            "Divide the squared distance by the squared diagonal.",
            _diou_only_distance_squared,
        ),
        Mistake(
            "BL6", "the distance is subtracted", "Distance makes the loss larger: add it.", _diou_distance_subtracted
        ),
        Mistake("BL3c", "the result is DIoU, not 1 - DIoU", LOSS_NOT_SIMILARITY, _diou_itself),
        Mistake("BL9d", "the result is 1 - IoU", "Add the distance of the centres.", _iou_loss),
        Mistake("BL9e", "the result is the GIoU loss", "DIoU uses the distance of the centres.", giou_loss),
        Mistake("BL10b", "the loss has no gradient", NO_GRADIENT, _diou_without_gradient),
        Mistake("BL11b", "the overlap's width and height are not cut at 0", CUT_AT_ZERO, _diou_without_cut),
        Mistake(
            "BL14",
            "the distance is the one between the upper left corners",
            "Compare the centres, (x1 + x2) / 2 and (y1 + y2) / 2.",
            _diou_of_corners,
        ),
        Mistake(
            "BL15",
            "the squared distance is divided by the enclosing area",
            "Divide by the squared diagonal: width² + height² of the enclosing box.",
            _diou_over_area,
        ),
        Mistake(
            "BL16",
            "the diagonal is the one of the other box",
            "Take the diagonal of the smallest box that encloses both.",
            _diou_over_own_diagonal,
        ),
    ),
)

CIOU = Definition(
    name="ciou_loss",
    number="8.3",
    title="CIoU loss",
    purpose="The CIoU loss also compares the shapes. The report added this loss to its detector, and the "
    "lesson tests whether it helps.",
    points=3,
    difficulty=3,
    minutes=(15, 25),
    reference=ciou_loss,
    imports=IMPORTS,
    draw_cases=draw_loss_cases,
    workload=WORKLOAD,
    calls=500,
    convention="alpha is a constant for the gradient",
    conventions={"alpha takes part in the gradient": _alpha_in_the_gradient},
    hints=(
        "Two boxes with the same centre and the same area can differ in shape. Which number describes a shape?",
        "The angle atan(width / height) is 0.785 for a square. v is 4 / pi² · (difference of the angles)².",
        "alpha = v / (1 - IoU + v + 1e-7), and the loss is the DIoU loss + alpha · v.",
    ),
    mistakes=(
        Mistake(
            "BL7", "the shape term has no weight alpha", "Multiply v by alpha = v / (1 - IoU + v).", _ciou_without_alpha
        ),
        Mistake(
            "BL8a",
            "the factor 4 / pi² is missing",
            "v is 4 / pi² times the squared difference of the angles, so it is at most 1.",
            _ciou_without_factor,
        ),
        Mistake(
            "BL8b",
            "the difference of the angles is not squared",
            "v is 4 / pi² times the squared difference of the angles.",
            _ciou_angle_not_squared,
        ),
        Mistake(
            "BL8c",
            "ratios are compared instead of angles",
            "A ratio has no upper limit. Take the arctangent of width / height.",
            _ciou_without_arctangent,
        ),
        Mistake("BL3d", "the result is CIoU, not 1 - CIoU", LOSS_NOT_SIMILARITY, _ciou_itself),
        Mistake("BL9f", "the result is the DIoU loss", "Add alpha · v for the shape.", diou_loss),
        Mistake("BL10c", "the loss has no gradient", NO_GRADIENT, _ciou_without_gradient),
        Mistake(
            "BL17",
            "alpha is v / (IoU + v)",
            "The divisor of alpha is 1 - IoU + v, so the shape has a small weight where boxes hardly overlap.",
            _ciou_alpha_over_iou,
        ),
        Mistake(
            "BL18",
            "two equal boxes give NaN",
            "alpha is 0 / 0 there. Add 1e-7 to its divisor.",
            _ciou_zero_by_zero,
        ),
        Mistake(
            "BL19",
            "the distance of the centres is missing",
            "CIoU is the DIoU loss plus a term for the shape.",
            _ciou_without_distance,
        ),
        Mistake(
            "BL20",
            "the shape term has no gradient",
            "Only alpha may be a constant. v must have a gradient, or no shape is learned.",
            _ciou_v_without_gradient,
        ),
    ),
)

DEFINITIONS = (GIOU, DIOU, CIOU)
