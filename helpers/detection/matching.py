"""Which anchor answers for which object, and which of the others are worth learning from.

Shape letters: `*batch` images, N objects per image, A anchors, B batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from helpers.detection.boxes import compute_iou

NEGATIVE = -1  # the anchor has to say "nothing here"
IGNORED = -2  # the anchor may say what it likes: it takes no part in the loss

IMAGES_AT_ONCE = 16  # x 5 objects x 12348 anchors x 4 bytes = 4 MB of overlaps: they stay in a CPU's cache
POSITIVES_STEP = 64  # of the width of `list_positives`


class Matches(NamedTuple):
    """What each anchor has to answer for, and how well it overlaps it."""

    index: Int[Tensor, "*batch A"]  # row of the image's targets, or NEGATIVE, or IGNORED
    iou: Float[Tensor, "*batch A"]  # with the best object that counts; 0 where there is none


def match_anchors_to_targets(
    anchors: Float[Tensor, "A 4"],
    target_boxes: Float[Tensor, "*batch N 4"],
    target_labels: Int[Tensor, "*batch N"],
    pos_threshold: float = 0.5,
    neg_threshold: float = 0.3,
    ignored: Bool[Tensor, "*batch N"] | None = None,
) -> Matches:
    """Returns for every anchor of every image the row of the object it answers for, or that it is negative or ignored.

    An anchor answers for the object it overlaps best if their IoU is at least `pos_threshold`; it is negative if it
    overlaps no object by more than `neg_threshold`, and ignored in between. Among equal overlaps the first row wins:
    the choice depends on the order of the objects alone, so mirroring the boxes about the middle of the image mirrors
    the matches and changes nothing else.

    No match is forced: on the handout's data every object has an anchor of IoU 0.62 or more. Where it is needed, the
    best anchor has to be sought over all levels jointly; per level, tiny anchors would be taught to claim huge objects.

    Any number of images may be given; they are matched a few at a time, so memory grows with the result alone.

    Args:
        anchors: boxes in pixels, all levels.
        target_boxes: boxes in pixels.
        target_labels: classes; rows of label -1 are padding and match nothing, wherever their box lies.
        pos_threshold: smallest IoU of a positive.
        neg_threshold: largest IoU of a negative.
        ignored: objects that nobody can be asked to find, such as hidden ones. They win no anchor, and an anchor that
            overlaps one by more than `neg_threshold` is ignored instead of negative.

    Raises:
        ValueError: `neg_threshold` is above `pos_threshold`.
    """
    if neg_threshold > pos_threshold:
        raise ValueError(f"an anchor of IoU {pos_threshold} would be positive, and negative up to {neg_threshold}")
    batch, num_objects = target_labels.shape[:-1], target_labels.shape[-1]
    matches = Matches(
        index=torch.full((*batch, len(anchors)), NEGATIVE, device=anchors.device),
        iou=torch.zeros((*batch, len(anchors)), device=anchors.device),
    )
    if num_objects == 0:
        return matches
    boxes, counted = target_boxes.reshape(-1, num_objects, 4), (target_labels >= 0).reshape(-1, num_objects, 1)
    hidden = None if ignored is None else ignored.reshape(-1, num_objects, 1) & counted
    all_index, all_iou = matches.index.view(-1, len(anchors)), matches.iou.view(-1, len(anchors))
    for first in range(0, len(boxes), IMAGES_AT_ONCE):
        images = slice(first, first + IMAGES_AT_ONCE)
        overlap = compute_iou(boxes[images], anchors).mul_(counted[images])
        if hidden is None:
            iou, index = overlap.max(dim=1)
            nobody = iou <= neg_threshold
        else:
            nobody = overlap.amax(dim=1) <= neg_threshold
            iou, index = overlap.mul_(~hidden[images]).max(dim=1)
        too_little = iou < pos_threshold
        index[too_little] = IGNORED
        index[nobody.logical_and_(too_little)] = NEGATIVE
        all_index[images], all_iou[images] = index, iou
    return matches


def count_positives(index: Int[Tensor, "*batch A"], num_objects: int) -> Int[Tensor, "*batch N"]:
    """Returns for each row of an image's targets how many anchors answer for it.

    Args:
        index: of `Matches`.
        num_objects: N, rows of the targets, padding included.
    """
    counts = torch.zeros((*index.shape[:-1], num_objects), dtype=torch.int64, device=index.device)
    return counts.scatter_add_(-1, index.clamp(min=0), (index >= 0).long())


def list_positives(index: Int[Tensor, "*batch A"]) -> Int[Tensor, "*batch P"]:
    """Returns the anchors that answer for an object, in order, and -1 behind them.

    They are one of a hundred: what is computed for them alone costs next to nothing. P is the most that any image has,
    rounded up to a multiple of `POSITIVES_STEP`: data drawn anew then seldom change it.

    Args:
        index: of `Matches`.
    """
    positive = index >= 0
    places = positive.cumsum(-1).sub_(1)[positive]
    most = int(positive.sum(-1).max()) if positive.numel() else 0
    most = -(-most // POSITIVES_STEP) * POSITIVES_STEP
    listed = torch.full((*index.shape[:-1], most), -1, device=index.device)
    *images, anchor = positive.nonzero(as_tuple=True)
    listed[(*images, places)] = anchor
    return listed


def hard_negative_mining(
    losses: Float[Tensor, "B A"],
    positive: Bool[Tensor, "B A"],
    negative: Bool[Tensor, "B A"],
    ratio: int = 3,
    most_positives: int | None = None,
) -> Bool[Tensor, "B A"]:
    """Returns which negatives to learn from: in each image the `ratio * num_positives` of highest loss.

    An image without positives keeps no negative; one with fewer negatives than that keeps them all. Which of several
    equal losses is kept is left to the sort.

    Args:
        losses: objectness loss of every anchor; it ranks and is not differentiated.
        positive: anchors that answer for an object.
        negative: anchors that answer for none; anchors that are neither are never kept.
        ratio: negatives per positive.
        most_positives: what no image has more of, if that is known; finding out makes a GPU wait.

    Source: Liu et al., "SSD", section 2.2 (arXiv:1512.02325); handout, part A.
    """
    quota = torch.minimum(ratio * positive.sum(dim=1), negative.sum(dim=1))
    if most_positives is None:
        most_positives = int(positive.sum(dim=1).max()) if len(positive) else 0
    longest = min(ratio * most_positives, losses.shape[1])
    ranked = losses.detach().masked_fill(~negative, -torch.inf).topk(longest, dim=1).indices
    within_quota = torch.arange(longest, device=losses.device) < quota.unsqueeze(1)
    return torch.zeros_like(negative).scatter_(1, ranked, within_quota)
