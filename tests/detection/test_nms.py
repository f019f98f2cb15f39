"""Suppression: by hand, against torchvision, and against the sequential algorithm of the paper."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import batched_nms, box_iou, nms

from helpers.detection.nms import Candidates, InferenceConfig, find_suppressors, soft_nms, suppress


def draw_candidates() -> Candidates:
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(4, 60, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 20 + 40 * torch.rand(4, 60, 2, generator=generator)], dim=-1)
    scores = torch.rand(4, 60, generator=generator).sort(dim=1, descending=True).values
    return Candidates(boxes, scores, torch.randint(3, (4, 60), generator=generator))


def test_hard_suppression_is_torchvisions_class_by_class():
    boxes, scores, labels = draw_candidates()
    detections = suppress(draw_candidates(), InferenceConfig(nms="hard", nms_threshold=0.4))
    for image, kept in enumerate(detections):
        rows = batched_nms(boxes[image], scores[image], labels[image], 0.4)
        torch.testing.assert_close(kept.boxes, boxes[image, rows], rtol=0, atol=0)
        torch.testing.assert_close(kept.scores, scores[image, rows], rtol=0, atol=0)


def test_each_removed_box_names_the_best_remaining_box_that_overlaps_it():
    boxes, scores, _ = (column[0] for column in draw_candidates())
    remaining = nms(boxes, scores, 0.4)
    suppressors = find_suppressors(boxes, remaining, 0.4)
    assert suppressors[remaining].tolist() == remaining.tolist()
    overlaps = box_iou(boxes, boxes)
    for row, suppressor in enumerate(suppressors.tolist()):
        better = [number for number in remaining.tolist() if number == row or overlaps[row, number] > 0.4]
        assert suppressor == (row if row in remaining else better[0])


def test_soft_suppression_of_two_boxes_by_hand():
    # IoU 1/3; the weaker box keeps exp(-(1/3 / 0.5)⁴) of its score.
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 0, 15, 10]]])
    scores = torch.tensor([[0.9, 0.8]])
    expected = torch.tensor([[0.9, 0.8 * math.exp(-((1 / 3 / 0.5) ** 4))]])
    torch.testing.assert_close(soft_nms(boxes, scores, torch.tensor([[1, 1]]), 0.5, 100), expected)
    torch.testing.assert_close(soft_nms(boxes, scores, torch.tensor([[1, 2]]), 0.5, 100), scores)


def test_a_selected_box_keeps_its_score_when_all_others_have_none_left():
    # At the threshold 0.1 equal boxes keep exp(-10000) = 0 of their scores; each further round selects one of them.
    boxes = torch.tensor([[[0.0, 0, 10, 10]] * 5])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5]])
    expected = torch.tensor([[0.9, 0, 0, 0, 0]])
    torch.testing.assert_close(soft_nms(boxes, scores, torch.ones(1, 5, dtype=torch.int64), 0.1, 100), expected)


def test_soft_suppression_of_a_batch_is_that_of_its_images():
    boxes, scores, labels = draw_candidates()
    together = soft_nms(boxes, scores, labels, 0.5, 60)
    alone = [
        soft_nms(*(column[image : image + 1] for column in (boxes, scores, labels)), 0.5, 60) for image in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    assert (together <= scores).all()
    torch.testing.assert_close(together[:, 0], scores[:, 0])  # the best box of an image is never lowered


def test_soft_suppression_agrees_with_the_sequential_algorithm_of_the_paper():
    boxes, scores, labels = (column[0] for column in draw_candidates())
    fast = soft_nms(boxes[None], scores[None], labels[None], 0.3, 60)[0]
    overlap, remaining, slow = box_iou(boxes, boxes), scores.clone(), torch.zeros_like(scores)
    open_rows = set(range(60))
    while open_rows:
        best = max(open_rows, key=lambda row: remaining[row].item())
        slow[best] = remaining[best]
        open_rows.remove(best)
        for row in open_rows:
            if labels[row] == labels[best]:
                remaining[row] *= math.exp(-((overlap[best, row] / 0.3) ** 4))
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("nms", ["hard", "soft"])
def test_detections_come_best_first_and_at_most_as_many_as_the_configuration_allows(nms):
    for detections in suppress(draw_candidates(), InferenceConfig(nms=nms, max_detections=7)):
        assert len(detections.scores) == 7
        assert detections.scores.tolist() == sorted(detections.scores.tolist(), reverse=True)
