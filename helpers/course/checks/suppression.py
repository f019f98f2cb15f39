"""Build task of suppression: non-maximum suppression (NMS)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from helpers.course.checks.definition import Case, Definition, Mistake


def nms(boxes: Float[Tensor, "N 4"], scores: Float[Tensor, " N"], iou_threshold: float) -> Int[Tensor, " K"]:
    """Return which boxes remain after non-maximum suppression, best score first.

    A box is removed if its IoU with a box of higher score that remains is above the threshold. A removed box removes
    no other box. Nothing else removes a box: neither a low score nor a large number of boxes.

    All boxes are of one class. What happens at an IoU of exactly the threshold, and the order of equal scores, is free.

    Example: the boxes [0, 0, 10, 10], [2, 0, 12, 10] and [4, 0, 14, 10] have the scores 0.9, 0.8 and 0.7. The IoU of
    the first and the second is 80 / 120 = 0.67, so at the threshold 0.5 the second is removed. The IoU of the first
    and the third is 60 / 140 = 0.43, so the third remains, although it overlaps the second. The result is [0, 2].

    Args:
        boxes: N boxes (x1, y1, x2, y2) in pixels, in any order; N may be 0.
        scores: of the boxes.
        iou_threshold: IoU above which the box with the lower score is removed.

    Returns:
        Rows of `boxes` that remain, by falling score. You may use `box_iou` of torchvision, but not its `nms`.
    """
    waiting = scores.argsort(descending=True, stable=True)
    kept = []
    while len(waiting) > 0:
        best = waiting[0]
        kept.append(int(best))
        rest = waiting[1:]
        iou = box_iou(boxes[best].unsqueeze(0), boxes[rest])[0]
        waiting = rest[iou <= iou_threshold]
    return torch.tensor(kept, dtype=torch.int64)


NESTED = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 5]])
NESTED_SCORES = torch.tensor([0.6, 0.9, 0.3, 0.8])
CHAIN = torch.tensor([[0.0, 0, 10, 10], [2, 0, 12, 10], [4, 0, 14, 10]])
CHAIN_SCORES = torch.tensor([0.9, 0.8, 0.7])
FAR_APART = torch.tensor([[20.0, 0, 24, 10], [22, 0, 26, 10]])  # IoU 1/3; read as widths it would be 0.79


def draw_nms_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `nms`."""
    corners = torch.rand(12, 2, generator=generator) * 25
    boxes = torch.cat([corners, corners + 12 + torch.rand(12, 2, generator=generator) * 12], dim=1)
    scores = torch.rand(12, generator=generator)
    order = torch.randperm(4, generator=generator)
    row = torch.arange(201.0)
    many = torch.stack([row * 5, row * 0, row * 5 + 4, row * 0 + 6], dim=1)
    many_scores = torch.linspace(0.9, 0.6, 201)

    def make_case(group: str, title: str, *inputs: object) -> Case:
        return Case(group, title, inputs, driver="suppression.list_indices")

    return [
        make_case("by hand", "three boxes inside one another and one apart, at IoU 0.5", NESTED, NESTED_SCORES, 0.5),
        make_case("by hand", "the same boxes at IoU 0.6", NESTED, NESTED_SCORES, 0.6),
        make_case("by hand", "a chain of three boxes", CHAIN, CHAIN_SCORES, 0.5),
        make_case("borders and empty input", "no box at all", torch.zeros(0, 4), torch.zeros(0), 0.5),
        make_case("borders and empty input", "a single box", NESTED[:1], NESTED_SCORES[:1], 0.5),
        make_case("borders and empty input", "low scores alone", NESTED, NESTED_SCORES / 10, 0.6),
        make_case("borders and empty input", "two boxes that overlap by a third", FAR_APART, CHAIN_SCORES[:2], 0.5),
        make_case("shapes and batches", "201 boxes apart", many, many_scores, 0.5),
        make_case("laws", "the boxes in another order", NESTED[order], NESTED_SCORES[order], 0.6),
        make_case("laws", "the chain moved across 0", CHAIN - 7, CHAIN_SCORES, 0.5),
        make_case("data", "random boxes at IoU 0.3", boxes, scores, 0.3),
        make_case("data", "random boxes at IoU 0.6", boxes, scores, 0.6),
    ]


# Wrong implementations. Each is written as a student writes it.


def _suppress_in_order(
    order: list[int], iou: list[list[float]], is_removed_by: Callable[[float], bool], may_removed_suppress: bool = False
) -> list[int]:
    """Return the rows that remain if `order` is walked down and each row removes later ones."""
    removed: set[int] = set()
    for position, row in enumerate(order):
        if row in removed and not may_removed_suppress:
            continue
        removed.update(later for later in order[position + 1 :] if is_removed_by(iou[row][later]))
    return [row for row in order if row not in removed]


def _sort(scores: Tensor) -> list[int]:
    return scores.argsort(descending=True, stable=True).tolist()


def _positions_in_sorted_list(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    order = scores.argsort(descending=True, stable=True)
    return nms(boxes[order], scores[order], iou_threshold)


def _without_sorting(boxes: Tensor, scores: Tensor, iou_threshold: float) -> list[int]:
    order = list(range(len(boxes)))
    return _suppress_in_order(order, box_iou(boxes, boxes).tolist(), lambda iou: iou > iou_threshold)


def _removed_boxes_remove(boxes: Tensor, scores: Tensor, iou_threshold: float) -> list[int]:
    iou = box_iou(boxes, boxes).tolist()
    return _suppress_in_order(_sort(scores), iou, lambda iou: iou > iou_threshold, may_removed_suppress=True)


def _list_changed_in_its_loop(boxes: Tensor, scores: Tensor, iou_threshold: float) -> list[int]:
    iou = box_iou(boxes, boxes).tolist()
    waiting = _sort(scores)[::-1]
    kept = []
    while waiting:
        best = waiting.pop()
        kept.append(best)
        for row in waiting:
            if iou[best][row] > iou_threshold:
                waiting.remove(row)
    return kept


def _tensors_in_a_set(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    # Tensors in a set are compared by identity, so no removed row is ever found again.
    return scores.argsort(descending=True, stable=True)


def _hidden_score_cut(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    kept = nms(boxes, scores, iou_threshold)
    return kept[scores[kept] >= 0.5]


def _hidden_limit(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return nms(boxes, scores, iou_threshold)[:200]


def _comparison_turned_round(boxes: Tensor, scores: Tensor, iou_threshold: float) -> list[int]:
    return _suppress_in_order(_sort(scores), box_iou(boxes, boxes).tolist(), lambda iou: iou <= iou_threshold)


def _boxes_returned(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return boxes[nms(boxes, scores, iou_threshold)]


def _as_widths(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return nms(box_convert(boxes, "xywh", "xyxy"), scores, iou_threshold)


def _by_row(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return nms(boxes, scores, iou_threshold).sort().values


def _mask_returned(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    is_kept = torch.zeros(len(boxes), dtype=torch.bool)
    is_kept[nms(boxes, scores, iou_threshold)] = True
    return is_kept


def _worst_first(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return nms(boxes, -scores, iou_threshold)


def _crash_without_boxes(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    scores.max()
    return nms(boxes, scores, iou_threshold)


NMS = Definition(
    name="nms",
    number="3.3",
    title="Non-maximum suppression",
    purpose=(
        "Many anchors report the same object. The detector keeps the best box of each, here and whenever an "
        "epoch is evaluated."
    ),
    points=2,
    difficulty=2,
    minutes=(15, 25),
    reference=nms,
    imports=(
        "import torch\nfrom jaxtyping import Float, Int\nfrom torch import Tensor\nfrom torchvision.ops import box_iou"
    ),
    draw_cases=draw_nms_cases,
    workload=Case("data", "300 boxes of an image", (300,), driver="suppression.time_image"),
    calls=5000,
    hints=(
        "Walk down the boxes from the best score. Which boxes may the first one remove?",
        "Keep a list of rows that wait, best score first. Take its first row, keep it, and compare it with the others.",
        "Of the others, only those with an IoU up to the threshold go on waiting: "
        "`waiting = rest[iou <= iou_threshold]`.",
    ),
    mistakes=(
        Mistake(
            "NM1",
            "the rows are positions in the sorted list",
            "Your rows count the boxes after sorting. Translate them back: `order[position]`.",
            _positions_in_sorted_list,
        ),
        Mistake(
            "NM2a",
            "the boxes are taken in the order in which they are given",
            "Begin with the best score. Sort the scores first.",
            _without_sorting,
        ),
        Mistake("NM2b", "the worst score comes first", "Sort by falling score.", _worst_first),
        Mistake(
            "NM3",
            "removed boxes go on removing others",
            "In a chain of three boxes the second is removed, and the third remains. Only kept boxes may remove.",
            _removed_boxes_remove,
        ),
        Mistake(
            "NM4",
            "rows are removed from the list that the loop walks over",
            "Each removal makes the loop skip the next row. Build a new list instead.",
            _list_changed_in_its_loop,
        ),
        Mistake(
            "NM5",
            "no box is removed, as happens when tensors are looked up in a set",
            "A set compares tensors by identity, so it never finds one again. Use numbers: `.item()` or `.tolist()`.",
            _tensors_in_a_set,
        ),
        Mistake(
            "NM8",
            "boxes with a score below 0.5 are dropped",
            "A score threshold belongs to the caller: here every score takes part.",
            _hidden_score_cut,
        ),
        Mistake(
            "NM9",
            "only the 200 best boxes are returned",
            "A limit belongs to the caller: return all boxes that remain.",
            _hidden_limit,
        ),
        Mistake(
            "NM10",
            "boxes that overlap little are removed",
            "Turn the comparison round: remove a box if its IoU is above the threshold.",
            _comparison_turned_round,
        ),
        Mistake("NM12a", "boxes are returned instead of their rows", "Return the rows: numbers, [K].", _boxes_returned),
        Mistake(
            "NM12b",
            "a mask is returned instead of rows",
            "Return the rows that remain, best score first.",
            _mask_returned,
        ),
        Mistake(
            "NM13",
            "boxes are taken for (x, y, width, height)",
            "The last two numbers of a box are its lower right corner.",
            _as_widths,
        ),
        Mistake(
            "NM14",
            "the rows are sorted by their number",
            "Return the row with the best score first.",
            _by_row,
        ),
        Mistake(
            "NM15",
            "without boxes it raises an exception",
            "An image may have no candidate at all: return an empty result then.",
            _crash_without_boxes,
        ),
    ),
)

DEFINITIONS = (NMS,)
