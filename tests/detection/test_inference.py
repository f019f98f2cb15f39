"""Inference: from maps to candidates and detections."""

from __future__ import annotations

import pytest
import torch

from helpers.detection.anchors import generate_anchors
from helpers.detection.boxes import encode
from helpers.detection.inference import detect, propose, select_candidates
from helpers.detection.model import MultiScaleDetector
from helpers.detection.nms import InferenceConfig

ANCHORS = torch.cat(generate_anchors())
ALL_ENABLED = torch.ones(len(ANCHORS), dtype=torch.bool)


def predict_with_one_anchor(anchor: int, box: list[float], label: int) -> torch.Tensor:
    """Return predictions [1, 12348, 8] in which a single anchor predicts `box` with a score near 1."""
    predictions = torch.zeros(1, len(ANCHORS), 8)
    predictions[..., 4] = -10
    predictions[0, anchor, :4] = encode(torch.tensor(box), ANCHORS[anchor])
    predictions[0, anchor, 4] = 10
    predictions[0, anchor, 5 + label] = 10
    return predictions


@pytest.mark.parametrize("anchor", [0, 5000, 9408, 12347], ids=["first", "fine level", "middle level", "last"])
def test_one_positive_anchor_becomes_a_candidate_with_its_box_class_and_score(anchor):
    box = [30.0, 40.0, 90.0, 120.0]
    boxes, scores, labels = select_candidates(predict_with_one_anchor(anchor, box, label=1), ANCHORS, 5, ALL_ENABLED)
    torch.testing.assert_close(boxes[0, 0], torch.tensor(box), rtol=1e-4, atol=1e-3)
    assert scores[0, 0] == pytest.approx(1, abs=1e-3)
    assert scores[0, 1] < 1e-4
    assert labels[0, 0] == 1


def test_an_anchor_of_a_disabled_level_is_no_candidate():
    enabled = ALL_ENABLED.clone()
    enabled[5000] = False
    predictions = predict_with_one_anchor(5000, [30.0, 40, 90, 120], label=1)
    _, scores, _ = select_candidates(predictions, ANCHORS, 5, enabled)
    assert scores.max() < 1e-4


def test_detections_come_sorted_and_at_most_as_many_as_the_configuration_allows():
    torch.manual_seed(0)
    model = MultiScaleDetector(width=2).eval()
    images = torch.randint(256, (3, 224, 224, 3), dtype=torch.uint8)
    for nms in ("hard", "soft"):
        detections = detect(model, ANCHORS, images, InferenceConfig(nms=nms, max_detections=7))
        assert len(detections) == 3
        for image in detections:
            assert 0 < len(image.scores) <= 7
            assert image.scores.tolist() == sorted(image.scores.tolist(), reverse=True)


def test_the_size_of_a_batch_does_not_matter():
    torch.manual_seed(0)
    model = MultiScaleDetector(width=2).eval()
    images = torch.randint(256, (3, 224, 224, 3), dtype=torch.uint8)
    single, all_at_once = (propose(model, ANCHORS, images, InferenceConfig(), batch_size=size) for size in (1, 3))
    torch.testing.assert_close(single.scores, all_at_once.scores)


def test_anchors_of_disabled_levels_are_not_used():
    torch.manual_seed(0)
    model = MultiScaleDetector(width=2).eval()
    images = torch.full((1, 224, 224, 3), 255, dtype=torch.uint8)
    coarse = detect(model, ANCHORS, images, InferenceConfig(levels=(2,), max_detections=20))[0]
    sizes = (coarse.boxes[:, 2:] - coarse.boxes[:, :2]).prod(dim=1).sqrt()
    assert (
        sizes[coarse.scores > 0].min() > 60
    )  # anchors of 96 pixels and more, nearly unchanged by an untrained network
