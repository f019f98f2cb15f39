"""Build tasks of box geometry: IoU, and boxes as offsets from anchors."""

from __future__ import annotations

import math

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
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    other_areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = areas[:, None] + other_areas[None, :] - intersection
    smallest = torch.finfo(union.dtype).tiny  # smallest positive number of this type
    return intersection / union.clamp(min=smallest)  # two boxes without area: 0 / smallest = 0, not 0 / 0 = NaN


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
        Case("by hand", "a box around the other", (others[1:2], square)),
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
    purpose="IoU decides which anchor is trained on which object, and in lesson 3 which detections are duplicates.",
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


# Boxes as offsets from anchors


def encode(boxes: Float[Tensor, "N 4"], anchors: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
    """Return each box as four offsets (tx, ty, tw, th) from the anchor of the same row.

    tx and ty are the way from the centre of the anchor to the centre of the box, in units of the anchor's width and
    height. tw and th are the natural logarithms of the box's width over the anchor's width, and of its height over the
    anchor's height. There are no further factors.

    A box may have no width or no height, such as a row of zeros that fills up a batch. Any finite number below -10 is
    then accepted as its tw or th, but not -inf and not NaN.

    Example: the anchor (0, 0, 10, 20) has the centre (5, 10), the box (4, 8, 34, 18) the centre (19, 13) and the size
    30 x 10. The offsets are 14 / 10 = 1.4, 3 / 20 = 0.15, log(30 / 10) = 1.0986 and log(10 / 20) = -0.6931.

    Args:
        boxes: corners (x1, y1, x2, y2) in pixels.
        anchors: corners in pixels, of positive width and height; anchors[n] belongs to boxes[n].
    """
    sizes = boxes[:, 2:] - boxes[:, :2]
    anchor_sizes = anchors[:, 2:] - anchors[:, :2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    anchor_centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    shifts = (centres - anchor_centres) / anchor_sizes
    smallest = torch.finfo(boxes.dtype).tiny  # smallest positive number of this type: its logarithm is finite
    scales = (sizes / anchor_sizes).clamp(min=smallest)
    return torch.cat([shifts, scales.log()], dim=1)


def decode(offsets: Float[Tensor, "N 4"], anchors: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
    """Return the boxes (x1, y1, x2, y2) at the offsets (tx, ty, tw, th) from the anchors.

    This is the inverse of `encode`: tx and ty are measured in widths and heights of the anchor, tw and th are natural
    logarithms. Boxes may reach beyond the image; they are not clipped.

    An untrained network can predict tw = 100, and exp(100) is too large a number. So tw and th have a limit, which is
    that of the library torchvision: log(1000 / 16) = 4.1352. A larger tw or th counts as this limit, so a box is at
    most 1000 / 16 = 62.5 times as wide or high as its anchor.

    Use operations of torch only: the training needs the gradient of the offsets.

    Example: the anchor (0, 0, 10, 20) has the centre (5, 10). The offsets (0.5, 0.25, log 2, log 3) move the centre by
    0.5 · 10 and 0.25 · 20 to (10, 15), and make the size 2 · 10 by 3 · 20. The box is (0, -15, 20, 45).

    Args:
        offsets: (tx, ty, tw, th) of each box.
        anchors: corners in pixels; anchors[n] belongs to offsets[n].
    """
    anchor_sizes = anchors[:, 2:] - anchors[:, :2]
    anchor_centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    centres = anchor_centres + offsets[:, :2] * anchor_sizes
    half_sizes = anchor_sizes * offsets[:, 2:].clamp(max=math.log(1000 / 16)).exp() / 2
    return torch.cat([centres - half_sizes, centres + half_sizes], dim=1)


ANCHOR = [[0.0, 0, 10, 20]]


def _draw_boxes(generator: torch.Generator) -> Tensor:
    """Return five boxes of unequal sides, away from 0."""
    corners = torch.rand(5, 2, generator=generator) * 50 + 5
    return torch.cat([corners, corners + 4 + torch.rand(5, 2, generator=generator) * 30], dim=1)


def draw_encode_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `encode`."""
    anchor = torch.tensor(ANCHOR)
    moved_anchor = anchor + torch.tensor([30.0, 12, 30, 12])
    box = torch.tensor([[4.0, 8, 34, 18]])
    boxes, anchors = _draw_boxes(generator), _draw_boxes(generator)
    empty = "borders and empty input"
    pair = {"driver": "boxes.encode_then_decode", "partners": ("decode",)}
    return [
        Case("by hand", "one box and its anchor", (box, anchor)),
        Case("by hand", "a box of the anchor's size, moved by 5 and 5 pixels", (anchor + 5, anchor)),
        Case("by hand", "a box with the anchor's centre, twice as wide", (torch.tensor([[-5.0, 0, 15, 20]]), anchor)),
        Case("by hand", "an anchor away from 0", (box, moved_anchor)),
        Case(empty, "the box is the anchor", (moved_anchor, moved_anchor)),
        Case(empty, "a row of zeros", (torch.zeros(1, 4), moved_anchor), driver="boxes.encode_small"),
        Case(empty, "no box", (torch.zeros(0, 4), torch.zeros(0, 4))),
        Case("shapes and batches", "two boxes", (torch.cat([box, anchor + 5]), torch.cat([anchor, moved_anchor]))),
        Case("laws", "both sides moved together", (box + 7, anchor + 7)),
        Case("laws", "both sides three times as large", (box * 3, anchor * 3)),
        Case("pairs", "decode returns the boxes", (boxes, anchors), tolerance=1e-3, **pair),
        Case("data", "random boxes", (boxes, anchors)),
    ]


def draw_decode_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `decode`."""
    anchor = torch.tensor(ANCHOR)
    moved_anchor = anchor + torch.tensor([30.0, 12, 30, 12])
    offsets = torch.tensor([[0.5, 0.25, math.log(2), math.log(3)]])
    boxes, anchors = _draw_boxes(generator), _draw_boxes(generator)
    random_offsets = torch.randn(5, 4, generator=generator) * 0.5
    empty = "borders and empty input"
    pair = {"driver": "boxes.decode_what_was_encoded", "partners": ("encode",)}
    return [
        Case("by hand", "one anchor, moved and enlarged", (offsets, anchor)),
        Case("by hand", "an anchor moved", (torch.tensor([[0.5, 0.25, 0, 0]]), moved_anchor)),
        Case("by hand", "an anchor enlarged", (torch.tensor([[0, 0, math.log(2), math.log(3)]]), moved_anchor)),
        Case("by hand", "an anchor moved to the left and up", (torch.tensor([[-1.0, -0.5, 0, 0]]), moved_anchor)),
        Case(empty, "offsets of 0 are the anchor", (torch.zeros(1, 4), moved_anchor)),
        Case(empty, "a very large log size", (torch.tensor([[0.0, 0, 100, 4.5]]), moved_anchor)),
        Case(empty, "no box", (torch.zeros(0, 4), torch.zeros(0, 4))),
        Case("shapes and batches", "two boxes", (offsets.repeat(2, 1), torch.cat([anchor, moved_anchor]))),
        Case("laws", "anchors moved: boxes move with them", (random_offsets, anchors + 7)),
        Case("laws", "the gradient", (random_offsets[:2], anchors[:2]), driver="boxes.compute_offset_gradient"),
        Case("pairs", "the boxes that encode received", (boxes, anchors), tolerance=1e-3, **pair),
        Case("data", "random offsets", (random_offsets, anchors)),
    ]


# Wrong implementations of `encode`

VARIANCES = torch.tensor([0.1, 0.1, 0.2, 0.2])


def _split(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return centres and sizes."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def _log(scales: Tensor) -> Tensor:
    return scales.clamp(min=1e-8).log()


def _not_encoded(boxes: Tensor, anchors: Tensor) -> Tensor:
    return boxes.clone()


def _offsets_of_corners(boxes: Tensor, anchors: Tensor) -> Tensor:
    _, anchor_sizes = _split(anchors)
    return torch.cat([(boxes[:, :2] - anchors[:, :2]) / anchor_sizes, encode(boxes, anchors)[:, 2:]], dim=1)


def _in_sizes_of_box(boxes: Tensor, anchors: Tensor) -> Tensor:
    (centres, sizes), (anchor_centres, _) = _split(boxes), _split(anchors)
    return torch.cat([(centres - anchor_centres) / sizes.clamp(min=1e-8), encode(boxes, anchors)[:, 2:]], dim=1)


def _roles_exchanged(boxes: Tensor, anchors: Tensor) -> Tensor:
    (centres, sizes), (anchor_centres, anchor_sizes) = _split(anchors), _split(boxes)
    anchor_sizes = anchor_sizes.clamp(min=1e-8)
    return torch.cat([(centres - anchor_centres) / anchor_sizes, _log(sizes / anchor_sizes)], dim=1)


def _anchor_sides_exchanged(boxes: Tensor, anchors: Tensor) -> Tensor:
    (centres, sizes), (anchor_centres, anchor_sizes) = _split(boxes), _split(anchors)
    anchor_sizes = anchor_sizes.flip(1)
    return torch.cat([(centres - anchor_centres) / anchor_sizes, _log(sizes / anchor_sizes)], dim=1)


def _shifts_by_other_side(boxes: Tensor, anchors: Tensor) -> Tensor:
    (centres, _), (anchor_centres, anchor_sizes) = _split(boxes), _split(anchors)
    return torch.cat([(centres - anchor_centres) / anchor_sizes.flip(1), encode(boxes, anchors)[:, 2:]], dim=1)


def _without_logarithm(boxes: Tensor, anchors: Tensor) -> Tensor:
    (_, sizes), (_, anchor_sizes) = _split(boxes), _split(anchors)
    return torch.cat([encode(boxes, anchors)[:, :2], sizes / anchor_sizes], dim=1)


def _encode_variances(boxes: Tensor, anchors: Tensor) -> Tensor:
    return encode(boxes, anchors) / VARIANCES


def _infinite_logarithm(boxes: Tensor, anchors: Tensor) -> Tensor:
    (_, sizes), (_, anchor_sizes) = _split(boxes), _split(anchors)
    return torch.cat([encode(boxes, anchors)[:, :2], (sizes / anchor_sizes).log()], dim=1)


def _shift_never_down(boxes: Tensor, anchors: Tensor) -> Tensor:
    return encode(boxes, anchors) * torch.tensor([1.0, 0, 1, 1])


def _binary_logarithm(boxes: Tensor, anchors: Tensor) -> Tensor:
    return encode(boxes, anchors) / torch.tensor([1.0, 1, math.log(2), math.log(2)])


def _shifts_in_pixels(boxes: Tensor, anchors: Tensor) -> Tensor:
    (centres, sizes), (anchor_centres, anchor_sizes) = _split(boxes), _split(anchors)
    return torch.cat([centres - anchor_centres, _log(sizes / anchor_sizes)], dim=1)


def _all_in_pixels(boxes: Tensor, anchors: Tensor) -> Tensor:
    (centres, sizes), (anchor_centres, anchor_sizes) = _split(boxes), _split(anchors)
    return torch.cat([centres - anchor_centres, sizes - anchor_sizes], dim=1)


def _encode_from_centre_anchor(boxes: Tensor, anchors: Tensor) -> Tensor:
    centres, sizes = _split(boxes)
    return torch.cat([(centres - anchors[:, :2]) / anchors[:, 2:], _log(sizes / anchors[:, 2:])], dim=1)


# Wrong implementations of `decode`

LARGEST_LOG_SIZE = math.log(1000 / 16)


def _join(centres: Tensor, sizes: Tensor) -> Tensor:
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=1)


def _exp(logarithms: Tensor) -> Tensor:
    return logarithms.clamp(max=LARGEST_LOG_SIZE).exp()


def _decode_variances(offsets: Tensor, anchors: Tensor) -> Tensor:
    return decode(offsets * VARIANCES, anchors)


def _sigmoid_shifts(offsets: Tensor, anchors: Tensor) -> Tensor:
    return decode(torch.cat([offsets[:, :2].sigmoid(), offsets[:, 2:]], dim=1), anchors)


def _decode_from_centre_anchor(offsets: Tensor, anchors: Tensor) -> Tensor:
    return _join(anchors[:, :2] + offsets[:, :2] * anchors[:, 2:], anchors[:, 2:] * _exp(offsets[:, 2:]))


def _shift_of_corner(offsets: Tensor, anchors: Tensor) -> Tensor:
    _, anchor_sizes = _split(anchors)
    corner = anchors[:, :2] + offsets[:, :2] * anchor_sizes
    return torch.cat([corner, corner + anchor_sizes * _exp(offsets[:, 2:])], dim=1)


def _one_shift_twice(offsets: Tensor, anchors: Tensor) -> Tensor:
    return decode(offsets[:, [0, 0, 2, 3]], anchors)


def _whole_size_after_centre(offsets: Tensor, anchors: Tensor) -> Tensor:
    anchor_centres, anchor_sizes = _split(anchors)
    centres, sizes = anchor_centres + offsets[:, :2] * anchor_sizes, anchor_sizes * _exp(offsets[:, 2:])
    return torch.cat([centres - sizes / 2, centres + sizes], dim=1)


def _shift_in_new_sizes(offsets: Tensor, anchors: Tensor) -> Tensor:
    anchor_centres, anchor_sizes = _split(anchors)
    sizes = anchor_sizes * _exp(offsets[:, 2:])
    return _join(anchor_centres + offsets[:, :2] * sizes, sizes)


def _without_exponential(offsets: Tensor, anchors: Tensor) -> Tensor:
    anchor_centres, anchor_sizes = _split(anchors)
    return _join(anchor_centres + offsets[:, :2] * anchor_sizes, anchor_sizes * offsets[:, 2:])


def _without_bound(offsets: Tensor, anchors: Tensor) -> Tensor:
    anchor_centres, anchor_sizes = _split(anchors)
    return _join(anchor_centres + offsets[:, :2] * anchor_sizes, anchor_sizes * offsets[:, 2:].exp())


def _raw_anchors(offsets: Tensor, anchors: Tensor) -> Tensor:
    return anchors + 0 * offsets


def _raw_offsets(offsets: Tensor, anchors: Tensor) -> Tensor:
    return 1 * offsets


def _centres_and_sizes(offsets: Tensor, anchors: Tensor) -> Tensor:
    return torch.cat(_split(decode(offsets, anchors)), dim=1)


def _cut_at_0(offsets: Tensor, anchors: Tensor) -> Tensor:
    return decode(offsets, anchors).clamp(min=0)


def _without_gradient(offsets: Tensor, anchors: Tensor) -> Tensor:
    return torch.tensor(decode(offsets, anchors).tolist()).reshape(-1, 4)


def _shift_in_pixels(offsets: Tensor, anchors: Tensor) -> Tensor:
    anchor_centres, anchor_sizes = _split(anchors)
    return _join(anchor_centres + offsets[:, :2], anchor_sizes * _exp(offsets[:, 2:]))


ENCODE = Definition(
    name="encode",
    number="2.3",
    title="Boxes as offsets from anchors",
    purpose="The box loss compares the offsets that the network predicts with these offsets.",
    points=2,
    difficulty=2,
    minutes=(15, 25),
    reference=encode,
    imports="import torch\nfrom jaxtyping import Float\nfrom torch import Tensor",
    draw_cases=draw_encode_cases,
    partners={"decode": decode},
    workload=Case("data", "40000 anchors and their objects", (40_000,), driver="boxes.time_rows"),
    calls=3,
    hints=(
        "Compute the example of the docstring on paper. What are the centre and the size of the box, and of the "
        "anchor?",
        "Shifts: difference of the centres, over the size of the anchor. Sizes: logarithm of a ratio.",
        "What is log(0)? Replace a ratio below 1e-6 by 1e-6 before the logarithm: `.clamp(min=1e-6)`.",
    ),
    mistakes=(
        Mistake(
            "EN1",
            "the corners themselves are returned, not offsets",
            "The network predicts a small correction of the anchor, not pixels: the same weights are used at every "
            "cell, so they cannot know where the cell lies in the image.",
            _not_encoded,
        ),
        Mistake(
            "EN2",
            "the shift is that of the upper left corner",
            "Compare the centres.",
            _offsets_of_corners,
        ),
        Mistake(
            "EN3",
            "the shift is divided by the size of the box",
            "Divide by the size of the anchor: decode knows the anchor, not the box.",
            _in_sizes_of_box,
        ),
        Mistake(
            "EN4",
            "box and anchor are exchanged",
            "Box minus anchor, over the anchor. The first argument is the box.",
            _roles_exchanged,
        ),
        Mistake(
            "EN5a",
            "width and height of the anchor are exchanged",
            "x goes with the width, y with the height.",
            _anchor_sides_exchanged,
        ),
        Mistake(
            "EN5b",
            "the shift in x is divided by the anchor's height, and the shift in y by its width",
            "x goes with the width, y with the height.",
            _shifts_by_other_side,
        ),
        Mistake(
            "EN6",
            "tw and th are ratios without the logarithm",
            "decode takes an exponential, so encode must take the logarithm.",
            _without_logarithm,
        ),
        Mistake(
            "EN7",
            "the offsets are divided by variances (0.1 and 0.2)",
            "There are no variances here. Where they are used, decode multiplies by them.",
            _encode_variances,
        ),
        Mistake(
            "EN8",
            "a box without size gives -inf",
            "log(0) is -inf, and 0 · inf is NaN even if the row is masked later. Replace a ratio below 1e-6 by 1e-6 "
            "first.",
            _infinite_logarithm,
        ),
        Mistake(
            "EN9",
            "ty is always 0",
            "One coordinate that never moves is a slip of the keyboard: a difference of a value with itself.",
            _shift_never_down,
        ),
        Mistake(
            "EN10",
            "the logarithm has base 2",
            "decode uses exp, so take the natural logarithm.",
            _binary_logarithm,
        ),
        Mistake(
            "EN11a",
            "the shifts are in pixels",
            "Divide by the anchor's size: offsets then mean the same for small and large anchors.",
            _shifts_in_pixels,
        ),
        Mistake(
            "EN11b",
            "shifts and sizes are differences in pixels",
            "Divide the shifts by the anchor's size, and take the logarithm of the ratio of the sizes.",
            _all_in_pixels,
        ),
        Mistake(
            "EN12",
            "the anchor is taken for (centre x, centre y, width, height)",
            "Anchors are corners. Compute centre and size first.",
            _encode_from_centre_anchor,
        ),
    ),
)

DECODE = Definition(
    name="decode",
    number="2.4",
    title="Boxes from offsets: the way back",
    purpose="The detector computes its boxes from the predicted offsets with this function.",
    points=2,
    difficulty=2,
    minutes=(10, 20),
    reference=decode,
    imports="import math\n\nimport torch\nfrom jaxtyping import Float\nfrom torch import Tensor",
    draw_cases=draw_decode_cases,
    partners={"encode": encode},
    hints=(
        "Write the four formulas of `encode`, and solve each for the box.",
        "First the new centre and the new size; then the corners are half of the size away from the centre.",
        "`offsets[:, 2:].clamp(max=math.log(1000 / 16)).exp()` is the factor of the size.",
    ),
    mistakes=(
        Mistake(
            "DE1",
            "the offsets are multiplied by variances that encode does not use",
            "decode(encode(boxes)) must return the boxes.",
            _decode_variances,
        ),
        Mistake(
            "DE2",
            "a sigmoid is applied to tx and ty",
            "A sigmoid is never negative, and offsets may be. (YOLO's rule has other offsets.)",
            _sigmoid_shifts,
        ),
        Mistake(
            "DE3",
            "the corners of the anchor are taken for its centre and size",
            "Compute centre and size of the anchor first.",
            _decode_from_centre_anchor,
        ),
        Mistake(
            "DE4",
            "the upper left corner is moved, and the size laid from there",
            "Move the centre, then lay half of the size to each side.",
            _shift_of_corner,
        ),
        Mistake(
            "DE5",
            "tx is used for x and for y",
            "Four numbers, four uses.",
            _one_shift_twice,
        ),
        Mistake(
            "DE6",
            "the lower right corner is the centre plus the whole size",
            "Half of the size lies on each side.",
            _whole_size_after_centre,
        ),
        Mistake(
            "DE7",
            "the shift is measured in sizes of the new box",
            "encode divided the shift by the anchor's size.",
            _shift_in_new_sizes,
        ),
        Mistake(
            "DE8",
            "the sizes are multiplied by tw and th without the exponential",
            "encode took a logarithm; its inverse is exp.",
            _without_exponential,
        ),
        Mistake(
            "DE9",
            "tw and th have no upper bound",
            "An untrained network can predict 100. Bound the logarithms before the exponential.",
            _without_bound,
        ),
        Mistake(
            "DE10a",
            "the anchors are returned as they are",
            "Apply the offsets.",
            _raw_anchors,
        ),
        Mistake(
            "DE10b",
            "the offsets are returned as they are",
            "Apply the offsets to the anchors.",
            _raw_offsets,
        ),
        Mistake(
            "DE11",
            "(centre x, centre y, width, height) is returned",
            "A box is (x1, y1, x2, y2).",
            _centres_and_sizes,
        ),
        Mistake(
            "DE12",
            "negative corners are cut at 0",
            "Boxes are not clipped here: encode and decode would no longer be inverse to each other.",
            _cut_at_0,
        ),
        Mistake(
            "DE13",
            "the gradient is lost",
            "Numbers that were taken out of a tensor (`tolist`, `item`, `numpy`) have no gradient. Use operations of "
            "torch.",
            _without_gradient,
        ),
        Mistake(
            "DE14",
            "tx and ty are taken for pixels",
            "The shifts are in units of the anchor's width and height.",
            _shift_in_pixels,
        ),
    ),
)

DEFINITIONS = (IOU, ENCODE, DECODE)
