"""Build tasks of anchor matching: targets of the anchors, and hard-negative mining."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from helpers.course.checks.definition import Case, Definition, Mistake
from helpers.detection.boxes import compute_iou


def match_anchors_to_targets(
    anchors: Float[Tensor, "A 4"],
    target_boxes: Float[Tensor, "N 4"],
    target_labels: Int[Tensor, " N"],
    pos_threshold: float = 0.5,
    neg_threshold: float = 0.3,
) -> tuple[Int[Tensor, " A"], Float[Tensor, "A 4"], Bool[Tensor, " A"], Bool[Tensor, " A"]]:
    """Match each anchor of one image to at most one target by IoU.

    An anchor is positive if its highest IoU with a target is at least `pos_threshold`: it is matched to that target.
    It is negative (background) if its highest IoU is at most `neg_threshold`. In between it is neither, and the loss
    ignores it. Without targets every anchor is negative. Two cases are not tested: an IoU of exactly `neg_threshold`,
    and two targets of the same IoU.

    You may also force a match for a target that has no positive anchor ("low-quality match"): the anchor of highest IoU
    with this target becomes positive, is not negative, and is matched to this target. Two conditions hold: this IoU is
    above 0, and the anchor is not already positive for another target.

    `compute_iou(boxes, others)` is imported for you: after task 2.2 it is your own.

    Example: the anchors [0, 0, 10, 10], [0, 0, 10, 8], [5, 0, 15, 10] and [50, 50, 60, 60] have the IoU 1, 0.8, 0.33
    and 0 with the target [0, 0, 10, 10] of class 2. The first two are positive and have the label 3, the third is
    ignored, the fourth is negative and has the label 0.

    Args:
        anchors: A boxes (x1, y1, x2, y2) in pixels.
        target_boxes: N boxes of objects in pixels; N may be 0.
        target_labels: their classes, counted from 0.
        pos_threshold: smallest IoU of a positive anchor.
        neg_threshold: largest IoU of a negative anchor.

    Returns:
        matched_labels: 0 for a negative anchor, class + 1 of the matched target for a positive one. For an ignored
            anchor any label is accepted.
        matched_boxes: box of the matched target in pixels for a positive anchor. For the others any box is accepted.
        pos_mask: whether the anchor is positive.
        neg_mask: whether the anchor is negative.
    """
    num_anchors = len(anchors)
    matched_labels = torch.zeros(num_anchors, dtype=torch.int64, device=anchors.device)
    matched_boxes = torch.zeros_like(anchors)
    if len(target_boxes) == 0:
        nothing = torch.zeros(num_anchors, dtype=torch.bool, device=anchors.device)
        return matched_labels, matched_boxes, nothing, ~nothing
    iou = compute_iou(target_boxes, anchors)  # [N, A]
    highest_iou, best_target = iou.max(dim=0)
    pos_mask = highest_iou >= pos_threshold
    neg_mask = (highest_iou <= neg_threshold) & ~pos_mask
    matched_labels[pos_mask] = target_labels[best_target[pos_mask]].long() + 1
    matched_boxes[pos_mask] = target_boxes[best_target[pos_mask]]
    return matched_labels, matched_boxes, pos_mask, neg_mask


Matched = tuple[Tensor, Tensor, Tensor, Tensor]


def _force(
    anchors: Tensor,
    target_boxes: Tensor,
    target_labels: Tensor,
    pos_threshold: float,
    neg_threshold: float,
    *,
    smallest_iou: float,
    only_new: bool = True,
    clears_negative: bool = True,
    moves_target: bool = True,
) -> Matched:
    """Return matches in which the best anchor of each target is forced, where its IoU is above `smallest_iou`."""
    labels, boxes, positive, negative = match_anchors_to_targets(
        anchors, target_boxes, target_labels, pos_threshold, neg_threshold
    )
    if len(target_boxes) == 0:
        return labels, boxes, positive, negative
    iou = compute_iou(anchors, target_boxes)
    best_target = iou.argmax(dim=1)
    for target, anchor in enumerate(iou.argmax(dim=0).tolist()):
        if iou[anchor, target] <= smallest_iou or (only_new and positive[anchor]):
            continue
        source = target if moves_target else int(best_target[anchor])
        positive[anchor] = True
        labels[anchor] = target_labels[source] + 1
        boxes[anchor] = target_boxes[source]
        if clears_negative:
            negative[anchor] = False
    return labels, boxes, positive, negative


def match_with_forcing(
    anchors: Tensor,
    target_boxes: Tensor,
    target_labels: Tensor,
    pos_threshold: float = 0.5,
    neg_threshold: float = 0.3,
) -> Matched:
    """Return matches in which each target without a positive anchor takes its best one, at any IoU above 0."""
    return _force(anchors, target_boxes, target_labels, pos_threshold, neg_threshold, smallest_iou=0.0)


def match_with_cautious_forcing(
    anchors: Tensor,
    target_boxes: Tensor,
    target_labels: Tensor,
    pos_threshold: float = 0.5,
    neg_threshold: float = 0.3,
) -> Matched:
    """Return matches in which each target without a positive anchor takes its best one, if that is not negative."""
    return _force(anchors, target_boxes, target_labels, pos_threshold, neg_threshold, smallest_iou=neg_threshold)


ANCHORS = [[0.0, 0, 10, 10], [0, 0, 10, 8], [5, 0, 15, 10], [50, 50, 60, 60], [104, 100, 114, 110], [0, 0, 18, 10]]
TARGETS = [[0.0, 0, 10, 10], [100, 100, 110, 110]]
FAR = [200.0, 200, 210, 210]


def draw_matching_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `match_anchors_to_targets`."""
    anchors, targets = torch.tensor(ANCHORS), torch.tensor(TARGETS)

    def case(group: str, title: str, anchors: Tensor, boxes: Tensor, labels: list[int], *thresholds: float) -> Case:
        keywords: dict[str, float] = {}
        if thresholds:
            keywords = {"pos_threshold": thresholds[0], "neg_threshold": thresholds[1]}
        inputs = (anchors, boxes, torch.tensor(labels, dtype=torch.int64))
        return Case(group, title, inputs, keywords, driver="matching.match")

    chosen = torch.randperm(16, generator=generator)[:4]
    grid = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="xy"), dim=-1).reshape(-1, 2) * 40.0
    sizes = 12 + 16 * torch.rand(16, 2, generator=generator)
    random_anchors = torch.cat([grid, grid + sizes], dim=1)
    shifts = torch.rand(4, 2, generator=generator)
    random_targets = random_anchors[chosen] + torch.cat([shifts, shifts], dim=1)
    random_labels = torch.randint(3, (4,), generator=generator).tolist()
    none = torch.zeros(0, 4)
    return [
        case("by hand", "four anchors and one target of class 2", anchors[:4], targets[:1], [2]),
        case("by hand", "six anchors and two targets", anchors, targets, [2, 0]),
        case("borders and empty input", "no target", anchors, none, []),
        case(
            "borders and empty input",
            "a target that no anchor overlaps",
            torch.tensor([ANCHORS[0], [20.0, 20, 30, 30]]),
            targets[1:],
            [1],
        ),
        case(
            "borders and empty input",
            "a target that only one anchor touches, with IoU 0.2",
            torch.tensor([[0.0, 0, 10, 2], FAR]),
            targets[:1],
            [1],
        ),
        case(
            "borders and empty input",
            "two targets on one anchor: IoU 0.9 and 0.4",
            torch.tensor([ANCHORS[0], FAR]),
            torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 4]]),
            [0, 1],
        ),
        case(
            "borders and empty input",
            "two targets on one anchor: IoU 0.9 and 0.11",
            torch.tensor([ANCHORS[0], FAR]),
            torch.tensor([[0.0, 0, 10, 9], [8, 0, 18, 10]]),
            [0, 1],
        ),
        case(
            "borders and empty input",
            "an anchor between two targets: IoU 0.43 and 0.33",
            torch.tensor([ANCHORS[0], [4.0, 0, 14, 10], FAR]),
            torch.tensor([[0.0, 0, 10, 10], [9, 0, 19, 10]]),
            [0, 1],
        ),
        case(
            "borders and empty input",
            "an IoU of exactly 0.5",
            torch.tensor([ANCHORS[0], [0.0, 0, 10, 5], FAR]),
            targets[:1],
            [1],
        ),
        case("shapes and batches", "more targets than anchors", anchors[:1], torch.tensor([*TARGETS, FAR]), [1, 0, 2]),
        case("shapes and batches", "class 0 alone", anchors[:4], targets[:1], [0]),
        case("laws", "higher thresholds: 0.7 and 0.6", anchors[:6], targets[:1], [1], 0.7, 0.6),
        case("laws", "lower thresholds: 0.3 and 0.1", anchors[:6], targets[:1], [1], 0.3, 0.1),
        case("laws", "the anchors in reverse order", anchors.flip(0), targets, [2, 0]),
        case("data", "random anchors, targets close to four of them", random_anchors, random_targets, random_labels),
    ]


def _zero_is_background(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    matched_labels, matched_boxes, positive, negative = match_anchors_to_targets(anchors, boxes, labels, **thresholds)
    return torch.where(positive, matched_labels - 1, matched_labels), matched_boxes, positive, negative


def _thresholds(thresholds: dict[str, float]) -> tuple[float, float]:
    return thresholds.get("pos_threshold", 0.5), thresholds.get("neg_threshold", 0.3)


def _forces_without_overlap(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    return _force(anchors, boxes, labels, *_thresholds(thresholds), smallest_iou=-1.0)


def _forced_stays_negative(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    return _force(anchors, boxes, labels, *_thresholds(thresholds), smallest_iou=-1.0, clears_negative=False)


def _forced_with_overlap_stays_negative(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    return _force(anchors, boxes, labels, *_thresholds(thresholds), smallest_iou=0.0, clears_negative=False)


def _steals(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    return _force(anchors, boxes, labels, *_thresholds(thresholds), smallest_iou=0.0, only_new=False)


def _steals_without_overlap(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    return _force(anchors, boxes, labels, *_thresholds(thresholds), smallest_iou=-1.0, only_new=False)


def _forced_keeps_its_own_target(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    return _force(anchors, boxes, labels, *_thresholds(thresholds), smallest_iou=0.0, moves_target=False)


def _forced_without_overlap_keeps_its_own_target(
    anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float
) -> Matched:
    return _force(anchors, boxes, labels, *_thresholds(thresholds), smallest_iou=-1.0, moves_target=False)


def _fails_without_targets(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    compute_iou(anchors, boxes).max(dim=1)  # the maximum over no column
    return match_anchors_to_targets(anchors, boxes, labels, **thresholds)


def _negatives_have_a_label(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    matched_labels, matched_boxes, positive, negative = match_anchors_to_targets(anchors, boxes, labels, **thresholds)
    if len(boxes) > 0:
        best_target = compute_iou(anchors, boxes).argmax(dim=1)
        matched_labels, matched_boxes = labels[best_target] + 1, boxes[best_target]
    return matched_labels, matched_boxes, positive, negative


def _nothing_is_ignored(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    matched_labels, matched_boxes, positive, _ = match_anchors_to_targets(anchors, boxes, labels, **thresholds)
    return matched_labels, matched_boxes, positive, ~positive


def _one_decision_per_target(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    if len(boxes) == 0:
        return match_anchors_to_targets(anchors, boxes, labels, **thresholds)
    pos_threshold, neg_threshold = _thresholds(thresholds)
    highest_iou = compute_iou(anchors, boxes).amax(dim=0)
    positive, negative = highest_iou >= pos_threshold, highest_iou < neg_threshold
    return torch.where(positive, labels + 1, 0), boxes * positive[:, None], positive, negative


def _fixed_thresholds(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    return match_anchors_to_targets(anchors, boxes, labels)


def _best_anchor_only(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    matched_labels, matched_boxes, positive, negative = match_anchors_to_targets(anchors, boxes, labels, **thresholds)
    is_best = torch.zeros_like(positive)
    if len(boxes) > 0:
        is_best[compute_iou(anchors, boxes).argmax(dim=0)] = True
    positive = positive & is_best
    return matched_labels * positive, matched_boxes * positive[:, None], positive, negative


def _above_the_threshold(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    pos_threshold, neg_threshold = _thresholds(thresholds)
    just_above = math.nextafter(pos_threshold, 1.0) + 1e-6  # more than the rounding of an IoU in float32
    return match_anchors_to_targets(anchors, boxes, labels, just_above, neg_threshold)


def _offsets_as_boxes(anchors: Tensor, boxes: Tensor, labels: Tensor, **thresholds: float) -> Matched:
    matched_labels, matched_boxes, positive, negative = match_anchors_to_targets(anchors, boxes, labels, **thresholds)
    return matched_labels, (matched_boxes - anchors) * positive[:, None], positive, negative


MATCHING = Definition(
    name="match_anchors_to_targets",
    number="2.6",
    title="Match anchors to targets",
    purpose="This function decides which anchor is trained on which object, and which anchors are background.",
    points=4,
    difficulty=3,
    minutes=(20, 40),
    reference=match_anchors_to_targets,
    imports=(
        "import torch\nfrom jaxtyping import Bool, Float, Int\nfrom torch import Tensor\n\n"
        "from helpers.detection.boxes import compute_iou"
    ),
    convention="no match is forced",
    conventions={
        "targets without a positive anchor force their best one, at any IoU above 0": match_with_forcing,
        "targets without a positive anchor force their best one, if it is not negative": match_with_cautious_forcing,
    },
    draw_cases=draw_matching_cases,
    workload=Case("data", "12348 anchors and 5 objects", (12348, 5), driver="matching.time_matching"),
    calls=1600,
    hints=(
        "Take the example of the docstring and write the table of IoU on paper: a row for each anchor, a column for "
        "each target. Which numbers of a row decide about its anchor?",
        "The maximum of each row decides between positive, ignored and negative. The position of the maximum is the "
        "target. What is the maximum of a row without columns?",
        "`highest_iou, best_target = compute_iou(anchors, target_boxes).max(dim=1)`. Write labels and boxes through "
        "the positive mask only: `matched_boxes[pos_mask] = target_boxes[best_target[pos_mask]]`.",
    ),
    mistakes=(
        Mistake(
            "MA1",
            "the class is stored without adding 1, so class 0 is background",
            "0 stands for background: class c is stored as c + 1.",
            _zero_is_background,
        ),
        Mistake(
            "MA2",
            "the best anchor of a target is forced even if their IoU is 0",
            "The position of the maximum in a column of zeros is 0, an anchor far away. Force a match only if its IoU "
            "is above 0.",
            _forces_without_overlap,
        ),
        Mistake(
            "MA3a",
            "a forced anchor stays negative as well, and is forced even at IoU 0",
            "Clear the negative flag where you set the positive one, and force only if the IoU is above 0.",
            _forced_stays_negative,
        ),
        Mistake(
            "MA3b",
            "a forced anchor stays negative as well",
            "Clear the negative flag where you set the positive one: no anchor is both.",
            _forced_with_overlap_stays_negative,
        ),
        Mistake(
            "MA4a",
            "a forced match takes an anchor from a target that it fits far better",
            "Force only anchors that are not positive already.",
            _steals,
        ),
        Mistake(
            "MA4b",
            "a forced match takes an anchor from a target that it fits far better, and forces even at IoU 0",
            "Force only anchors that are not positive already, and only if the IoU is above 0.",
            _steals_without_overlap,
        ),
        Mistake(
            "MA5a",
            "a forced anchor keeps the box and class of its own best target",
            "The forced anchor must get the box and the class of the target that forces it.",
            _forced_keeps_its_own_target,
        ),
        Mistake(
            "MA5b",
            "a forced anchor keeps the box and class of its own best target, and is forced even at IoU 0",
            "The forced anchor must get the box and class of the target that forces it; force only if the IoU is "
            "above 0.",
            _forced_without_overlap_keeps_its_own_target,
        ),
        Mistake(
            "MA6",
            "an image without targets raises an exception",
            "There is no maximum over an empty axis. Return early: no positive anchor, every anchor negative.",
            _fails_without_targets,
        ),
        Mistake(
            "MA7",
            "negative anchors have the label of their nearest target",
            "Write labels and boxes through the positive mask only: the label of a negative anchor is 0.",
            _negatives_have_a_label,
        ),
        Mistake(
            "MA8",
            "an anchor between the thresholds is negative",
            "Between the thresholds an anchor is neither: leave it out of both masks.",
            _nothing_is_ignored,
        ),
        Mistake(
            "MA10",
            "the maximum is taken over the anchors: one decision per target",
            "Every anchor needs a decision: take the maximum over the targets.",
            _one_decision_per_target,
        ),
        Mistake(
            "MA12",
            "the thresholds 0.5 and 0.3 are fixed inside",
            "Use the arguments `pos_threshold` and `neg_threshold`.",
            _fixed_thresholds,
        ),
        Mistake(
            "MA13",
            "only the best anchor of each target is positive",
            "Every anchor whose IoU reaches the threshold is positive: a target may have many.",
            _best_anchor_only,
        ),
        Mistake(
            "MA14",
            "the matched boxes are differences from the anchors",
            "Return the target's box in pixels. Encoding comes later.",
            _offsets_as_boxes,
        ),
        Mistake(
            "MA15",
            "an IoU of exactly the positive threshold is not positive",
            "`pos_threshold` is the smallest IoU of a positive anchor: compare with >=.",
            _above_the_threshold,
        ),
    ),
)


def hard_negative_mining(
    loss: Float[Tensor, " A"],
    pos_mask: Bool[Tensor, " A"],
    neg_mask: Bool[Tensor, " A"],
    ratio: int = 3,
) -> Bool[Tensor, " A"]:
    """Return the hard negatives of one image: the negative anchors with the highest loss.

    As many are chosen as `ratio` times the number of positive anchors, or all negative anchors if there are fewer.
    Anchors that are neither positive nor negative are never chosen. Of equal losses any may be chosen, but not more
    than this number. Without a positive anchor you may choose none or a few negative ones.

    Example: the losses are [5, 0.9, 0.5, 0.3, 0.8], anchor 0 is positive, the others are negative. With ratio 2 the
    anchors 1 and 4 are chosen, because 0.9 and 0.8 are the highest losses of negative anchors.

    Args:
        loss: objectness loss of each anchor, at least 0.
        pos_mask: whether the anchor is positive.
        neg_mask: whether the anchor is negative.
        ratio: negative anchors per positive one.

    Returns:
        Whether the anchor is chosen (a list of the chosen anchors' numbers is accepted, too).
    """
    num_hard = min(ratio * int(pos_mask.sum()), int(neg_mask.sum()))
    candidates = loss.detach().masked_fill(~neg_mask, -torch.inf)
    hardest = candidates.topk(num_hard).indices
    chosen = torch.zeros_like(neg_mask)
    chosen[hardest] = True
    return chosen


LOSSES = [5.0, 0.9, 0.5, 0.3, 0.8, 0.2, 4.0, 0.6]


def draw_mining_cases(generator: torch.Generator) -> list[Case]:
    """Return the cases of `hard_negative_mining`."""

    def case(
        group: str, title: str, losses: list[float], positive: list[int], negative: list[int], driver: str = "mine"
    ) -> Case:
        pos_mask, neg_mask = torch.zeros(2, len(losses), dtype=torch.bool)
        pos_mask[positive] = True
        neg_mask[negative] = True
        return Case(group, title, (torch.tensor(losses), pos_mask, neg_mask), driver=f"matching.{driver}")

    negatives = [1, 2, 3, 4, 5, 7]
    thirteen_losses = [*LOSSES, 0.85, 0.45, 0.35, 0.75, 0.25]
    example = case("by hand", "", LOSSES, [0], negatives)
    order = torch.randperm(30, generator=generator).tolist()
    random_losses = (torch.randperm(30, generator=generator) / 10 + 0.1).tolist()
    return [
        case("by hand", "eight anchors, one positive, one ignored", LOSSES, [0], negatives),
        Case("by hand", "ratio 2", example.inputs, {"ratio": 2}, driver="matching.mine"),
        case("borders and empty input", "fewer negatives than asked for", LOSSES, [0, 1], [6, 7]),
        case("borders and empty input", "a single negative", LOSSES, [0], [3]),
        case("borders and empty input", "no negative", LOSSES, [0], []),
        case("borders and empty input", "negatives without any loss", [5.0] + [0.0] * 11, [0], [7, 9, 10]),
        case("borders and empty input", "no positive", LOSSES, [], negatives, driver="mine_freely"),
        case("borders and empty input", "equal losses", [0.7] * 8, [2], [0, 1, 3, 4, 5, 6, 7], driver="count_mined"),
        case("shapes and batches", "the positives at the end", LOSSES[::-1], [7], [0, 2, 3, 4, 5, 6]),
        case("laws", "two positives: six negatives", thirteen_losses, [0, 6], [*range(1, 6), *range(7, 13)]),
        case("data", "random losses", random_losses, order[:2], order[2:20]),
        case("data", "random losses of many ignored anchors", random_losses, order[:1], order[20:]),
    ]


def _num_hard(positive: Tensor, negative: Tensor, ratio: int) -> int:
    return min(ratio * int(positive.sum()), int(negative.sum()))


def _to_mask(indices: Tensor, num_anchors: int) -> Tensor:
    mask = torch.zeros(num_anchors, dtype=torch.bool)
    mask[indices] = True
    return mask


def _easiest(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    candidates = loss.masked_fill(~negative, torch.inf)
    return _to_mask(candidates.topk(_num_hard(positive, negative, ratio), largest=False).indices, len(loss))


def _from_not_positive(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    return hard_negative_mining(loss, positive, ~positive, ratio)


def _from_all(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    return hard_negative_mining(loss, positive, torch.ones_like(positive), ratio)


def _positions_in_the_short_list(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    return _to_mask(loss[negative].topk(_num_hard(positive, negative, ratio)).indices, len(loss))


def _all_ties(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    num_hard = _num_hard(positive, negative, ratio)
    if num_hard == 0:
        return torch.zeros_like(negative)
    return negative & (loss >= loss[negative].topk(num_hard).values[-1])


def _squeezes_a_single_index(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    indices = negative.nonzero().squeeze()
    hardest = loss[indices].topk(_num_hard(positive, negative, ratio)).indices
    return _to_mask(indices[hardest], len(loss))


def _without_limit(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    hardest = loss[negative].topk(ratio * int(positive.sum())).indices
    return _to_mask(negative.nonzero()[hardest, 0], len(loss))


def _fills_up_with_others(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    candidates = loss.masked_fill(~negative, -1.0)
    return _to_mask(candidates.topk(min(ratio * int(positive.sum()), len(loss))).indices, len(loss))


def _losses_times_mask(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    return _to_mask((loss * negative).topk(_num_hard(positive, negative, ratio)).indices, len(loss))


def _fixed_ratio(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    return hard_negative_mining(loss, positive, negative, 3)


def _with_positives(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    return positive | hard_negative_mining(loss, positive, negative, ratio)


def _not_per_positive(loss: Tensor, positive: Tensor, negative: Tensor, ratio: int = 3) -> Tensor:
    return hard_negative_mining(loss, _to_mask(torch.arange(1), len(loss)), negative, ratio)


MINING = Definition(
    name="hard_negative_mining",
    number="2.7",
    title="Choose the hard negatives",
    purpose=(
        "Background anchors are much more frequent than positive ones. Only those with the highest loss are used for "
        "training."
    ),
    points=2,
    difficulty=2,
    minutes=(10, 20),
    reference=hard_negative_mining,
    imports="import torch\nfrom jaxtyping import Bool, Float\nfrom torch import Tensor",
    draw_cases=draw_mining_cases,
    workload=Case("data", "12348 anchors", (12348,), driver="matching.time_mining"),
    calls=2400,
    hints=(
        "How many anchors are chosen if there is one positive? And if there are two positives, but only five "
        "negatives?",
        "Give all anchors that are not negative a loss that is never among the highest. Then the positions of the "
        "highest losses are the anchors' numbers.",
        "`loss.masked_fill(~neg_mask, -torch.inf).topk(k).indices` with "
        "`k = min(ratio * int(pos_mask.sum()), int(neg_mask.sum()))`.",
    ),
    mistakes=(
        Mistake("HN1", "the easiest negatives are chosen", "The hardest negatives have the highest loss.", _easiest),
        Mistake(
            "HN2a",
            "ignored anchors may be chosen",
            "An anchor that is not positive can be ignored. Choose from `neg_mask` only.",
            _from_not_positive,
        ),
        Mistake("HN2b", "all anchors may be chosen, positive ones too", "Choose from `neg_mask` only.", _from_all),
        Mistake(
            "HN3",
            "positions in the list of negatives are taken for numbers of anchors",
            "`loss[neg_mask]` is shorter than `loss`. Translate back: `neg_mask.nonzero()[positions]`.",
            _positions_in_the_short_list,
        ),
        Mistake(
            "HN4",
            "all losses that equal the last chosen one are chosen",
            "At the start of a training many losses are equal. Choose k positions, not all losses above a threshold.",
            _all_ties,
        ),
        Mistake(
            "HN5",
            "a single negative raises an exception, because squeeze() removes its only axis",
            "Use `squeeze(1)`, or `nonzero(as_tuple=True)[0]`.",
            _squeezes_a_single_index,
        ),
        Mistake(
            "HN7a",
            "the number of chosen anchors is not limited by the number of negatives: topk raises an exception",
            "k is the smaller one of ratio * positives and the number of negatives.",
            _without_limit,
        ),
        Mistake(
            "HN7b",
            "other anchors are chosen in the place of missing negatives",
            "k is the smaller one of ratio * positives and the number of negatives.",
            _fills_up_with_others,
        ),
        Mistake(
            "HN11",
            "the losses are multiplied by the mask, so anchors that are not negative may be chosen with loss 0",
            "A negative anchor may have loss 0, too. Exclude the others by `masked_fill(~neg_mask, -torch.inf)`.",
            _losses_times_mask,
        ),
        Mistake("HN8", "the ratio 3 is fixed inside", "Use the argument `ratio`.", _fixed_ratio),
        Mistake(
            "HN9",
            "the positive anchors are returned, too",
            "Return the chosen negatives alone.",
            _with_positives,
        ),
        Mistake(
            "HN10",
            "`ratio` anchors are chosen, however many positives there are",
            "The ratio counts negatives per positive: multiply it by the number of positives.",
            _not_per_positive,
        ),
    ),
)

DEFINITIONS = (MATCHING, MINING)
