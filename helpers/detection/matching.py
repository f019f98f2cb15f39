"""Anchor matching and hard-negative mining.

Shape letters: `*batch` images, N objects per image, A anchors, B batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from helpers.detection.boxes import compute_iou

BACKGROUND = -1  # IoU at most the negative threshold: objectness target 0
IGNORED = -2  # IoU between the thresholds: excluded from the loss

IMAGES_AT_ONCE = 16  # x 5 objects x 12348 anchors x 4 bytes = 4 MB of overlaps: they stay in a CPU's cache
POSITIVES_STEP = 64  # the width of `list_positives` is a multiple of this


class Matches(NamedTuple):
    """The object that each anchor is matched to, and the IoU with it."""

    index: Int[Tensor, "*batch A"]  # row of the image's targets, or BACKGROUND, or IGNORED
    iou: Float[Tensor, "*batch A"]  # highest IoU with an object that is not ignored; 0 if there is none


def check_thresholds(pos_threshold: float, neg_threshold: float) -> None:
    """Refuse thresholds that do not separate positive anchors from background.

    Raises:
        ValueError: `pos_threshold` is not above 0, or `neg_threshold` is above `pos_threshold`.
    """
    if pos_threshold <= 0:
        raise ValueError(
            f"pos_threshold is {pos_threshold}: an anchor that overlaps nothing has IoU 0 and would be positive, "
            "matched to an object far away or to padding; choose pos_threshold > 0"
        )
    if neg_threshold > pos_threshold:
        raise ValueError(
            f"neg_threshold {neg_threshold} is above pos_threshold {pos_threshold}: an anchor with an IoU between them "
            "would be positive and background; choose neg_threshold <= pos_threshold"
        )


def match_anchors_to_targets(
    anchors: Float[Tensor, "A 4"],
    target_boxes: Float[Tensor, "*batch N 4"],
    target_labels: Int[Tensor, "*batch N"],
    pos_threshold: float = 0.5,
    neg_threshold: float = 0.3,
    ignored: Bool[Tensor, "*batch N"] | None = None,
) -> Matches:
    """Match each anchor of every image to at most one object by IoU.

    An anchor is positive if its highest IoU is at least `pos_threshold` (it is matched to that object), background if
    its highest IoU is at most `neg_threshold`, and ignored in between. Of equal IoUs the first row is taken, so the
    match depends on the order of the objects alone.

    Law: mirroring the boxes about the middle of the image mirrors the matches and changes nothing else.

    No match is forced: in the handout's data every object has an anchor of IoU 0.62 or more. Where low-quality matches
    are needed, search the best anchor of an object over all levels jointly: per level, tiny anchors would be matched to
    huge objects.

    Any number of images may be given. They are matched a few at a time, so only the result grows with their number.

    Args:
        anchors: boxes in pixels, all levels.
        target_boxes: boxes in pixels.
        target_labels: classes; rows of label -1 are padding and match nothing, whatever their box is.
        pos_threshold: smallest IoU of a positive anchor.
        neg_threshold: largest IoU of a background anchor.
        ignored: objects that are excluded, such as hidden ones. No anchor is matched to them, and an anchor whose IoU
            with one of them is above `neg_threshold` is ignored instead of background. `None` ignores no object.

    Raises:
        ValueError: see `check_thresholds`.
    """
    check_thresholds(pos_threshold, neg_threshold)
    batch, num_objects = target_labels.shape[:-1], target_labels.shape[-1]
    matches = Matches(
        index=torch.full((*batch, len(anchors)), BACKGROUND, device=anchors.device),
        iou=torch.zeros((*batch, len(anchors)), device=anchors.device),
    )
    if num_objects == 0:
        return matches
    if ignored is None:
        ignored = torch.zeros_like(target_labels, dtype=torch.bool)
    boxes = target_boxes.reshape(-1, num_objects, 4)
    is_object = (target_labels >= 0).reshape(-1, num_objects, 1)
    is_matchable = ~ignored.reshape(-1, num_objects, 1)
    all_index, all_iou = matches.index.view(-1, len(anchors)), matches.iou.view(-1, len(anchors))
    for first in range(0, len(boxes), IMAGES_AT_ONCE):
        images = slice(first, first + IMAGES_AT_ONCE)
        overlap = compute_iou(boxes[images], anchors).mul_(is_object[images])
        is_background = overlap.amax(dim=1) <= neg_threshold
        iou, index = overlap.mul_(is_matchable[images]).max(dim=1)
        is_unmatched = iou < pos_threshold
        index[is_unmatched] = IGNORED
        index[is_background.logical_and_(is_unmatched)] = BACKGROUND
        all_index[images], all_iou[images] = index, iou
    return matches


def match_cells(index: Int[Tensor, " A"], iou: Float[Tensor, " A"], num_anchors: int) -> Int[Tensor, " cells"]:
    """Return for each cell of one level the object of its positive anchors.

    If the anchors of a cell are matched to several objects, the match of highest IoU counts. A cell without a positive
    anchor is IGNORED if one of its anchors is ignored, otherwise BACKGROUND.

    Args:
        index: of `Matches`, one image and one level.
        iou: of `Matches`, for the same anchors.
        num_anchors: anchors per cell.
    """
    index, iou = index.view(-1, num_anchors), iou.view(-1, num_anchors)
    is_positive = index >= 0
    best_positive = iou.masked_fill(~is_positive, -1).argmax(dim=1, keepdim=True)
    matched = index.gather(1, best_positive).squeeze(1)
    has_ignored = (index == IGNORED).any(dim=1)
    unmatched = torch.where(has_ignored, IGNORED, BACKGROUND)
    return torch.where(is_positive.any(dim=1), matched, unmatched)


def count_positives(index: Int[Tensor, "*batch A"], num_objects: int) -> Int[Tensor, "*batch N"]:
    """Return the number of anchors matched to each row of an image's targets.

    Args:
        index: of `Matches`.
        num_objects: N, rows of the targets, padding included.
    """
    counts = torch.zeros((*index.shape[:-1], num_objects), dtype=torch.int64, device=index.device)
    return counts.scatter_add_(-1, index.clamp(min=0), (index >= 0).long())


def list_positives(index: Int[Tensor, "*batch A"]) -> Int[Tensor, "*batch P"]:
    """Return the positive anchors of each image in order, padded with -1.

    About one anchor in a hundred is positive, so losses of the positives alone cost little. P is the largest number in
    any image, rounded up to a multiple of `POSITIVES_STEP`, so that newly drawn data seldom changes it.

    Args:
        index: of `Matches`.
    """
    is_positive = index >= 0
    places = is_positive.cumsum(-1).sub_(1)[is_positive]
    most_positives = int(is_positive.sum(-1).max()) if is_positive.numel() else 0
    width = -(-most_positives // POSITIVES_STEP) * POSITIVES_STEP
    positives = torch.full((*index.shape[:-1], width), -1, device=index.device)
    *images, anchor = is_positive.nonzero(as_tuple=True)
    positives[(*images, places)] = anchor
    return positives


def hard_negative_mining(
    losses: Float[Tensor, "B A"],
    positive: Bool[Tensor, "B A"],
    negative: Bool[Tensor, "B A"],
    ratio: int = 3,
    most_positives: int | None = None,
) -> Bool[Tensor, "B A"]:
    """Return the hard negatives: in each image the `ratio * num_positives` background anchors of highest loss.

    An image without positives has no hard negative. An image with fewer background anchors than that uses them all.
    Which of several equal losses is used depends on the sort.

    Args:
        losses: objectness loss of every anchor; it is used for ranking and not differentiated.
        positive: anchors matched to an object.
        negative: background anchors; anchors that are neither positive nor negative are never used.
        ratio: negatives per positive.
        most_positives: an upper bound of the positives per image, if known; computing it makes a GPU wait.

    Source: Liu et al., "SSD", section 2.2 (arXiv:1512.02325); handout, part A.
    """
    quota = torch.minimum(ratio * positive.sum(dim=1), negative.sum(dim=1))
    if most_positives is None:
        most_positives = int(positive.sum(dim=1).max()) if len(positive) else 0
    longest = min(ratio * most_positives, losses.shape[1])
    ranked = losses.detach().masked_fill(~negative, -torch.inf).topk(longest, dim=1).indices
    within_quota = torch.arange(longest, device=losses.device) < quota.unsqueeze(1)
    return torch.zeros_like(negative).scatter_(1, ranked, within_quota)
