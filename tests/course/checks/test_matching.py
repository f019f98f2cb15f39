"""Right implementations of anchor matching and hard-negative mining, and their contracts."""

import numpy as np
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from helpers.course.checks import matching


def _match_with_torchvision(anchors, boxes, labels, pos_threshold=0.5, neg_threshold=0.3):
    if len(boxes) == 0:
        nothing = torch.zeros(len(anchors), dtype=torch.bool)
        return nothing.long(), torch.zeros(len(anchors), 4), nothing, ~nothing
    index = Matcher(pos_threshold, neg_threshold)(box_iou(boxes, anchors))
    return labels[index.clamp(min=0)] * (index >= 0) + (index >= 0), boxes[index.clamp(min=0)], index >= 0, index == -1


def _match_in_loops(anchors, boxes, labels, pos_threshold=0.5, neg_threshold=0.3, ignore_label=-1):
    matched_labels, matched_boxes, positive, negative = [], [], [], []
    for anchor in anchors.tolist():
        overlaps = [float(box_iou(torch.tensor([anchor]), box[None])) for box in boxes]
        best = max(range(len(overlaps)), key=overlaps.__getitem__, default=-1)
        highest = overlaps[best] if overlaps else 0.0
        positive.append(highest >= pos_threshold)
        negative.append(highest < neg_threshold)
        matched_labels.append(int(labels[best]) + 1 if positive[-1] else 0 if negative[-1] else ignore_label)
        matched_boxes.append(boxes[best].tolist() if overlaps else [0.0] * 4)
    return torch.tensor(matched_labels), torch.tensor(matched_boxes), torch.tensor(positive), torch.tensor(negative)


def _match_to_arrays(*inputs, **thresholds):
    return [np.asarray(value) for value in matching.match_anchors_to_targets(*inputs, **thresholds)]


def _match_in_double(anchors, boxes, labels, **thresholds):
    return matching.match_anchors_to_targets(anchors.double(), boxes.double(), labels, **thresholds)


def _mine_by_sorting(loss, pos_mask, neg_mask, ratio=3):
    ranked = sorted(neg_mask.nonzero(as_tuple=True)[0].tolist(), key=lambda anchor: -float(loss[anchor]))
    chosen = torch.zeros(len(loss), dtype=torch.bool)
    chosen[ranked[: ratio * int(pos_mask.sum())]] = True
    return chosen


def _mine_numbers(loss, pos_mask, neg_mask, ratio=3):
    return _mine_by_sorting(loss, pos_mask, neg_mask, ratio).nonzero(as_tuple=True)[0]


def _mine_three_without_positive(loss, pos_mask, neg_mask, ratio=3):
    count = ratio * max(int(pos_mask.sum()), 1)
    return loss.masked_fill(~neg_mask, -1e9).topk(min(count, int(neg_mask.sum()))).indices


ORACLES = {"match_anchors_to_targets": _match_with_torchvision, "hard_negative_mining": _mine_by_sorting}
"""An independent right implementation of each task."""

VARIATIONS = {
    "match_anchors_to_targets": {
        "loops, and the label -1 for ignored anchors": _match_in_loops,
        "arrays": _match_to_arrays,
        "float64": _match_in_double,
        "matches are forced at any IoU above 0": matching.match_with_forcing,
        "matches are forced from the negative threshold upwards": matching.match_with_cautious_forcing,
    },
    "hard_negative_mining": {
        "numbers of the anchors": _mine_numbers,
        "numbers as an array, in any order": lambda *inputs, **ratio: _mine_numbers(*inputs, **ratio).flip(0).numpy(),
        "a list": lambda *inputs, **ratio: _mine_numbers(*inputs, **ratio).tolist(),
        "three without a positive": _mine_three_without_positive,
    },
}
"""Legitimate variations of each task."""


def test_matching_by_hand():
    anchors, targets = torch.tensor(matching.ANCHORS), torch.tensor(matching.TARGETS)
    labels, boxes, positive, negative = matching.match_anchors_to_targets(anchors, targets, torch.tensor([2, 0]))
    assert labels.tolist() == [3, 3, 0, 0, 0, 3]
    assert positive.tolist() == [True, True, False, False, False, True]
    assert negative.tolist() == [False, False, False, True, False, False]
    assert boxes[positive].tolist() == [matching.TARGETS[0]] * 3


def test_a_forced_match_by_hand():
    anchors, targets = torch.tensor(matching.ANCHORS), torch.tensor(matching.TARGETS)
    labels, boxes, positive, negative = matching.match_with_forcing(anchors, targets, torch.tensor([2, 0]))
    assert (labels[4], positive[4], negative[4]) == (1, True, False)  # IoU 0.4286
    assert boxes[4].tolist() == matching.TARGETS[1]


def test_mining_by_hand():
    losses = torch.tensor(matching.LOSSES)
    positive, negative = torch.zeros(2, 8, dtype=torch.bool)
    positive[0] = True
    negative[[1, 2, 3, 4, 5, 7]] = True
    assert matching.hard_negative_mining(losses, positive, negative).nonzero().flatten().tolist() == [1, 4, 7]
    assert matching.hard_negative_mining(losses, positive, negative, 2).nonzero().flatten().tolist() == [1, 4]
