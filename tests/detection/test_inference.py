"""From maps to detections."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import batched_nms, box_iou

from helpers.detection.anchors import generate_anchors
from helpers.detection.boxes import encode
from helpers.detection.inference import (
    Candidates,
    InferenceConfig,
    detect,
    prepare_images,
    propose,
    select_candidates,
    soft_nms,
    suppress,
)
from helpers.detection.model import MultiScaleDetector

ANCHORS = torch.cat(generate_anchors())
ALL_SPEAK = torch.ones(len(ANCHORS), dtype=torch.bool)


def one_loud_anchor(anchor: int, box: list[float], label: int) -> torch.Tensor:
    """Returns predictions [1, 12348, 8] in which a single anchor is sure of `box`."""
    predictions = torch.zeros(1, len(ANCHORS), 8)
    predictions[..., 4] = -10
    predictions[0, anchor, :4] = encode(torch.tensor(box), ANCHORS[anchor])
    predictions[0, anchor, 4] = 10
    predictions[0, anchor, 5 + label] = 10
    return predictions


@pytest.mark.parametrize("anchor", [0, 5000, 9408, 12347], ids=["first", "fine level", "middle level", "last"])
def test_one_painted_anchor_comes_out_as_its_box_class_and_score(anchor):
    box = [30.0, 40.0, 90.0, 120.0]
    boxes, scores, labels = select_candidates(one_loud_anchor(anchor, box, label=1), ANCHORS, 5, ALL_SPEAK)
    torch.testing.assert_close(boxes[0, 0], torch.tensor(box), rtol=1e-4, atol=1e-3)
    assert scores[0, 0] == pytest.approx(1, abs=1e-3)
    assert scores[0, 1] < 1e-4
    assert labels[0, 0] == 1


def test_a_silent_anchor_is_not_heard():
    speaks = ALL_SPEAK.clone()
    speaks[5000] = False
    _, scores, _ = select_candidates(one_loud_anchor(5000, [30.0, 40, 90, 120], label=1), ANCHORS, 5, speaks)
    assert scores.max() < 1e-4


def crowd() -> Candidates:
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(4, 60, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + 20 + 40 * torch.rand(4, 60, 2, generator=generator)], dim=-1)
    scores = torch.rand(4, 60, generator=generator).sort(dim=1, descending=True).values
    return Candidates(boxes, scores, torch.randint(3, (4, 60), generator=generator))


def test_hard_suppression_is_torchvisions_class_by_class():
    boxes, scores, labels = crowd()
    found = suppress(crowd(), InferenceConfig(nms="hard", nms_threshold=0.4))
    for image, one in enumerate(found):
        kept = batched_nms(boxes[image], scores[image], labels[image], 0.4)
        torch.testing.assert_close(one.boxes, boxes[image, kept], rtol=0, atol=0)
        torch.testing.assert_close(one.scores, scores[image, kept], rtol=0, atol=0)


def test_soft_suppression_of_two_boxes_by_hand():
    # IoU 1/3; the weaker box keeps exp(-(1/3 / 0.5)⁴) of its score.
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 0, 15, 10]]])
    scores = torch.tensor([[0.9, 0.8]])
    expected = torch.tensor([[0.9, 0.8 * math.exp(-((1 / 3 / 0.5) ** 4))]])
    torch.testing.assert_close(soft_nms(boxes, scores, torch.tensor([[1, 1]]), 0.5, 100), expected)
    torch.testing.assert_close(soft_nms(boxes, scores, torch.tensor([[1, 2]]), 0.5, 100), scores)


def test_soft_suppression_of_a_batch_is_that_of_its_images():
    boxes, scores, labels = crowd()
    together = soft_nms(boxes, scores, labels, 0.5, 60)
    alone = [
        soft_nms(*(column[image : image + 1] for column in (boxes, scores, labels)), 0.5, 60) for image in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone))
    assert (together <= scores).all()
    torch.testing.assert_close(together[:, 0], scores[:, 0])  # nobody stands above the best


def test_soft_suppression_agrees_with_the_sequential_algorithm_of_the_paper():
    boxes, scores, labels = (column[0] for column in crowd())
    fast = soft_nms(boxes[None], scores[None], labels[None], 0.3, 60)[0]
    overlap, remaining, slow = box_iou(boxes, boxes), scores.clone(), torch.zeros_like(scores)
    left = set(range(60))
    while left:
        best = max(left, key=lambda row: remaining[row].item())
        slow[best] = remaining[best]
        left.remove(best)
        for row in left:
            if labels[row] == labels[best]:
                remaining[row] *= math.exp(-((overlap[best, row] / 0.3) ** 4))
    torch.testing.assert_close(fast, slow)


def test_images_reach_the_network_between_zero_and_one_and_channels_last():
    images = torch.randint(256, (2, 224, 224, 3), dtype=torch.uint8)
    prepared = prepare_images(images)
    assert prepared.shape == (2, 3, 224, 224)
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(prepared[1, 2, 3, 4], images[1, 3, 4, 2] / 255)


def test_detections_come_sorted_and_at_most_as_many_as_asked_for():
    torch.manual_seed(0)
    model = MultiScaleDetector(width=2).eval()
    images = torch.randint(256, (3, 224, 224, 3), dtype=torch.uint8)
    for nms in ("hard", "soft"):
        found = detect(model, ANCHORS, images, InferenceConfig(nms=nms, max_detections=7))
        assert len(found) == 3
        for one in found:
            assert 0 < len(one.scores) <= 7
            assert one.scores.tolist() == sorted(one.scores.tolist(), reverse=True)


def test_the_size_of_a_batch_does_not_matter():
    torch.manual_seed(0)
    model = MultiScaleDetector(width=2).eval()
    images = torch.randint(256, (3, 224, 224, 3), dtype=torch.uint8)
    one, all_at_once = (propose(model, ANCHORS, images, InferenceConfig(), batch_size=size) for size in (1, 3))
    torch.testing.assert_close(one.scores, all_at_once.scores)


def test_levels_that_may_not_speak_leave_their_anchors_out():
    torch.manual_seed(0)
    model = MultiScaleDetector(width=2).eval()
    images = torch.full((1, 224, 224, 3), 255, dtype=torch.uint8)
    coarse = detect(model, ANCHORS, images, InferenceConfig(levels=(2,), max_detections=20))[0]
    sizes = (coarse.boxes[:, 2:] - coarse.boxes[:, :2]).prod(dim=1).sqrt()
    assert sizes[coarse.scores > 0].min() > 60  # anchors of 96 pixels and more, hardly moved by an untrained network
